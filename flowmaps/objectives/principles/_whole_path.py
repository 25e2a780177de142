"""A recorded path, compared at several of its times at once."""

from torch import Tensor

from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives.principles._shared import extra

__all__ = ["whole_path"]


def whole_path(learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str) -> Tensor:
    """X_{s,t_i}(x) minus the recorded states at the times t_i: (rows, n, *event).

    The map is asked by ``along``: a network that decodes trajectories is evaluated once a row.

    Args:
        learned: the map that is trained.
        teacher: not asked.
        draw: points and start times, with a path.
        routing: ``"full"``.

    Raises:
        ValueError: for a draw without a path.

    Source:
        Zheng et al. (2022), arXiv:2211.13449.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> s, x, times = torch.zeros(1), torch.zeros(1, 1), torch.tensor([[0.5, 1.0]])
        >>> path = torch.zeros(1, 2, 1)
        >>> draw = fm.objectives.Draw(s, s + 1, x, path=path, path_times=times)
        >>> fm.objectives.principles.whole_path(drift, drift, draw, "full").flatten().tolist()
        [0.5, 1.0]
    """
    reached, known = _sides(learned, teacher, draw, routing)
    return reached - known


def _sides(
    learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str
) -> tuple[Tensor, Tensor]:
    """Return the learned states and the recorded ones, (rows, n, *event) each."""
    if draw.path is None or draw.path_times is None:
        raise ValueError("the draw carries no paths; draw it from Trajectories by WholePaths")
    along = learned.along(draw.s, draw.path_times.T, draw.points, *extra(draw.condition))
    return along.transpose(0, 1), draw.path


whole_path.sides = _sides  # type: ignore[attr-defined]
whole_path.paths = True  # type: ignore[attr-defined]
whole_path.routings = ("full",)  # type: ignore[attr-defined]

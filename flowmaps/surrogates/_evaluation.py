"""Error of a map along a horizon, against reference paths."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps._checks import check_state
from flowmaps._typing import Condition
from flowmaps.maps import FlowMap

__all__ = ["PathError", "path_error"]


@dataclass(frozen=True)
class PathError:
    """Relative errors of many paths.

    Args:
        times: (n_times,), in the units of the problem.
        path: the map's states, (n_times, batch, *event).
        relative: |error| at each time over the largest |X| of the path, (n_times, batch): 0 where
            there is no error, infinite for an error on a path that stays at 0.

    Example:
        >>> import torch, flowmaps as fm
        >>> times, x = torch.tensor([1.0]), torch.tensor([[1.0]])
        >>> reference = torch.tensor([[[2.0]]])
        >>> fm.surrogates.path_error(fm.maps.Identity(), 0.0, times, x, reference).worst.tolist()
        [0.5]
    """

    times: Tensor
    path: Tensor
    relative: Tensor

    @property
    def worst(self) -> Tensor:
        """Largest relative error of each path, (batch,)."""
        return self.relative.amax(0)

    @property
    def median(self) -> float:
        """Median over the paths of the largest relative error; NaN if any path is not finite."""
        if not bool(torch.isfinite(self.path).all()):
            return math.nan
        ordered = self.worst.sort().values
        n = len(ordered)
        return float(ordered[(n - 1) // 2 : n // 2 + 1].mean())


@torch.no_grad()
def path_error(
    flow_map: FlowMap,
    start: float,
    times: Tensor,
    x: Tensor,
    reference: Tensor,
    condition: Condition = None,
) -> PathError:
    """Compare the map's states at many times with reference paths.

    Args:
        flow_map: the map to judge.
        start: time of x.
        times: (n_times,).
        x: states at the start, (batch, *event).
        reference: (n_times, batch, *event), such as ``problem.reference_along``.
        condition: tensor or pytree with leading batch axis.

    Raises:
        ValueError: if the reference has another shape.

    Example:
        >>> import torch, flowmaps as fm
        >>> times, x = torch.linspace(0, 1, 3), torch.ones(2, 1)
        >>> fm.surrogates.path_error(fm.maps.Identity(), 0.0, times, x, torch.ones(3, 2, 1)).median
        0.0
    """
    check_state(x)
    path = flow_map.along(start, times, x, condition).to(reference)
    if path.shape != reference.shape:
        raise ValueError(
            f"reference must have shape {tuple(path.shape)}, got {tuple(reference.shape)}"
        )
    error = (path - reference).reshape(*path.shape[:2], -1).norm(dim=2)
    size = reference.reshape(*path.shape[:2], -1).norm(dim=2).amax(0)
    return PathError(times, path, torch.where(error == 0, 0.0, error / size))

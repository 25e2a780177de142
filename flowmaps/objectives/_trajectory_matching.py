"""Regression on recorded trajectories."""

from collections.abc import Sequence

from torch import Tensor

from flowmaps.objectives._composed import Composed
from flowmaps.objectives._points import OnTrajectories
from flowmaps.objectives._term import Term, Weight
from flowmaps.objectives._times import SortedPair, TimeLaw
from flowmaps.objectives.principles import recorded
from flowmaps.objectives.teachers import own

__all__ = ["trajectory_matching"]


def trajectory_matching(
    times: TimeLaw | None = None,
    scale: Tensor | Sequence[float] | None = None,
    weight: Weight = 1.0,
    reduction: str = "sum",
) -> Composed:
    """Return the objective E w |X_{s,t}(x_s) - x_t|^2 over recorded trajectories x.

    Needs no field. Zero at the flow map where the records are exact; with noise of mean zero in the
    later states the minimiser is the conditional mean.

    Args:
        times: law of (s, t), snapped to the recorded times; None for ``SortedPair()``.
        scale: units of the state's coordinates, divided out, shape of an event; None for one.
        weight: w, a number or a function of s and t (rows,) each.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Zheng et al. (2022), arXiv:2211.13449, for learning several times of a trajectory at once.

    Example:
        >>> import torch, flowmaps as fm
        >>> times = torch.linspace(0.0, 1.0, 5)
        >>> states = times[:, None, None] + torch.zeros(5, 3, 1)  # three trajectories of x' = 1
        >>> data = fm.objectives.Trajectories(times, states)
        >>> objective = fm.objectives.trajectory_matching()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective(drift, objective.draw(data, batch=16)).total.item() < 1e-12
        True
    """
    term = Term("recorded", recorded, own, weight=weight, scale=scale)
    return Composed(times or SortedPair(), OnTrajectories(), [term], reduction=reduction)

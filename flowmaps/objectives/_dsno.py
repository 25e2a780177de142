"""Regression on whole trajectories: diffusion model sampling with neural operator (DSNO)."""

from collections.abc import Sequence

from torch import Tensor

from flowmaps._typing import Count
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._metrics import Metric
from flowmaps.objectives._over_times import OverTimes
from flowmaps.objectives._term import Term, Weight
from flowmaps.objectives._whole_paths import WholePaths, WholeSpan
from flowmaps.objectives.principles import whole_path
from flowmaps.objectives.teachers import own

__all__ = ["dsno"]


def dsno(
    times: Count | Sequence[float] | Tensor | None = None,
    metric: Metric | None = None,
    weights: Sequence[float] | Tensor | None = None,
    scale: Tensor | Sequence[float] | None = None,
    weight: Weight = 1.0,
    reduction: str = "sum",
) -> Composed:
    """Return the objective E sum_i w_i d(X_{0,t_i}(x_0), x_{t_i}) over recorded trajectories x.

    All times of a trajectory in one call of the map: with a network that decodes them together,
    such as ``fm.networks.TemporalFourier``, in one evaluation. Needs no field. Zero at the flow map
    where the records are exact; it learns the map from the first record's time alone.

    Args:
        times: of records after the first, or how many of them; None for all. See ``WholePaths``.
        metric: d, for the paper's ``Absolute()``; None for the square.
        weights: w_i, one a time; None for 1 / n each.
        scale: units of the state's coordinates, divided out, shape of an event; None for one.
        weight: of a row, a number or a function of s and the path's last time (rows,) each.
        reduction: ``"sum"`` or ``"mean"`` over a state's coordinates.

    Source:
        Zheng et al. (2022), arXiv:2211.13449, section 3.

    Example:
        >>> import torch, flowmaps as fm
        >>> times = torch.linspace(0.0, 1.0, 5)
        >>> states = times[:, None, None] + torch.zeros(5, 3, 1)  # three trajectories of x' = 1
        >>> data = fm.objectives.Trajectories(times, states)
        >>> objective = fm.objectives.dsno()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective(drift, objective.draw(data, batch=16)).total.item() < 1e-12
        True
    """
    over = OverTimes(metric, weights)
    term = Term("whole path", whole_path, own, weight=weight, scale=scale, metric=over)
    return Composed(WholeSpan(), WholePaths(times), [term], reduction=reduction)

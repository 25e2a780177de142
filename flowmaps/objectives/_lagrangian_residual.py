"""The Lagrangian residual of a known field: learn a surrogate of its flow map without data."""

from collections.abc import Sequence

from torch import Tensor

from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives import _velocities as velocities
from flowmaps.objectives._composed import Composed, Term
from flowmaps.objectives._points import InDomain
from flowmaps.objectives._principles import lagrangian
from flowmaps.objectives._times import SortedPair, TimeLaw

__all__ = ["lagrangian_residual"]


def lagrangian_residual(
    field: Field | FlowMap,
    times: TimeLaw | None = None,
    scale: Tensor | Sequence[float] | None = None,
    stop: bool = False,
    reduction: str = "sum",
) -> Composed:
    """Return the objective E |d/dt X_{s,t}(x) - b(t, X_{s,t}(x))|^2 over points x of a ``Domain``.

    Zero exactly at the flow map of b, given X_{s,s} = id. The set should be forward-invariant: a
    map is learned only where its images stay among the points.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``; a flow map serves through its velocity.
        times: law of (s, t); None for ``SortedPair()``. ``FromStart()`` for an autonomous field.
        scale: units of the residual's coordinates, divided out, shape of an event; None for one.
        stop: stop the gradient in b(t, X), leaving only the derivative's: stabler far from the
            solution.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, Lagrangian map distillation;
        Wang and Perdikaris (2021), arXiv:2106.05384, for learning from the right-hand side alone.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.lagrangian_residual(lambda t, x: torch.ones_like(x))
        >>> source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 2.0))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective(drift, objective.draw(source, batch=16)).total.item()
        0.0
    """
    term = Term("lagrangian", lagrangian, velocities.known(field, stop), scale=scale)
    return Composed(times or SortedPair(), InDomain(), [term], reduction)

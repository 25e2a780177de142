"""Lagrangian self-distillation: learn field and flow map together from data."""

from flowmaps.interpolants import Interpolant, Linear
from flowmaps.objectives import _velocities as velocities
from flowmaps.objectives._composed import Composed, Term
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._principles import lagrangian, tangent
from flowmaps.objectives._times import Mixed, SortedPair, SpanLimit

__all__ = ["lsd"]


def lsd(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    weight: float = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return Lagrangian self-distillation: flow matching at s = t, the map's own field elsewhere.

    On the rows off the diagonal, with sg the stop-gradient, |d/dt X_{s,t}(I_s) - sg
    v_{t,t}(X_{s,t}(I_s))|^2. The gradient flows through the derivative in t; the stop covers the
    velocity's evaluation and its input. s < t are two uniforms, sorted. Pre-training by flow
    matching and a growing span are the usual cures for instability.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows that do flow matching (0.75 in the paper).
        weight: factor of the other rows' square.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.lsd(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> loss = objective.loss(drift, torch.zeros(8, 2), torch.ones(8, 2))
        >>> {name: part.item() for name, part in loss.parts.items()}
        {'flow matching': 0.0, 'lagrangian': 0.0}
    """
    terms = [
        Term("flow matching", tangent, velocities.data, rows="diagonal"),
        Term("lagrangian", lagrangian, velocities.own, rows="off diagonal", weight=weight),
    ]
    times = Mixed(diagonal, SortedPair(limit))
    return Composed(times, OnInterpolant(interpolant or Linear()), terms, reduction)

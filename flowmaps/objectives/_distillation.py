"""Distillation of a known field into its flow map, on the points of an interpolant."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._metrics import Metric, PseudoHuber
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term, Weight
from flowmaps.objectives._times import SortedPair, SpanLimit
from flowmaps.objectives.principles import eulerian, lagrangian
from flowmaps.objectives.teachers import Known

__all__ = ["emd", "known", "lmd"]


def lmd(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    routing: str = "target",
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return Lagrangian map distillation: E w d(d/dt X_{s,t}(I_s) - b(t, X_{s,t}(I_s))).

    As published d is the square and nothing is stopped. Where the field is steep, as between the
    modes of a law, that form is drawn to states whose field is small: of two narrow Gaussians its
    error stays near 0.1 while the form here reaches 0.002. So by default the gradient through b at
    X is stopped and d is a pseudo-Huber metric. The residual holds no noise: neither moves the
    minimum.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])`` or a flow map, which serves through its
            velocity; a module is copied and frozen.
        routing: ``"target"`` stops the gradient in b(t, X); ``"full"`` as published; ``"value"``
            leaves it to the mean velocity alone.
        weight: w, a number or a function of s and t (rows,) each.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        metric: d; None for ``PseudoHuber(0.1)``, for states of order one; ``Squared()`` as
            published.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, Lagrangian map distillation.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = lambda t, x: torch.ones_like(x)
        >>> objective = fm.objectives.lmd(fm.interpolants.Linear(), teacher=field)
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item()
        0.0
    """
    term = Term(
        "lagrangian",
        lagrangian,
        known(teacher),
        routing,
        weight=weight,
        metric=metric or PseudoHuber(0.1),
        derivative=derivative,
    )
    points = OnInterpolant(interpolant or Linear())
    return Composed(SortedPair(limit), points, [term], reduction=reduction)


def emd(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    routing: str = "full",
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return Eulerian map distillation: E w |d/ds X_{s,t}(I_s) + DX_{s,t}(I_s) b(s, I_s)|^2.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])`` or a flow map, which serves through its
            velocity; a module is copied and frozen.
        routing: ``"full"`` as published; ``"target"`` stops the gradient in DX b, which spares the
            spatial derivative of the network's gradient; ``"value"`` leaves it to the mean velocity
            alone.
        weight: w, a number or a function of s and t (rows,) each.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        metric: of the residual, which holds no noise; None for the square.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, Eulerian map distillation.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = lambda t, x: torch.ones_like(x)
        >>> objective = fm.objectives.emd(fm.interpolants.Linear(), teacher=field)
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item()
        0.0
    """
    term = Term(
        "eulerian",
        eulerian,
        known(teacher),
        routing,
        weight=weight,
        metric=metric,
        derivative=derivative,
    )
    points = OnInterpolant(interpolant or Linear())
    return Composed(SortedPair(limit), points, [term], reduction=reduction)


def known(teacher: Field | FlowMap | None) -> Known:
    """Return what was given as a teacher; raise TypeError for none."""
    if teacher is None:
        raise TypeError(
            "distillation needs teacher=, a field (t, x) or a flow map; "
            "to learn without one use fm.objectives.lsd"
        )
    return Known(teacher)

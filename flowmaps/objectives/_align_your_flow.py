"""Align Your Flow: distillation that moves the mean velocity, or the state, along the residual."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._distillation import known
from flowmaps.objectives._metrics import Metric, Normalised
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term
from flowmaps.objectives._times import SortedPair, SpanLimit
from flowmaps.objectives.principles import WarmedEulerian, lagrangian

__all__ = ["ayf_emd", "ayf_lmd"]


def ayf_emd(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    warmup: float = 0.25,
    last: float = 1.0,
    metric: Metric | None = None,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return AYF-EMD: |v - sg(v - g)|^2, g = v_{s,t} - b_s - r (t - s) D_s v_{s,t}, normalised.

    The Eulerian residual with gradient through the mean velocity alone, which needs forward mode
    but no derivative of it. Normalised, g / (|g| + 0.1) bounds the step; r rises from 0 in the
    first part of training. The residual is deterministic given (s, t, I_s), so that normalising it
    moves no minimum. For autoguidance give ``fm.fields.autoguided(field, weak, scale)`` as teacher.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])`` or a flow map, which serves through its
            velocity; a module is copied and frozen.
        warmup: progress of training at which r has its last value.
        last: the last r. The paper's is 0.99, with which the exact map is not stationary; 1 here.
        metric: None for ``Normalised(0.1)``, as published.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Sabour, Fidler and Kreis (2025), arXiv:2506.14603, theorem 3.2 and section 3.3.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.ayf_emd(teacher=lambda t, x: torch.ones_like(x))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    principle, normalised = WarmedEulerian(warmup, last), metric or Normalised(0.1)
    term = Term(
        "eulerian", principle, known(teacher), "value", metric=normalised, derivative=derivative
    )
    points = OnInterpolant(interpolant or Linear())
    return Composed(SortedPair(limit), points, [term], reduction=reduction)


def ayf_lmd(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    metric: Metric | None = None,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return AYF-LMD: descend X_{s,t} along sg(d/dt X_{s,t} - b(t, X_{s,t})).

    The Lagrangian residual with gradient through the state X_{s,t}(I_s) alone. Half the gradient of
    the printed sign(t - s) X . sg(residual) is the gradient of this square, for s < t.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])`` or a flow map, which serves through its
            velocity; a module is copied and frozen.
        metric: None for ``Normalised(0.1)``.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Sabour, Fidler and Kreis (2025), arXiv:2506.14603, theorem 3.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.ayf_lmd(teacher=lambda t, x: torch.ones_like(x))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    normalised = metric or Normalised(0.1)
    term = Term(
        "lagrangian", lagrangian, known(teacher), "state", metric=normalised, derivative=derivative
    )
    points = OnInterpolant(interpolant or Linear())
    return Composed(SortedPair(limit), points, [term], reduction=reduction)

"""Self-distillation: learn field and flow map together from data."""

from typing import Any

from flowmaps.interpolants import Interpolant, Linear
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._metrics import Metric
from flowmaps.objectives._middles import Midpoint, UniformMiddle
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term, Weight
from flowmaps.objectives._times import GrowingSpan, Mixed, SortedPair, SpanLimit
from flowmaps.objectives.principles import eulerian, lagrangian, semigroup, tangent
from flowmaps.objectives.teachers import data, own

__all__ = ["esd", "lsd", "psd_m", "psd_u"]


def lsd(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    pretrain: float = 0.0,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return Lagrangian self-distillation: flow matching at s = t, the map's own field elsewhere.

    On the rows off the diagonal, with sg the stop-gradient, |d/dt X_{s,t}(I_s) - sg
    v_{t,t}(X_{s,t}(I_s))|^2. The gradient flows through the derivative in t; the stop covers the
    velocity's evaluation and its input. s < t are two uniforms, sorted. Pre-training on the
    diagonal and a growing span are the usual cures for instability.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows that do flow matching (0.75 in the paper).
        pretrain: fraction of training, in [0, 1), in which all rows do.
        weight: factor of the other rows' square, a number or a function of s and t (rows,) each.
        limit: longest span as a fraction of the interval, by progress after ``pretrain``, such as
            ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        metric: of the rows off the diagonal, whose residual holds no noise, so that a robust one
            moves no minimum: ``PseudoHuber(0.1)`` where the field is steep; None for the square.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Raises:
        TypeError, ValueError: for choices that are none, as ``Mixed`` and ``Term`` refuse them; at
            a draw of a single row, which cannot be on the diagonal and off it.

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
    points, matching = _matching(interpolant)
    return Composed(
        Mixed(diagonal, SortedPair(limit), pretrain),
        points,
        [
            matching,
            _elsewhere(lagrangian, weight, metric, derivative=derivative),
        ],
        reduction=reduction,
    )


def esd(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    pretrain: float = 0.0,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
    routing: str = "value",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return Eulerian self-distillation: flow matching at s = t, the map's own field elsewhere.

    On the rows off the diagonal, with sg the stop-gradient, |d/ds X_{s,t}(I_s) + sg(DX_{s,t}(I_s)
    v_{s,s}(I_s))|^2. As published the gradient flows through d/ds X, which for laws of narrow modes
    diverges; by default it flows through the mean velocity alone, and spans grow.

    Args:
        interpolant, diagonal, pretrain, weight, reduction, metric, derivative: as in lsd.
        limit: as in lsd; None for ``GrowingSpan()``.
        routing: ``"value"``: gradient through the mean velocity alone; ``"target"``, as published,
            through d/ds X.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.esd(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(8, 2), torch.ones(8, 2)).total.item()
        0.0
    """
    points, matching = _matching(interpolant)
    return Composed(
        Mixed(diagonal, SortedPair(limit or GrowingSpan()), pretrain),
        points,
        [
            matching,
            _elsewhere(eulerian, weight, metric, routing, derivative),
        ],
        reduction=reduction,
    )


def psd_m(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    pretrain: float = 0.0,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
) -> Composed:
    """Return progressive self-distillation by way of the midpoint u = (s + t) / 2.

    On the rows off the diagonal, with sg the stop-gradient, |v_{s,t} - sg((v_{s,u} +
    v_{u,t}(X_{s,u})) / 2)|^2 at I_s, where v is the mean velocity: no derivative is taken.
    Arguments as in lsd.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.psd_m(fm.interpolants.Linear())
        >>> still = fm.maps.ExactFlowMap(lambda s, t, x: x)
        >>> loss = objective.loss(still, torch.zeros(8, 2), torch.ones(8, 2))
        >>> loss.parts["semigroup"].item()
        0.0
    """
    points, matching = _matching(interpolant)
    return Composed(
        Mixed(diagonal, SortedPair(limit), pretrain),
        points,
        [
            matching,
            _elsewhere(semigroup, weight, metric),
        ],
        middles=Midpoint(),
        reduction=reduction,
    )


def psd_u(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    pretrain: float = 0.0,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    metric: Metric | None = None,
) -> Composed:
    """Return progressive self-distillation by way of a time u uniform between s and t.

    As psd_m with u = gamma s + (1 - gamma) t, gamma uniform, and the target
    sg((1 - gamma) v_{s,u} + gamma v_{u,t}(X_{s,u})).

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import flowmaps as fm
        >>> [term.name for term in fm.objectives.psd_u().terms]
        ['flow matching', 'semigroup']
    """
    points, matching = _matching(interpolant)
    return Composed(
        Mixed(diagonal, SortedPair(limit), pretrain),
        points,
        [
            matching,
            _elsewhere(semigroup, weight, metric),
        ],
        middles=UniformMiddle(),
        reduction=reduction,
    )


def _elsewhere(
    principle: Any,
    weight: Weight,
    metric: Metric | None,
    routing: str = "target",
    derivative: str | Derivative = "forward",
) -> Term:
    """Return a principle that is asked of the map itself off the diagonal."""
    return Term(
        principle.__name__,
        principle,
        own,
        routing,
        "off diagonal",
        weight,
        metric=metric,
        derivative=derivative,
    )


def _matching(path: Interpolant | None) -> tuple[OnInterpolant, Term]:
    """Return points on an interpolant, linear by default, and flow matching on the diagonal."""
    points = OnInterpolant(path or Linear())
    return points, Term("flow matching", tangent, data, rows="diagonal")

"""Flow map matching: directly from data, and progressively from a map of short spans."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap, SolverFlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._drawn_times import Square
from flowmaps.objectives._given import check_given
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term, Weight
from flowmaps.objectives._times import GrowingSpan, Mixed, SortedPair, SpanLimit
from flowmaps.objectives.principles import Chained, inversion, returning, tangent
from flowmaps.objectives.teachers import Known, data, own
from flowmaps.solvers import RK4

__all__ = ["fmm", "pfmm"]


def fmm(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.5,
    pretrain: float = 0.25,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return direct flow map matching: learn the map from data, with no teacher and no stop.

    E |d/ds X_{t,s}(y) - dI_s/ds|^2 + |X_{t,s}(y) - I_s|^2 at y = X_{s,t}(I_s), with s and t over
    the whole square: the learned map must be for both directions of time, ``TimeSet(0, 1)``. The
    two terms hold each other up: the first says what the velocity is at points that come back, the
    second that points come back. By itself this is unstable at first (the derivative is taken where
    an untrained map has led); so by default it starts with flow matching and grows its spans.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows at s = t, where the first term is flow matching.
        pretrain: fraction of training, in [0, 1), in which all rows are.
        weight: of both terms off the diagonal, a number or a function of s and t (rows,) each.
        limit: longest span as a fraction of the interval, by progress after ``pretrain``; None for
            ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 3.11.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.fmm(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(8, 2), torch.ones(8, 2)).total.item() < 1e-12
        True
    """
    times = Mixed(diagonal, Square(limit or GrowingSpan()), pretrain)
    terms = [
        Term("flow matching", tangent, data, rows="diagonal"),
        Term(
            "returning", returning, data, rows="off diagonal", weight=weight, derivative=derivative
        ),
        Term("inversion", inversion, own, rows="off diagonal", weight=weight),
    ]
    return Composed(times, OnInterpolant(interpolant or Linear()), terms, reduction=reduction)


def pfmm(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    count: int = 8,
    weight: Weight = 1.0,
    limit: SpanLimit | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return progressive flow map matching: one step of the map for K steps of a teacher's.

    E w |X_{s,t}(I_s) - (Y_{t_{K-1},t} o ... o Y_{s,t_1})(I_s)|^2 with K equal steps. The teacher Y
    need be good on spans of 1 / K of the student's alone; a student so trained may then teach the
    next over longer spans: see ``fm.training.fit_in_stages``.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: Y, a flow map; a field makes one Runge-Kutta step of order 4 a step.
        count: K.
        weight: w, a number or a function of s and t (rows,) each.
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, progressive flow map matching.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective = fm.objectives.pfmm(fm.interpolants.Linear(), teacher=drift)
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    by = stepping(teacher, RK4())
    term = Term("chain", Chained(count), Known(by), "target", weight=weight)
    points = OnInterpolant(interpolant or Linear())
    return Composed(SortedPair(limit), points, [term], reduction=reduction)


def stepping(teacher: Field | FlowMap | None, method: object) -> FlowMap:
    """Return a teacher as a flow map: itself, or of a field one step of a method."""
    if teacher is None:
        raise TypeError(
            "this method distils a teacher=, a flow map or a field (t, x), got None; "
            "to learn without one use fm.objectives.psd_m"
        )
    check_given(teacher)
    if isinstance(teacher, FlowMap):
        return teacher
    return SolverFlowMap(teacher, method=method, steps=1)  # type: ignore[arg-type]

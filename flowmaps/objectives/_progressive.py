"""Methods that halve the number of steps: progressive distillation and shortcut models."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._flow_map_matching import stepping
from flowmaps.objectives._grids import Dyadic, OnNodes
from flowmaps.objectives._metrics import Metric
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Term, Weight
from flowmaps.objectives._times import Mixed
from flowmaps.objectives.principles import Chained, Shortcut, tangent
from flowmaps.objectives.teachers import Known, data, own
from flowmaps.solvers import Euler

__all__ = ["progressive_distillation", "shortcut"]


def progressive_distillation(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    count: int = 1,
    weight: Weight = 1.0,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return progressive distillation: one step of a grid of N for two of the teacher's 2 N.

    A stage of the method; the student teaches the next stage, which has half as many steps: see
    ``fm.training.fit_in_stages``. The student knows the spans of its own grid alone. Biased by the
    first teacher's steps: a field makes Euler steps (DDIM), whose error is of the order of 1 / N.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: a flow map valid on spans of 1 / (2 N), or a field.
        count: N.
        weight: a number or a function of s and t (rows,) each.
        metric: of the states' difference; None for its square.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Salimans and Ho (2022), arXiv:2202.00512, algorithm 2.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective = fm.objectives.progressive_distillation(teacher=drift, count=4)
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    by = Known(stepping(teacher, Euler()))
    term = Term("two steps", Chained(2), by, "target", weight=weight, metric=metric)
    points = OnInterpolant(interpolant or Linear())
    return Composed(OnNodes(count), points, [term], reduction=reduction)


def shortcut(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.75,
    depth: int = 7,
    weight: Weight = 1.0,
    reduction: str = "sum",
) -> Composed:
    """Return shortcut models: a step is two of half its length, on dyadic spans.

    Flow matching on the diagonal, and |v_{s,t} - sg((v_{s,u} + v_{u,t}(X_{s,u})) / 2)|^2 for spans
    1, 1/2, ..., 2^-depth that start at multiples of themselves. The halves of the shortest are
    Euler steps of v_{s,s}: the bias of the method, of the order of 2^-depth. The paper's target is
    a moving average of the weights: ``fm.training.fit(..., target=0.999)``.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows that do flow matching (0.75 in the paper).
        depth: number of halvings (7 in the paper).
        weight: of the other rows' square.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Frans et al. (2024), arXiv:2410.12557, equations 4 and 5.

    Example:
        >>> import flowmaps as fm
        >>> [term.name for term in fm.objectives.shortcut().terms]
        ['flow matching', 'shortcut']
    """
    path = interpolant or Linear()
    dyadic = Dyadic(depth)
    lower, upper = path.times
    principle = Shortcut((upper - lower) * 2.0**-depth)
    return Composed(
        Mixed(diagonal, dyadic),
        OnInterpolant(path),
        [
            Term("flow matching", tangent, data, rows="diagonal"),
            Term("shortcut", principle, own, "target", "off diagonal", weight),
        ],
        reduction=reduction,
    )

"""Mean flows: the Eulerian relation of the mean velocity, with the velocity of the data."""

from flowmaps.interpolants import Interpolant, Linear
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._drawn_times import SortedDraws
from flowmaps.objectives._forgetting import Forgetting
from flowmaps.objectives._marginals import Marginal, UniformTime
from flowmaps.objectives._metrics import Adaptive, InHighDimension, Metric
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term
from flowmaps.objectives._times import Diagonal, Mixed
from flowmaps.objectives.principles import eulerian, tangent
from flowmaps.objectives.principles import improved_mean_flow as improved
from flowmaps.objectives.teachers import GuidedData, Teacher, data, own

__all__ = ["improved_mean_flow", "mean_flow"]


def mean_flow(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.25,
    marginal: Marginal | None = None,
    metric: Metric | None = None,
    guidance: GuidedData | None = None,
    forgetting: Forgetting | None = None,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return MeanFlow: E |v_{s,t}(I_s) - sg(I'_s + (t - s) D_s v_{s,t}(I_s))|^2.

    D_s is the derivative along the path of the interpolant, d/ds + I'_s . grad; the noisy I'_s may
    stand for the field because the target is stopped. On the diagonal this is flow matching. The
    paper's adaptive weight, 1 / (|r|^2 + c)^p, acts on the noise of the data; so it is applied from
    64 coordinates on, and to no row of the diagonal.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows at s = t (0.25 on CIFAR-10).
        marginal: law of each time; None for uniform. The paper's is ``LogitNormal(0.4, 1.0)`` for
            images (2.0 and 2.0 in its CIFAR-10 runs, of the opposite sign in its own time).
        metric: of the rows off the diagonal; None for ``InHighDimension(Adaptive(0.75, 1e-3))``.
        guidance: mixes guidance into the velocity, on the diagonal too; None for none.
        forgetting: of conditions, for guidance; None for none.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Geng et al. (2025), arXiv:2505.13447, equations 10 and 11.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.mean_flow(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(8, 2), torch.ones(8, 2)).total.item()
        0.0
    """
    teacher: Teacher = guidance or data
    robust = metric or InHighDimension(Adaptive(0.75, 1e-3))
    terms = [
        Term("flow matching", tangent, teacher, rows="diagonal"),
        Term(
            "mean flow",
            eulerian,
            teacher,
            "value",
            "off diagonal",
            metric=robust,
            derivative=derivative,
        ),
    ]
    return _composed(interpolant, diagonal, marginal, terms, reduction, forgetting)


def improved_mean_flow(
    interpolant: Interpolant | None = None,
    diagonal: float = 0.5,
    marginal: Marginal | None = None,
    metric: Metric | None = None,
    forgetting: Forgetting | None = None,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return improved MeanFlow: E |v_{s,t}(I_s) - sg((t - s) D_s v_{s,t}(I_s)) - I'_s|^2.

    Here D_s is the derivative along the map's own field v_{s,s}, so that the noise of the data
    enters in I'_s alone, as in flow matching.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        diagonal: share of the rows at s = t.
        marginal: law of each time; None for uniform.
        metric: of the rows off the diagonal; None for ``InHighDimension(Adaptive(0.75, 1e-3))``.
        forgetting: of conditions, for guidance; None for none.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Geng et al. (2025), arXiv:2512.02012.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.improved_mean_flow()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(8, 2), torch.ones(8, 2)).total.item()
        0.0
    """
    robust = metric or InHighDimension(Adaptive(0.75, 1e-3))
    terms = [
        Term("flow matching", tangent, data, rows="diagonal"),
        Term(
            "mean flow",
            improved,
            own,
            "value",
            "off diagonal",
            metric=robust,
            derivative=derivative,
        ),
    ]
    return _composed(interpolant, diagonal, marginal, terms, reduction, forgetting)


def _composed(
    interpolant: Interpolant | None,
    diagonal: float,
    marginal: Marginal | None,
    terms: list[Term],
    reduction: str,
    forgetting: Forgetting | None,
) -> Composed:
    times = marginal or UniformTime()
    return Composed(
        Mixed(diagonal, SortedDraws(times), own=Diagonal(times)),
        OnInterpolant(interpolant or Linear()),
        terms,
        reduction=reduction,
        forgetting=forgetting,
    )

"""Consistency models and consistency trajectory models: the Eulerian principle by finite steps."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._distillation import known
from flowmaps.objectives._drawn_times import ToEnd
from flowmaps.objectives._grids import Count, Doubling, NextNode, Nodes, Shrinking
from flowmaps.objectives._marginals import Marginal
from flowmaps.objectives._metrics import InHighDimension, Metric, PseudoHuber
from flowmaps.objectives._middles import Midpoint
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Term, Weight
from flowmaps.objectives._times import Mixed, SortedPair
from flowmaps.objectives._weights import StepWeight
from flowmaps.objectives.principles import Consistency, tangent
from flowmaps.objectives.teachers import data

__all__ = ["consistency_distillation", "consistency_training", "ctm", "ect", "ict"]


def consistency_distillation(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    count: Count = 64,
    marginal: Marginal | None = None,
    weight: Weight | None = None,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return consistency distillation: E w d(X_{s,1}(I_s), sg X_{u,1}(x_u)) on a grid of steps.

    u is the node after s and x_u one step of the teacher from I_s, by Heun's method if it is a
    field. It learns X_{s,1} alone, the map to the end: sample in one step, or in several by
    ``fm.generative.sample_multistep``. The paper compares with a moving average of the weights:
    ``fm.training.fit(..., target=0.95)``; without one training is as stable here.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])``, or a flow map.
        count: number of steps of the grid, or that number by progress.
        marginal: law of s, moved to a node; None for all nodes alike.
        weight: w; None for ``StepWeight(1)``.
        metric: d; None for the square.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithm 2.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = lambda t, x: torch.ones_like(x)
        >>> objective = fm.objectives.consistency_distillation(teacher=field)
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    path = interpolant or Linear()
    chosen = StepWeight(1) if weight is None else weight
    term = Term(
        "consistency", Consistency(), known(teacher), "target", weight=chosen, metric=metric
    )
    return Composed(
        Nodes(count, marginal), OnInterpolant(path), [term], NextNode(count, path.times), reduction
    )


def consistency_training(
    interpolant: Interpolant | None = None,
    count: Count = 64,
    marginal: Marginal | None = None,
    weight: Weight | None = None,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return consistency training: as distillation, with I_u of the same noise and data for x_u.

    No teacher. Biased by construction: with steps of length h the minimum is off by the order of h,
    because the target's argument is noisy; more steps, less bias, more noise in the gradient.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        count: number of steps of the grid, or that number by progress.
        marginal: law of s, moved to a node; None for all nodes alike.
        weight: w; None for ``StepWeight(1)``.
        metric: d; None for the square. A robust one moves the minimum for skewed laws.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithm 3.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.consistency_training()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    path = interpolant or Linear()
    chosen = StepWeight(1) if weight is None else weight
    term = Term("consistency", Consistency(), data, "target", weight=chosen, metric=metric)
    points = OnInterpolant(path, middle=True)
    return Composed(Nodes(count, marginal), points, [term], NextNode(count, path.times), reduction)


def ict(
    interpolant: Interpolant | None = None,
    first: int = 10,
    last: int = 1280,
    marginal: Marginal | None = None,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return improved consistency training: steps that double in number, weighted 1 / (u - s).

    The paper's pseudo-Huber metric is applied from 64 coordinates on: below it moves the minimum of
    skewed laws by more than the bias of the steps.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        first, last: number of steps at the beginning and at the end of training.
        marginal: law of s, moved to a node; None for all nodes alike. The paper's, in noise levels,
            is ``NoiseLevel(interpolant, -1.1, 2.0)``.
        metric: None for ``InHighDimension(PseudoHuber())``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Song and Dhariwal (2023), arXiv:2310.14189.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.ict()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    robust = metric or InHighDimension(PseudoHuber())
    steps = Doubling(first, last)
    return consistency_training(interpolant, steps, marginal, StepWeight(1), robust, reduction)


def ect(
    interpolant: Interpolant | None = None,
    base: float = 2.0,
    stages: int = 8,
    marginal: Marginal | None = None,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return easy consistency tuning: u from the end t down towards s, weighted 1 / (u - s).

    It starts as a regression of the data, which is what a denoiser is trained by, and shrinks the
    step to ``base^-stages`` of the way. Meant for maps that start from a pre-trained field.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        base, stages: of ``Shrinking``.
        marginal: law of s; None for uniform. The paper's is ``NoiseLevel(interpolant, -1.1, 2.0)``.
        metric: None for ``InHighDimension(PseudoHuber())``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Geng et al. (2024), arXiv:2406.14548, algorithm 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.ect()
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    robust = metric or InHighDimension(PseudoHuber())
    term = Term("consistency", Consistency(), data, "target", weight=StepWeight(1), metric=robust)
    points = OnInterpolant(interpolant or Linear(), middle=True)
    return Composed(ToEnd(marginal), points, [term], Shrinking(base, stages), reduction)


def ctm(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    diagonal: float = 0.5,
    weight: Weight = 1.0,
    metric: Metric | None = None,
    reduction: str = "sum",
) -> Composed:
    """Return consistency trajectory models: consistent for every end time t, compared at the data.

    E |sg X_{t,1}(X_{s,t}(I_s)) - sg X_{t,1}(X_{u,t}(x_u))|^2, where the outer maps are frozen but
    not their arguments and x_u is the teacher's state halfway, plus the denoising term: here flow
    matching at s = t. Without the adversarial term. As target the paper takes a moving average:
    ``fm.training.fit(..., target=0.999)``.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        teacher: b, a field ``(t, x[, condition])``, or a flow map; a field makes one Heun step from
            s to u: for long spans give ``fm.maps.SolverFlowMap(field)``.
        diagonal: share of the rows of the denoising term.
        weight: of the other term.
        metric: of the other term; None for the square.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Raises:
        TypeError: without a teacher that can be called.

    Source:
        Kim et al. (2023), arXiv:2310.02279, equations 9 and 10.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.ctm(teacher=lambda t, x: torch.ones_like(x))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    path = interpolant or Linear()
    principle = Consistency(by=path.times[1])
    terms = [
        Term("flow matching", tangent, data, rows="diagonal"),
        Term(
            "consistency",
            principle,
            known(teacher),
            "target",
            "off diagonal",
            weight,
            metric=metric,
        ),
    ]
    times = Mixed(diagonal, SortedPair())
    return Composed(times, OnInterpolant(path), terms, Midpoint(), reduction)

"""Consistency models in continuous time."""

from flowmaps._typing import Field
from flowmaps.interpolants import Interpolant, Trigonometric
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._distillation import known
from flowmaps.objectives._drawn_times import ToEnd
from flowmaps.objectives._marginals import Marginal
from flowmaps.objectives._metrics import InHighDimension, Metric, Normalised
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Derivative, Term
from flowmaps.objectives._weights import LearnedWeight
from flowmaps.objectives.principles import WarmedEulerian
from flowmaps.objectives.teachers import data

__all__ = ["scm"]


def scm(
    interpolant: Interpolant | None = None,
    teacher: Field | FlowMap | None = None,
    warmup: float = 0.25,
    marginal: Marginal | None = None,
    metric: Metric | None = None,
    weighted: LearnedWeight | bool = True,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return sCM: the Eulerian relation of the map to the end, X_{s,1}, with a learned weight.

    Training (sCT) takes the data's velocity, distillation (sCD) the teacher's. The gradient flows
    through the mean velocity alone, and the part of the residual with a derivative is warmed up.
    It learns X_{s,1} alone: sample in one step, or in several by
    ``fm.generative.sample_multistep``.

    Args:
        interpolant: the path between base and data; None for ``Trigonometric()``, the quarter
            circle of TrigFlow with its angle divided by pi / 2.
        teacher: b, a field or a flow map, for distillation; None to train on data.
        warmup: progress of training at which the derivative counts in full.
        marginal: law of s; None for uniform.
        metric: None for ``Normalised(0.1)`` in distillation; in training, where normalising acts on
            the noise of the data, from 64 coordinates on.
        weighted: by a learned weight of s; True for ``LearnedWeight()``, False for none.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Lu and Song (2024), arXiv:2410.11081, equation 8 and algorithm 1, in its time 0 for data.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.scm(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item() < 1e-12
        True
    """
    by = data if teacher is None else known(teacher)
    robust = Normalised(0.1)
    chosen = metric or (InHighDimension(robust) if teacher is None else robust)
    learned_weight = LearnedWeight() if weighted is True else weighted or None
    return Composed(
        ToEnd(marginal),
        OnInterpolant(interpolant or Trigonometric()),
        [
            Term(
                "consistency",
                WarmedEulerian(warmup),
                by,
                "value",
                metric=chosen,
                derivative=derivative,
            )
        ],
        reduction=reduction,
        learned_weight=learned_weight,
    )

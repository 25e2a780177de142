"""Flow matching: learn the field as the conditional mean of the interpolant's velocity."""

from flowmaps.interpolants import Interpolant, Linear
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._points import OnInterpolant
from flowmaps.objectives._term import Term
from flowmaps.objectives._times import Diagonal
from flowmaps.objectives.principles import tangent
from flowmaps.objectives.teachers import data

__all__ = ["flow_matching"]


def flow_matching(interpolant: Interpolant | None = None, reduction: str = "sum") -> Composed:
    """Return flow matching: E |v_{t,t}(I_t) - dI_t/dt|^2 with t uniform.

    It trains the diagonal s = t alone. Its least value is not zero but the conditional variance
    of the interpolant's velocity.

    Args:
        interpolant: the path between base and data; None for ``Linear()``.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.

    Source:
        Lipman et al. (2022), arXiv:2210.02747, equation 9; Albergo, Boffi and Vanden-Eijnden
        (2023), arXiv:2303.08797.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.flow_matching(fm.interpolants.Linear())
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective.loss(drift, torch.zeros(4, 2), torch.ones(4, 2)).total.item()
        0.0
    """
    points = OnInterpolant(interpolant or Linear())
    terms = [Term("flow matching", tangent, data)]
    return Composed(Diagonal(), points, terms, reduction=reduction)

"""What an objective returns, and how residuals become it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["REDUCTIONS", "Loss"]


class Loss(NamedTuple):
    """The value of an objective on one draw.

    Args:
        total: the number to minimise, 0-d: the mean of ``per_sample``.
        parts: by name, the mean of each term over its own rows, before its weight; for reading, not
            for descent.
        per_sample: what each row of the draw adds, weights included, (batch,).

    Example:
        >>> import torch, flowmaps as fm
        >>> still = fm.maps.ExactFlowMap(lambda s, t, x: x)
        >>> loss = fm.objectives.flow_matching().loss(still, torch.zeros(8, 2), torch.ones(8, 2))
        >>> loss.total.item(), loss.per_sample.shape
        (2.0, torch.Size([8]))
    """

    total: Tensor
    parts: dict[str, Tensor]
    per_sample: Tensor


def _wide(residual: Tensor) -> Tensor:
    # squares of half-precision residuals are summed in float32
    return residual.to(torch.promote_types(residual.dtype, torch.float32)).flatten(1)


def _sum(residual: Tensor) -> Tensor:
    return _wide(residual).square().sum(1)


def _mean(residual: Tensor) -> Tensor:
    return _wide(residual).square().mean(1)


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sum": _sum, "mean": _mean}
"""From residuals (batch, *event) the sum, |.|^2, or mean of squares over coordinates: (batch,)."""

"""The straight line from base to data."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["Linear"]


@final
class Linear(Interpolant):
    """I_t = (1 - t) x0 + t x1 on [0, 1], with constant velocity x1 - x0; any base law.

    Source:
        Lipman et al. (2022), arXiv:2210.02747, equation 22 with sigma_min = 0; Liu et al. (2022),
        arXiv:2209.03003.

    Example:
        >>> import torch, flowmaps as fm
        >>> path = fm.interpolants.Linear()
        >>> path.interpolate(0.25, torch.zeros(1, 2), torch.ones(1, 2)).tolist()
        [[0.25, 0.25]]
        >>> path.velocity(0.25, torch.zeros(1, 2), torch.ones(1, 2)).tolist()
        [[1.0, 1.0]]
    """

    @property
    def times(self) -> tuple[float, float]:
        """The interval (0, 1)."""
        return (0.0, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1 - t."""
        return 1 - t

    def beta(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return -1 for every time."""
        return -torch.ones_like(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return 1 for every time."""
        return torch.ones_like(t)

    def config(self) -> dict[str, Any]:
        """Return no arguments: there are none."""
        return {}

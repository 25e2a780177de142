"""The path of variance-exploding diffusions, as EDM runs it."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["VarianceExploding"]


@final
class VarianceExploding(Interpolant):
    """I_t = sigma(t) x0 + x1 on [0, 1]: noise is taken away, the data stays as it is.

    sigma(t) = (sigma_max^(1/rho) + t (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho. The base law is
    that of sigma_max x0 + x1, for which ``base_scale * noise`` stands; at the data's end noise of
    sigma_min is left: ``ends`` are (sigma_max, 1) and (sigma_min, 1).

    Args:
        sigma_min, sigma_max: noise at time 1 and at time 0, positive.
        rho: exponent of the schedule, positive.

    Raises:
        TypeError, ValueError: for numbers that are none of these, or sigma_min not below sigma_max.

    Source:
        Karras et al. (2022), arXiv:2206.00364, equation 5.

    Example:
        >>> import flowmaps as fm
        >>> round(fm.interpolants.VarianceExploding().base_scale, 6)
        80.0
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0):
        self.sigma_min = as_positive(sigma_min, "sigma_min")
        self.sigma_max = as_positive(sigma_max, "sigma_max")
        self.rho = as_positive(rho, "rho")
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min must be less than sigma_max, got {sigma_min} and {sigma_max}"
            )

    @property
    def times(self) -> tuple[float, float]:
        """The interval (0, 1)."""
        return (0.0, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """Return sigma(t)."""
        return self._root(t) ** self.rho

    def beta(self, t: Tensor) -> Tensor:
        """Return 1 for every time."""
        return torch.ones_like(t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return sigma'(t)."""
        return self.rho * self._slope * self._root(t) ** (self.rho - 1)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return 0 for every time."""
        return torch.zeros_like(t)

    def config(self) -> dict[str, Any]:
        """Return the noise at both ends, and rho."""
        return {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max, "rho": self.rho}

    @property
    def _slope(self) -> float:
        return self.sigma_min ** (1 / self.rho) - self.sigma_max ** (1 / self.rho)

    def _root(self, t: Tensor) -> Tensor:
        return self.sigma_max ** (1 / self.rho) + t * self._slope

"""The path of variance-preserving diffusions."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["VariancePreserving"]


@final
class VariancePreserving(Interpolant):
    """I_t = sqrt(1 - m^2) x0 + m x1, the path of a diffusion whose noise rate is linear in time.

    log m = -(beta_min r + (beta_max - beta_min) r^2 / 2) / 2 at the time r = 1 - t from the data.
    The velocity is infinite at the data's end, where alpha grows like a root: times end at
    1 - clip. At time 0 a share m(1), 0.0066 by default, of the data is left in the noise: both ends
    are missed by what ``ends`` says.

    Args:
        beta_min, beta_max: rates at the data and at the noise, positive.
        clip: what is cut off at the data's end, in (0, 1).

    Raises:
        TypeError, ValueError: for numbers that are none of these.

    Source:
        Song et al. (2020), arXiv:2011.13456, equations 32 and 33; clip 1e-5 of its appendix C.

    Example:
        >>> import torch, flowmaps as fm
        >>> path = fm.interpolants.VariancePreserving()
        >>> t = torch.tensor([0.0, 0.5, 0.9])
        >>> torch.round(path.alpha(t) ** 2 + path.beta(t) ** 2, decimals=4).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, clip: float = 1e-5):
        self.beta_min = as_positive(beta_min, "beta_min")
        self.beta_max = as_positive(beta_max, "beta_max")
        self.clip = as_positive(clip, "clip")
        if not clip < 1:
            raise ValueError(f"clip must be in (0, 1), got {clip}")

    @property
    def times(self) -> tuple[float, float]:
        """The interval (0, 1 - clip)."""
        return (0.0, 1.0 - self.clip)

    def alpha(self, t: Tensor) -> Tensor:
        """Return sqrt(1 - m^2)."""
        return torch.sqrt(-torch.expm1(2 * self._log_mean(t)))

    def beta(self, t: Tensor) -> Tensor:
        """Return m."""
        return torch.exp(self._log_mean(t))

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return -m m' / alpha."""
        return -self.beta(t) * self.beta_derivative(t) / self.alpha(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return m'."""
        return self.beta(t) * (self.beta_min + (self.beta_max - self.beta_min) * (1 - t)) / 2

    def config(self) -> dict[str, Any]:
        """Return rates and clip."""
        return {"beta_min": self.beta_min, "beta_max": self.beta_max, "clip": self.clip}

    def _log_mean(self, t: Tensor) -> Tensor:
        r = 1 - t
        return -(self.beta_min * r + (self.beta_max - self.beta_min) * r**2 / 2) / 2

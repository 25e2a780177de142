"""The interpolant I_t = alpha(t) x0 + beta(t) x1 + gamma(t) z between base x0 and data x1."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_clock, brief, check_state, checks_values, is_number, per_sample
from flowmaps._transforms import any_item
from flowmaps._typing import Time

__all__ = ["Interpolant"]


class Interpolant(ABC):
    """A path I_t = alpha(t) x0 + beta(t) x1 + gamma(t) z, z normal; gamma is 0 unless ``latent``.

    b(t, x) = E[dI_t/dt | I_t = x] transports the law of I at ``times[0]`` to that at ``times[1]``:
    of x0 and of x1, where ``ends`` are (1, 0) and (0, 1). A subclass gives the coefficients, their
    derivatives and the interval.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, definition 2.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> isinstance(fm.interpolants.Linear(), fm.interpolants.Interpolant)
        True
    """

    @property
    @abstractmethod
    def times(self) -> tuple[float, float]:
        """The interval of the path: base at its lower end, data at its upper end."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the coefficient of x0 at times t (batch,)."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """Return the coefficient of x1 at times t (batch,)."""

    @abstractmethod
    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return d alpha / dt at times t (batch,)."""

    @abstractmethod
    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return d beta / dt at times t (batch,)."""

    latent = False
    """Whether the path has noise z of its own: ``interpolate`` and ``velocity`` then take it."""

    def gamma(self, t: Tensor) -> Tensor:
        """Return the coefficient of z at times t (batch,)."""
        return torch.zeros_like(t)

    def gamma_derivative(self, t: Tensor) -> Tensor:
        """Return d gamma / dt at times t (batch,)."""
        return torch.zeros_like(t)

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Alpha and beta at the lower and at the upper end of the interval."""
        times = torch.tensor(self.times, dtype=torch.float64)
        (a0, a1), (b0, b1) = self.alpha(times).tolist(), self.beta(times).tolist()
        return (a0, b0), (a1, b1)

    @property
    def base_scale(self) -> float:
        """Standard deviation of the noise at the lower end if x0 is standard normal.

        Sample from a map that starts there with ``base_scale * torch.randn(...)``.
        """
        lower = torch.tensor([self.times[0]], dtype=torch.float64)
        return float(torch.hypot(self.alpha(lower), self.gamma(lower)))

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments, ready for JSON."""

    def interpolate(self, t: Time, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> Tensor:
        """Return I_t, shape (batch, *event).

        Args:
            t: times, a number or a tensor of shape () or (batch,).
            x0, x1: base and data samples (batch, *event).
            z: normal noise (batch, *event) of a path that is ``latent``; None for others.

        Raises:
            TypeError, ValueError: for samples of different shapes or dtypes, or times of another
                shape.
            ValueError: for a number outside ``times``; of tensors only under ``checking("full")``.
        """
        clock = self._clock(t, x0, x1)
        path = per_sample(self.alpha(clock), x1) * x0 + per_sample(self.beta(clock), x1) * x1
        noise = self._noise(z, x1)
        return path if noise is None else path + per_sample(self.gamma(clock), x1) * noise

    def velocity(self, t: Time, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> Tensor:
        """Return dI_t/dt, shape (batch, *event); arguments as in interpolate."""
        clock = self._clock(t, x0, x1)
        slope0, slope1 = self.alpha_derivative(clock), self.beta_derivative(clock)
        slope = per_sample(slope0, x1) * x0 + per_sample(slope1, x1) * x1
        noise = self._noise(z, x1)
        if noise is None:
            return slope
        return slope + per_sample(self.gamma_derivative(clock), x1) * noise

    def noise_level(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(alpha^2 + gamma^2) and its derivative at times t (batch,).

        Where the base is standard normal and independent of the data, alpha x0 + gamma z is one
        normal noise of that standard deviation.
        """
        alpha, slope = self.alpha(t), self.alpha_derivative(t)
        if not self.latent:
            return alpha, slope
        gamma = self.gamma(t)
        level = torch.hypot(alpha, gamma)
        return level, (alpha * slope + gamma * self.gamma_derivative(t)) / level

    def _noise(self, z: Tensor | None, x1: Tensor) -> Tensor | None:
        """Return z if the path has noise of its own; raise ValueError if it does not fit."""
        if self.latent != (z is not None):
            wanted = "needs noise z" if self.latent else "has no noise of its own: z must be None"
            raise ValueError(f"{type(self).__name__} {wanted}")
        if z is not None and (z.shape != x1.shape or z.dtype != x1.dtype):
            raise ValueError(
                f"z must have shape and dtype of x1, {tuple(x1.shape)} {x1.dtype}, "
                f"got {tuple(z.shape)} {z.dtype}"
            )
        return z

    def _clock(self, t: Time, x0: Tensor, x1: Tensor) -> Tensor:
        check_state(x0, "x0")
        check_state(x1, "x1")
        if x0.shape != x1.shape or x0.dtype != x1.dtype:
            raise ValueError(
                f"x0 and x1 must have one shape and dtype, got {tuple(x0.shape)} {x0.dtype} "
                f"and {tuple(x1.shape)} {x1.dtype}"
            )
        clock, (lower, upper) = as_clock(t, x1, "t"), self.times
        inside = not is_number(t) or lower <= t <= upper
        if inside and checks_values(clock):
            inside = not any_item((clock < lower) | (clock > upper))
        if not inside:
            raise ValueError(
                f"t must be in the interpolant's interval [{lower:g}, {upper:g}], got {brief(t)}"
            )
        return clock

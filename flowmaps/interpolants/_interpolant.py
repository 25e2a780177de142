"""The interpolant I_t = alpha(t) x0 + beta(t) x1 between a base sample x0 and a data sample x1."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from flowmaps._checks import as_clock, brief, check_state, checks_values, is_number, per_sample
from flowmaps._transforms import any_item
from flowmaps._typing import Time

__all__ = ["Interpolant"]


class Interpolant(ABC):
    """A path I_t = alpha(t) x0 + beta(t) x1; its velocity's conditional mean is the field.

    b(t, x) = E[dI_t/dt | I_t = x] transports the law of x0 at ``times[0]`` to the law of x1 at
    ``times[1]``. A subclass gives the two coefficients, their derivatives and the interval.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, definition 2.1 without the
        latent term.

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

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments, ready for JSON."""

    def interpolate(self, t: Time, x0: Tensor, x1: Tensor) -> Tensor:
        """Return I_t, shape (batch, *event).

        Args:
            t: times, a number or a tensor of shape () or (batch,).
            x0, x1: base and data samples (batch, *event).

        Raises:
            TypeError, ValueError: for samples of different shapes or dtypes, or times of another
                shape.
            ValueError: for a number outside ``times``; of tensors only under ``checking("full")``.
        """
        clock = self._clock(t, x0, x1)
        return per_sample(self.alpha(clock), x1) * x0 + per_sample(self.beta(clock), x1) * x1

    def velocity(self, t: Time, x0: Tensor, x1: Tensor) -> Tensor:
        """Return dI_t/dt, shape (batch, *event); arguments as in interpolate."""
        clock = self._clock(t, x0, x1)
        slope0, slope1 = self.alpha_derivative(clock), self.beta_derivative(clock)
        return per_sample(slope0, x1) * x0 + per_sample(slope1, x1) * x1

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

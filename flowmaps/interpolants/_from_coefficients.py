"""A path by a user's coefficients."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.func import jvp

from flowmaps._checks import brief
from flowmaps.interpolants._check import as_interval, check_path
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["FromCoefficients"]

Coefficient = Callable[[Tensor], Tensor]


@final
class FromCoefficients(Interpolant):
    """I_t = alpha(t) x0 + beta(t) x1 with coefficients given; derivatives by forward mode.

    Args:
        alpha, beta: functions of times (batch,), in torch operations, of each time alone.
        times: the interval, base at its lower end.
        ends: (alpha, beta) at both ends, as they are meant to be; the functions are held to it.

    Raises:
        TypeError: for coefficients that cannot be called or return no tensor like the times, or
            times or ends that are no numbers.
        ValueError: for times that do not increase, coefficients that are not finite in the
            interval, have no finite derivative there, mix times or miss the ends declared, or a
            path on which base and data cannot be told apart (alpha beta' - alpha' beta is zero).

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, definition 2.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> path = fm.interpolants.FromCoefficients(lambda t: 1 - t**2, lambda t: t**2)
        >>> path.velocity(0.5, torch.zeros(1, 2), torch.ones(1, 2)).tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self,
        alpha: Coefficient,
        beta: Coefficient,
        times: tuple[float, float] = (0.0, 1.0),
        ends: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0)),
    ):
        for name, function in (("alpha", alpha), ("beta", beta)):
            if not callable(function):
                raise TypeError(
                    f"{name} must be a function of times (batch,), got {brief(function)}"
                )
        self._alpha, self._beta, self._times = alpha, beta, as_interval(times)
        self._declared = _as_ends(ends)
        self._check()

    @property
    def times(self) -> tuple[float, float]:
        """The interval given."""
        return self._times

    def alpha(self, t: Tensor) -> Tensor:
        """Return the coefficient of x0."""
        return self._alpha(t)

    def beta(self, t: Tensor) -> Tensor:
        """Return the coefficient of x1."""
        return self._beta(t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return d alpha / dt, by forward mode."""
        return jvp(self._alpha, (t,), (torch.ones_like(t),))[1]

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return d beta / dt, by forward mode."""
        return jvp(self._beta, (t,), (torch.ones_like(t),))[1]

    def config(self) -> dict[str, Any]:
        """Return the arguments; functions are saved only if they can be named."""
        return {
            "alpha": self._alpha,
            "beta": self._beta,
            "times": self._times,
            "ends": self._declared,
        }

    def _check(self) -> None:
        check_path(self, self._declared)
        inside = torch.linspace(*self._times, 65, dtype=torch.float64)[1:-1]
        apart = self.alpha(inside) * self.beta_derivative(inside)
        apart = apart - self.alpha_derivative(inside) * self.beta(inside)
        if bool((apart.abs() < 1e-12).any()) or bool((apart.sign() != apart[0].sign()).any()):
            raise ValueError(
                "alpha beta' - alpha' beta must not vanish: where it does, the velocity says "
                "nothing of base and data"
            )


def _as_ends(ends: Any) -> tuple[tuple[float, float], ...]:
    """Return (alpha, beta) at both ends as floats; raise TypeError for anything else."""
    try:
        (a0, b0), (a1, b1) = ends
        return (float(a0), float(b0)), (float(a1), float(b1))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "ends must be (alpha, beta) at the lower and at the upper end, such as "
            f"((1.0, 0.0), (0.0, 1.0)), got {brief(ends)}"
        ) from error

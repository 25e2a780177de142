"""A path run by another clock."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.func import jvp

from flowmaps._checks import brief
from flowmaps.interpolants._check import as_interval, values_of
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["Retimed"]


@final
class Retimed(Interpolant):
    """I at the time tau(t): the same path, faster here and slower there.

    The flow map of the new field is that of the old one at other times: Y_{s,t} =
    X_{tau(s),tau(t)}.

    Args:
        path: the interpolant; its ``latent`` noise stays.
        tau: increasing function of times (batch,) onto the path's interval, in torch operations.
        times: the new interval.

    Raises:
        TypeError: for a path that is none, times that are no numbers, or tau that cannot be called
            or returns no tensor like the times.
        ValueError: if tau is not finite, mixes times, or does not increase from one end of the
            path's interval to the other.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, section 4 on reparametrisation.

    Example:
        >>> import torch, flowmaps as fm
        >>> slow_start = fm.interpolants.Retimed(fm.interpolants.Linear(), lambda t: t**2)
        >>> slow_start.interpolate(0.5, torch.zeros(1, 1), torch.ones(1, 1)).item()
        0.25
    """

    def __init__(
        self,
        path: Interpolant,
        tau: Callable[[Tensor], Tensor],
        times: tuple[float, float] = (0.0, 1.0),
    ):
        if not isinstance(path, Interpolant):
            raise TypeError(f"path must be an fm.interpolants.Interpolant, got {brief(path)}")
        if not callable(tau):
            raise TypeError(f"tau must be a function of times (batch,), got {brief(tau)}")
        self.path, self.tau, self._times = path, tau, as_interval(times)
        self.latent = path.latent
        found = values_of(tau, torch.linspace(*self._times, 65, dtype=torch.float64), "tau")
        lower, upper = path.times
        meets = abs(float(found[0]) - lower) < 1e-9 and abs(float(found[-1]) - upper) < 1e-9
        if not meets or not bool((found.diff() > 0).all()):
            raise ValueError(
                f"tau must increase from {lower:g} to {upper:g} on {self._times}, got "
                f"{float(found[0]):g} to {float(found[-1]):g}"
                + ("" if meets else "; scale it, or give times=")
            )

    @property
    def times(self) -> tuple[float, float]:
        """The new interval."""
        return self._times

    def alpha(self, t: Tensor) -> Tensor:
        """Return the path's coefficient of x0 at tau."""
        return self.path.alpha(self._at(t))

    def beta(self, t: Tensor) -> Tensor:
        """Return the path's coefficient of x1 at tau."""
        return self.path.beta(self._at(t))

    def gamma(self, t: Tensor) -> Tensor:
        """Return the path's coefficient of z at tau."""
        return self.path.gamma(self._at(t))

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return d alpha / dt."""
        return self.path.alpha_derivative(self._at(t)) * self._rate(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return d beta / dt."""
        return self.path.beta_derivative(self._at(t)) * self._rate(t)

    def gamma_derivative(self, t: Tensor) -> Tensor:
        """Return d gamma / dt."""
        return self.path.gamma_derivative(self._at(t)) * self._rate(t)

    def config(self) -> dict[str, Any]:
        """Return path, tau and times; tau is saved only if it can be named."""
        return {"path": self.path, "tau": self.tau, "times": self._times}

    def _at(self, t: Tensor) -> Tensor:
        # a rounding may leave the path's interval
        return self.tau(t).clamp(*self.path.times)

    def _rate(self, t: Tensor) -> Tensor:
        return jvp(self.tau, (t,), (torch.ones_like(t),))[1]

"""The endpoint parametrisation."""

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import brief, is_number, per_sample
from flowmaps._typing import Clock, Condition, State
from flowmaps.maps._parametrization import Parametrization, evaluate, evaluate_dual

__all__ = ["Endpoint"]


@final
class Endpoint(Parametrization):
    """X_{s,t}(x) = x + (t - s) / (T - s) (g_{s,t}(x) - x): g is where the straight line ends at T.

    Singular at s = T, where X_{T,T} = id, every other t gives NaN, and time derivatives are not
    finite. On the diagonal g_{t,t} is the denoiser.

    Args:
        time: T, the end of the time interval at which the data live.

    Raises:
        TypeError, ValueError: if time is no number, or not finite.

    Source:
        Kim et al. (2023), Consistency trajectory models, arXiv 2310.02279, equation 9, with time
        reversed.

    Example:
        >>> import flowmaps as fm
        >>> fm.maps.Endpoint(time=1.0)
        Endpoint(time=1.0)
    """

    def __init__(self, time: float = 1.0):
        super().__init__()
        if not is_number(time):
            raise TypeError(f"the end time must be a number, got {brief(time)}")
        if not math.isfinite(time):
            raise ValueError(f"the end time must be finite, got {time}")
        self.time = float(time)

    def forward(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return x + (t - s) / (T - s) (g_{s,t}(x) - x)."""
        share = per_sample(_share(t - s, self.time - s), x)
        return x + share * (evaluate(network, s, t, x, condition) - x)

    def velocity(self, network: nn.Module, t: Clock, x: State, condition: Condition) -> Tensor:
        """Return (g_{t,t}(x) - x) / (T - t), NaN at t = T."""
        return self.mean_velocity(network, t, t, x, condition)

    def mean_velocity(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return (g_{s,t}(x) - x) / (T - s), NaN at s = T."""
        rest = self.time - s
        rest = torch.where(rest == 0, torch.nan, rest)
        return (evaluate(network, s, t, x, condition) - x) / per_sample(rest, x)

    def dual(
        self,
        network: nn.Module,
        s: Clock,
        t: Clock,
        x: State,
        condition: Condition,
        ds: Clock,
        dt: Clock,
        dx: State,
        dcondition: Condition,
    ) -> tuple[Tensor, Tensor]:
        """Return X_{s,t}(x) and dx + d(share) (g - x) + share (dg - dx), NaN at s = T."""
        g, dg = evaluate_dual(network, s, t, x, condition, ds, dt, dx, dcondition)
        rest = self.time - s
        share = _share(t - s, rest)
        change = (dt - ds + share * ds) / torch.where(rest == 0, torch.nan, rest)
        wide, slope = per_sample(share, x), per_sample(change, x)
        return x + wide * (g - x), dx + slope * (g - x) + wide * (dg - dx)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"time": self.time}

    def extra_repr(self) -> str:
        """Name the end time."""
        return f"time={self.time}"


def _share(span: Clock, rest: Clock) -> Tensor:
    """Return span / rest; where rest is 0, NaN, or 0 with an infinite derivative if span is 0."""
    singular = rest == 0
    share = span / torch.where(singular, 1.0, rest)
    steep = torch.sqrt(torch.where(singular, -span.abs(), 1.0))
    return torch.where(singular, steep, share)

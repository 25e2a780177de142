"""The mean-velocity parametrisation."""

from typing import Any, final

from torch import Tensor, nn

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Condition, State
from flowmaps.maps._parametrization import (
    Parametrization,
    evaluate,
    evaluate_along,
    evaluate_dual,
    per_row,
)

__all__ = ["MeanVelocity"]


@final
class MeanVelocity(Parametrization):
    """X_{s,t}(x) = x + (t - s) v_{s,t}(x): the network is the mean velocity, at s = t the field.

    Source:
        Boffi, Albergo, Vanden-Eijnden (2024), Flow map matching, arXiv 2406.07507, section 3.

    Example:
        >>> import flowmaps as fm
        >>> fm.maps.MeanVelocity()
        MeanVelocity()
    """

    def forward(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return x + (t - s) v_{s,t}(x)."""
        return x + per_sample(t - s, x) * evaluate(network, s, t, x, condition)

    def velocity(self, network: nn.Module, t: Clock, x: State, condition: Condition) -> Tensor:
        """Return v_{t,t}(x)."""
        return evaluate(network, t, t, x, condition)

    def mean_velocity(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return v_{s,t}(x), the network."""
        return evaluate(network, s, t, x, condition)

    def along(
        self, network: nn.Module, s: Clock, rows: Tensor, x: State, condition: Condition
    ) -> Tensor:
        """Return x + (t - s) v_{s,t}(x) for every row t; one evaluation if the network decodes."""
        if getattr(network, "decodes", None) is None:
            return super().along(network, s, rows, x, condition)
        v = evaluate_along(network, s, rows, x, condition)
        return x + per_row(rows - s, x) * v

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
        """Return X_{s,t}(x) and dx + (dt - ds) v + (t - s) dv."""
        v, dv = evaluate_dual(network, s, t, x, condition, ds, dt, dx, dcondition)
        span, rate = per_sample(t - s, x), per_sample(dt - ds, x)
        return x + span * v, dx + rate * v + span * dv

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {}

"""A flow map known in closed form."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flowmaps._checks import as_clock, check_output, check_state, time_like
from flowmaps._typing import Condition, Field, Time
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._times import TimeSet

__all__ = ["ExactFlowMap"]


class ExactFlowMap(FlowMap):
    """A flow map given by a formula.

    Args:
        function: ``X(s, t, x)`` or ``X(s, t, x, condition)``; s and t arrive as (batch,) in x's dtype.
        times: pairs of times that the formula is for; all by default.
        velocity: the field ``b(t, x)`` or ``b(t, x, condition)`` if known; else the formula is differentiated.

    Raises:
        TypeError: if function is not callable.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
        >>> round(growth(0.0, 1.0, torch.ones(1, 1)).item(), 4)
        2.7183
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        times: TimeSet | None = None,
        velocity: Field | None = None,
    ):
        super().__init__(times)
        if not callable(function):
            raise TypeError(f"function must be a callable X(s, t, x), got {type(function).__name__}")
        self.function = function
        self._velocity = velocity

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        start, end = time_like(as_clock(s, x, "s"), x), time_like(as_clock(t, x, "t"), x)
        extra = () if condition is None else (condition,)
        return self.function(start, end, x, *extra)

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the tangent at s = t, (batch, *event): the given field, else the formula's derivative."""
        if self._velocity is None:
            return super().velocity(t, x, condition)
        check_state(x)
        extra = () if condition is None else (condition,)
        time = time_like(as_clock(t, x, "t"), x)
        return check_output(self._velocity(time, x, *extra), x, "the velocity")

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function, "times": self.times, "velocity": self._velocity}

"""A flow map known in closed form."""

from collections.abc import Callable
from typing import Any, final

from torch import Tensor

from flowmaps._checks import as_clock, brief, time_like
from flowmaps._typing import Condition, Field, State
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._times import TimeSet

__all__ = ["ExactFlowMap"]


@final
class ExactFlowMap(FlowMap):
    """A flow map given by a formula.

    Args:
        function: ``X(s, t, x)`` or ``X(s, t, x, condition)``; s, t arrive as (batch,) in x's dtype.
        times: pairs of times that the formula is for; all by default.
        velocity: the field ``b(t, x)`` or ``b(t, x, condition)`` if known; else the formula is
            differentiated.

    Raises:
        TypeError: if function or velocity is not callable.

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
            raise TypeError(f"function must be a callable X(s, t, x), got {brief(function)}")
        if velocity is not None and not callable(velocity):
            raise TypeError(f"velocity must be a callable b(t, x), got {brief(velocity)}")
        self.function = function
        self._velocity = velocity

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        start, end = time_like(as_clock(s, x, "s"), x), time_like(as_clock(t, x, "t"), x)
        extra = () if condition is None else (condition,)
        return self.function(start, end, x, *extra)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        if self._velocity is None:
            return super()._tangent(t, x, condition)
        extra = () if condition is None else (condition,)
        return self._velocity(time_like(as_clock(t, x, "t"), x), x, *extra)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function, "times": self.times, "velocity": self._velocity}

"""The field as the solvers call it: condition bound, clocks rounded, outputs checked."""

from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import check_output, time_bounds, time_like
from flowmaps._probing import first_value
from flowmaps._typing import Clock, Condition, Field, State

__all__ = ["BoundField"]


class BoundField:
    """``b(clock, x)`` with the condition inside; checks shape, dtype and device of every value.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        condition: pytree or None.
        between: two clocks (batch,) and the states in whose dtype the field sees times. It is never
            asked outside them, where it may not exist: a step that ends at t = 1 would, by
            rounding, reach 1 + 2e-16, and float32 makes 0.10000000149 of 0.1.
    """

    def __init__(
        self,
        field: Field,
        condition: Condition,
        between: tuple[Clock, Clock, State] | None = None,
    ):
        self.field = field
        self.extra = () if condition is None else (condition,)
        self.bounds = None if between is None else time_bounds(*between)

    def __call__(self, t: Clock, x: State) -> Tensor:
        return check_output(self._value(t, x), x, "the field")

    def _value(self, t: Clock, x: State) -> Any:
        time = time_like(t, x)
        if self.bounds is not None:
            time = torch.clamp(time, *self.bounds)
        return self.field(time, x, *self.extra)

    def first(self, t: Clock, x: State) -> Tensor:
        """Evaluate at the door, where a failure is most often a misread t; see ``first_value``."""
        if torch.compiler.is_compiling():
            return self(t, x)
        return first_value(self._value, t, x, bool(self.extra))

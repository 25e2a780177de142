"""The field as the solvers call it: condition bound, clocks rounded, outputs checked."""

from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import check_output, first_line, time_like
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.solvers._probe import ADVICE

__all__ = ["BoundField"]


class BoundField:
    """``b(clock, x)`` with the condition inside; checks shape, dtype and device of every value.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        condition: pytree or None.
        between: two clocks (batch,); the field is never asked outside them, where it may not exist:
            a step that ends at t = 1 would, by rounding, reach 1 + 2e-16.
    """

    def __init__(
        self, field: Field, condition: Condition, between: tuple[Clock, Clock] | None = None
    ):
        self.field = field
        self.extra = () if condition is None else (condition,)
        self.bounds = None
        if between is not None:
            self.bounds = torch.minimum(*between), torch.maximum(*between)

    def __call__(self, t: Clock, x: State) -> Tensor:
        return check_output(self._value(t, x), x, "the field")

    def _value(self, t: Clock, x: State) -> Any:
        if self.bounds is not None:
            t = torch.clamp(t, *self.bounds)
        return self.field(time_like(t, x), x, *self.extra)

    def first(self, t: Clock, x: State) -> Tensor:
        """Evaluate at the door, where a failure is most often a misread t.

        Raises:
            TypeError: if the field takes other arguments or returns another type.
            ValueError: if it fails on the shapes that it is given or returns another shape.
        """
        if torch.compiler.is_compiling():
            return self(t, x)
        version = None if x.is_inference() else x._version
        shapes = f"t of shape {tuple(t.shape)} and x of shape {tuple(x.shape)}"
        try:
            value = self._value(t, x)
        except TypeError as error:
            if "positional argument" not in str(error):
                raise
            call = "field(t, x, condition)" if self.extra else "field(t, x)"
            raise TypeError(f"the field is called as {call}, but: {first_line(error)}") from error
        except (RuntimeError, IndexError) as error:
            # Subclasses, such as errors of our own or a GPU out of memory, speak for themselves.
            if type(error) not in (RuntimeError, IndexError):
                raise
            what = first_line(error)
            raise ValueError(f"the field failed with {shapes}: {what}. {ADVICE}") from error
        if version is not None and x._version != version:
            raise ValueError("the field wrote into x; it must leave its arguments as they are")
        if isinstance(value, Tensor) and value.shape != x.shape:
            raise ValueError(f"the field gave shape {tuple(value.shape)} for {shapes}. {ADVICE}")
        return check_output(value, x, "the field")

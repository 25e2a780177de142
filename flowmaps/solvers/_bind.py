"""The field as the solvers call it: condition bound, clocks rounded, outputs checked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import check_output, time_bounds, time_like
from flowmaps._probing import first_value
from flowmaps._transforms import carries_derivative, carries_tangent
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.errors import UnsupportedTransform

__all__ = ["BoundField", "Detached"]

Bounds = tuple[Tensor, Tensor]


class BoundField:
    """``b(clock, x)`` with the condition inside; checks shape, dtype and device of every value.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        condition: pytree or None.
        between: two clocks (batch,) and the states in whose dtype the field sees times. It is never
            asked outside them, where it may not exist: a step that ends at t = 1 would, by
            rounding, reach 1 + 2e-16, and float32 makes 0.10000000149 of 0.1.
        bounds: the first and the last time, as the field sees times, in place of ``between``.
        holds: tensors that need gradients and that the field is known to hold.

    A time that is moved to a bound keeps its own derivative.
    """

    def __init__(
        self,
        field: Field,
        condition: Condition,
        between: tuple[Clock, Clock, State] | None = None,
        bounds: Bounds | None = None,
        holds: Sequence[Tensor] = (),
    ):
        self.field = field
        self.condition = condition
        self.holds = tuple(holds)
        self.extra = () if condition is None else (condition,)
        self.bounds = bounds if between is None else time_bounds(*between)
        clocks = None if between is None or torch.compiler.is_compiling() else between[:2]
        self._differentiated = clocks is None or carries_derivative(clocks)

    @property
    def undetached(self) -> "BoundField":
        """This field; ``Detached`` has the same."""
        return self

    def __call__(self, t: Clock, x: State) -> Tensor:
        return self.at(self.inside(t, x), x)

    def _value(self, t: Clock, x: State) -> Any:
        return self.field(self.inside(t, x), x, *self.extra)

    def inside(self, t: Clock, x: State) -> Tensor:
        """Return clocks as the field sees them: rounded, and within the bounds."""
        if self.bounds is None or not self._differentiated:
            return self.moved(t, x)
        time = time_like(t, x)
        return time + (torch.clamp(time, *self.bounds) - time).detach()

    def moved(self, t: Clock, x: State) -> Tensor:
        """Return what ``inside`` returns, with the derivatives of the bounds."""
        time = time_like(t, x)
        return time if self.bounds is None else torch.clamp(time, *self.bounds)

    def at(self, time: Tensor, x: State) -> Tensor:
        """Evaluate at times as ``inside`` gives them."""
        return check_output(self.field(time, x, *self.extra), x, "the field")

    def first(self, t: Clock, x: State) -> Tensor:
        """Evaluate at the door, where a failure is most often a misread t; see ``first_value``."""
        if torch.compiler.is_compiling():
            return self(t, x)
        return first_value(self._value, t, x, bool(self.extra))

    def select(self, samples: Tensor | slice) -> "BoundField":
        """Return the field of these samples alone, given by their numbers or as a slice."""
        condition = pytree.tree_map(
            lambda leaf: None if leaf is None else leaf[samples], self.condition
        )
        bounds = self.bounds and (self.bounds[0][samples], self.bounds[1][samples])
        return BoundField(self.field, condition, bounds=bounds)


class Detached:
    """A bound field whose values have no derivatives, whatever the field holds.

    ``no_grad`` alone leaves forward mode on: tangents of what the field holds would reach the grid.

    Args:
        undetached: the field; what needs its derivatives asks this one.
        refuses_tangents: raise UnsupportedTransform for a value with a tangent, which nobody will
            follow, because the field's first value had none.
    """

    def __init__(self, undetached: BoundField, refuses_tangents: bool = False):
        self.undetached = undetached
        self._refuses_tangents = refuses_tangents

    def __call__(self, t: Clock, x: State) -> Tensor:
        field = self.undetached
        value = field.at(field.moved(t, x), x)
        if self._refuses_tangents and carries_tangent(value):
            raise UnsupportedTransform(
                "the field holds a tensor with a forward-mode tangent, on which its first value "
                "did not depend, so that the tangent would be lost; pass the tensor as condition=, "
                "or take torch.func.jvp for forward_ad.dual_level"
            )
        return value.detach()

    def select(self, samples: Tensor | slice) -> "Detached":
        """Return the field of these samples alone, given by their numbers."""
        return Detached(self.undetached.select(samples), self._refuses_tangents)

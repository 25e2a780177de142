"""An event's function as the solvers call it: condition bound, outputs checked, probed once."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from flowmaps._checks import first_line, shaped_like
from flowmaps._probing import probe_once
from flowmaps._transforms import is_transforming, is_vmapped
from flowmaps._typing import Clock, PerSample, State
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._event import Event

__all__ = ["BoundEvent", "check_events"]


class BoundEvent:
    """``g(clock, x)`` with the condition inside, (batch,) in float64.

    Args:
        event: what to look out for.
        field: the bound field, whose condition it shares and as which it sees times.
        rebuild: turns a raveled state into the user's own structure.
    """

    def __init__(self, event: Event, field: BoundField, rebuild: Callable[[Tensor], Any]):
        self.event, self.field, self.rebuild = event, field, rebuild

    def __call__(self, t: Clock, x: State) -> PerSample:
        return self.at(self.field.inside(t, x), x)

    def at(self, time: Tensor, x: State) -> PerSample:
        """Evaluate at times as the field sees them."""
        value = self.event.function(time, self.rebuild(x), *self.field.extra)
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(value, Tensor) or shape != (x.shape[0],):
            raise ValueError(
                f"an event's function must return one number for every sample, a tensor of shape "
                f"({x.shape[0]},), got {shape}"
            )
        if not value.dtype.is_floating_point:
            raise TypeError(
                f"an event's function must return real numbers, whose sign is compared, "
                f"got {value.dtype}"
            )
        return value.to(torch.float64)

    def value(self, t: Clock, x: State) -> PerSample:
        """Evaluate without derivatives, whatever the function holds."""
        return self.at(self.field.moved(t, x).detach(), x.detach()).detach()

    def rates(self, t: Clock, x: State, slope: State) -> tuple[Tensor, Tensor, Tensor]:
        """Return g, dg/dt along the flow and how far rounding of t and x moves g, detached.

        Args:
            t: clocks (batch,).
            x: states (batch, *event).
            slope: the field there.
        """
        time, x, slope = self.field.moved(t, x).detach(), x.detach(), slope.detach()
        value, by_time, by_state = self._pulled(time, x)
        rate = by_time + _sum(by_state * slope)
        unit = torch.finfo(x.dtype).eps
        noise = unit * ((by_time * time).abs() + _sum((by_state * x).abs()))
        return value.detach(), rate, noise

    def change(self, t: Clock, x: State, move: State) -> PerSample:
        """Return by how much g may change where every component of x moves by so much, detached."""
        time, x = self.field.moved(t, x).detach(), x.detach()
        return _sum((self._pulled(time, x)[2] * move.detach()).abs())

    def _pulled(self, time: Tensor, x: State) -> tuple[PerSample, Tensor, State]:
        """Return g and its derivatives in time and state, detached.

        By torch.func only where nothing else goes: inside a user's checkpoint it does not.
        """
        if is_transforming() or torch.is_inference_mode_enabled():
            value, pull = cast(Any, torch.func.vjp(self.at, time, x))
            parts = pull(torch.ones_like(value))
        else:
            with torch.enable_grad():
                inputs = time.detach().requires_grad_(), x.detach().requires_grad_()
                value = self.at(*inputs)
            parts = None, None
            if value.requires_grad:
                unit = torch.ones_like(value)
                parts = torch.autograd.grad(value, inputs, unit, allow_unused=True)
        by_time, by_state = (
            torch.zeros_like(a) if part is None else part.detach()
            for part, a in zip(parts, (time, x), strict=True)
        )
        return value.detach(), by_time.to(torch.float64), by_state

    def select(self, samples: Tensor) -> "BoundEvent":
        """Return the event of these samples alone, given by their numbers."""
        return BoundEvent(self.event, self.field.select(samples), self.rebuild)


def check_events(
    events: tuple[Event, ...],
    field: BoundField,
    rebuild: Callable[[Tensor], Any],
    s: Clock,
    t: Clock,
    x: State,
    check: bool,
) -> None:
    """Call every event's function once and, if asked for, probe it as a field is.

    Raises:
        TypeError: if a function takes other arguments or returns no real numbers.
        ValueError: if it fails on the shapes that it is given, returns another shape or does not
            treat every sample alone; on the meta device.
        UnsupportedTransform: under vmap.
    """
    if x.is_meta:
        raise ValueError("events depend on values, which the meta device has none of")
    for one in (BoundEvent(event, field, rebuild) for event in events):
        value = _first(one, s, x)
        if any(map(is_vmapped, (s, t, x, value))):
            raise UnsupportedTransform(
                "events depend on the data and are not found under vmap; put the mapped axis into "
                "the batch, every sample of which has its own events"
            )
        if check:
            _probe(one, s, t, x)


def _first(event: BoundEvent, s: Clock, x: State) -> Tensor:
    """Call a function for the first time, errors put in the terms of the call."""
    try:
        return event(s, x)
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        call = "g(t, x, condition)" if event.field.extra else "g(t, x)"
        raise TypeError(
            f"an event's function is called as {call}, but: {first_line(error)}"
        ) from error
    except (RuntimeError, IndexError) as error:
        if type(error) not in (RuntimeError, IndexError):
            raise
        raise ValueError(
            f"an event's function failed with t of shape {tuple(s.shape)} and x of shape "
            f"{tuple(x.shape)}: {first_line(error)}"
        ) from error


def _probe(event: BoundEvent, s: Clock, t: Clock, x: State) -> None:
    """Probe g as if it were the field that moves every component by g."""

    def field(time: Tensor, x: Tensor, *condition: Any) -> Tensor:
        bound = BoundField(event.field.field, condition[0] if condition else None)
        value = BoundEvent(event.event, bound, event.rebuild).at(time, x)
        return shaped_like(value.to(x.dtype), x).expand_as(x)

    condition = event.field.condition
    try:
        probe_once(field, s, t, x, condition, origin=event.event.function, elsewhere=False)
    except ValueError as error:
        raise ValueError(str(error).replace("the field", "an event's function")) from error


def _sum(value: Tensor) -> PerSample:
    return value.to(torch.float64).reshape(value.shape[0], value.shape[1:].numel()).sum(1)

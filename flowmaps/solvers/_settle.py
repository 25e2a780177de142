"""Event times and states settled on the solution itself, with their derivatives."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._bound_event import BoundEvent
from flowmaps.solvers._method import Stepper

__all__ = ["Settled", "settle", "settle_evaluations"]

_VALUE = 4
"""Corrections of values."""
_DERIVATIVES = 2
"""Corrections that carry derivatives: the order up to which these are given."""


class Settled(NamedTuple):
    """Where events occur: the time from the start of the step and the state."""

    length: Clock
    x: State


def settle(
    method: Stepper,
    event: BoundEvent,
    field: Field,
    now: Clock,
    x: State,
    first: State,
    length: Clock,
    h: Clock,
    derivatives: bool,
) -> Settled:
    """Return where g is zero on the method's own step from (now, x), near a given length.

    With phi(length) = g at the end of a step of that length, Newton's corrections
    length - phi / (dg/dt) find the zero to the accuracy of the steps rather than of their
    interpolants. From there each of two more, in plain differentiable operations but for dg/dt,
    gives one order of derivative: the first by the implicit function theorem, dt* = -dphi /
    (dg/dt), and the second. Where dg/dt is zero, as where g only touches zero, a correction is left
    out, and the time has no derivative.

    Args:
        method: of the solve.
        event: of these samples.
        field: of these samples, with its derivatives.
        now: clocks at the starts of the steps, (n,).
        x: states there.
        first: the field there.
        length: times from there to the zeros on the interpolants, (n,).
        h: lengths of the steps.
        derivatives: whether to add the two corrections that carry derivatives.
    """
    with torch.no_grad():
        fixed = now.detach(), x.detach(), first.detach()
        length, rate = _zero(method, event, field, *fixed, length.detach(), h, derivatives)
    for _ in range(_DERIVATIVES if derivatives else 0):
        end = method.step(field, now, length, x, first).x
        length = length - _quotient(event(now + length, end), rate, h)
    return Settled(length, method.step(field, now, length, x, first).x)


def _zero(
    method: Stepper,
    event: BoundEvent,
    field: Field,
    now: Clock,
    x: State,
    first: State,
    length: Clock,
    h: Clock,
    derivatives: bool,
) -> tuple[Clock, Tensor]:
    """Return the corrected length, detached, and dg/dt there if it is asked for.

    The first slope is the flow's; the next ones are those of phi, where they look like it.
    """
    end = method.step(field, now, length, x, first).x
    value, rate, _ = event.rates(now + length, end, field(now + length, end))
    slope = rate
    for _ in range(_VALUE):
        moved = -_quotient(value, slope, h).detach()
        length = length + moved
        end = method.step(field, now, length, x, first).x
        before, value = value, event.value(now + length, end)
        secant = (value - before) / torch.where(moved == 0, 1.0, moved)
        alike = (secant / torch.where(rate == 0, 1.0, rate) - 1).abs() < 0.5
        slope = torch.where(alike & (moved != 0), secant, rate)
    if derivatives:
        _, rate, _ = event.rates(now + length, end, field(now + length, end))
    return length, rate


def _quotient(value: Tensor, rate: Tensor, h: Clock) -> Tensor:
    """Return value / rate; zero where that makes no sense inside a step of length h."""
    quotient = value / torch.where(rate == 0, 1.0, rate)
    sound = (rate != 0) & (quotient.detach().abs() <= h.abs())
    return torch.where(sound, quotient, 0.0)


def settle_evaluations(method: Stepper, x: State, derivatives: bool) -> int:
    """Count the field evaluations of ``settle``, the first value known."""
    step = method.evaluations(known_first=True) + method.linear_evaluations(x)
    cost = (1 + _VALUE) * step + 1 + step
    return cost + (1 + _DERIVATIVES * step if derivatives else 0)

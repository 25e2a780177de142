"""Event times and states settled on the solution itself, with their derivatives."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._bound_event import BoundEvent
from flowmaps.solvers._method import Stepper

__all__ = ["Settled", "settle", "settle_evaluations"]

_CORRECTIONS = 2


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
    length - phi / (dg/dt), the slope detached, find the zero to the accuracy of the steps rather
    than of their interpolants. From there each of two more, in plain differentiable operations,
    gives one order of derivative exactly: the first by the implicit function theorem, dt* = -dphi /
    (dg/dt), and the second. Where dg/dt is zero a correction is left out.

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
        start = now.detach(), x.detach(), first.detach()
        length = length.detach()
        for _ in range(_CORRECTIONS):
            length = length + _correction(method, event, field, *start, length, h)[0].detach()
        rate = _correction(method, event, field, *start, length, h)[1] if derivatives else None
    for _ in range(_CORRECTIONS if derivatives else 0):
        length = length + _correction(method, event, field, now, x, first, length, h, rate)[0]
    return Settled(length, method.step(field, now, length, x, first).x)


def _correction(
    method: Stepper,
    event: BoundEvent,
    field: Field,
    now: Clock,
    x: State,
    first: State,
    length: Clock,
    h: Clock,
    rate: Tensor | None = None,
) -> tuple[Clock, Tensor]:
    """Return Newton's correction of the length, and dg/dt at its end if it is not known."""
    end = method.step(field, now, length, x, first).x
    if rate is None:
        value, rate, _ = event.rates(now + length, end, field(now + length, end))
    else:
        value = event(now + length, end)
    step = value / torch.where(rate == 0, 1.0, rate)
    sound = (rate != 0) & (step.detach().abs() <= h.abs())
    return torch.where(sound, -step, 0.0), rate


def settle_evaluations(method: Stepper, x: State, derivatives: bool) -> int:
    """Count the field evaluations of ``settle``, the first value known."""
    step = method.evaluations(known_first=True) + method.linear_evaluations(x)
    cost = _CORRECTIONS * (step + 1) + step
    return cost + (step + 1 + _CORRECTIONS * step if derivatives else 0)

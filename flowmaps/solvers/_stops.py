"""Adaptive solves that stop at given times, such as jumps of the field: one search a stretch."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import time_bounds, time_like
from flowmaps._typing import Clock, Mask
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._drive import Driven, Start
from flowmaps.solvers._event import Found
from flowmaps.solvers._recorder import Recorded
from flowmaps.solvers._solution import SUCCESS, Statistics

__all__ = ["by_stretches", "in_stretches", "join"]


class Stretch(NamedTuple):
    """From one stop to the next: both clocks, and how it went."""

    begin: Clock
    end: Clock
    driven: Driven


def by_stretches(
    drive: Callable[[Start], Driven], start: Start, stops: tuple[float, ...]
) -> Driven:
    """Drive every sample from stop to stop; one that fails stays where it failed.

    Args:
        drive: solves one stretch.
        start: of the whole way.
        stops: times in ascending order; those outside a sample's span do not concern it.
    """

    def between(begin: Clock, end: Clock, x: Tensor) -> BoundField:
        return _between(start, begin, end, x, stops)

    return join(in_stretches(drive, start, _ends(start.s, start.t, stops), between), start)


def in_stretches(
    drive: Callable[[Start], Driven],
    start: Start,
    ends: list[Clock],
    between: Callable[[Clock, Clock, Tensor], BoundField],
) -> list[Stretch]:
    """Drive every sample from each of its ends, clocks (batch,), to the next; see ``by_stretches``.

    ``between`` returns the field for the way between two clocks.
    """
    stretches = []
    start = start._replace(t=ends[1], field=between(ends[0], ends[1], start.x))
    stuck, attempts = torch.zeros_like(start.s, dtype=torch.bool), None
    for k, end in enumerate(ends[1:]):
        if stretches:
            before = stretches[-1].driven
            begin, end = (torch.where(stuck, before.time, a) for a in (ends[k], end))
            field = between(begin, end, before.x)
            attempts = before.statistics.steps + (0 if attempts is None else attempts)
            start = Start(field, begin, end, before.x, field(begin, before.x), attempts)
        stretches.append(Stretch(start.s, end, drive(start)))
        stuck = stuck | (stretches[-1].driven.code != SUCCESS)
    return stretches


def _ends(s: Clock, t: Clock, stops: tuple[float, ...]) -> list[Clock]:
    """Return the ends of the stretches of every sample, in its own direction."""
    first, last = torch.minimum(s, t).detach(), torch.maximum(s, t).detach()
    forward = (t >= s).detach()
    inner = [torch.where(forward, a, b) for a, b in zip(stops, stops[::-1], strict=True)]
    ends = []
    for stop in inner:
        stop = stop.to(s)
        before = torch.where(forward, stop <= first, stop >= last)
        beyond = torch.where(forward, stop >= last, stop <= first)
        ends.append(torch.where(before, s, torch.where(beyond, t, stop)))
    return [s, *ends, t]


def _between(
    start: Start, begin: Clock, end: Clock, x: Tensor, stops: tuple[float, ...]
) -> BoundField:
    """Return the field asked between two times alone, never at a stop."""
    low, high = time_bounds(begin, end, x)
    moving = (begin != end).detach()
    low = torch.where(moving & _is_any(low, stops, x), low + _unit(low, torch.inf), low)
    high = torch.where(moving & _is_any(high, stops, x), high + _unit(high, -torch.inf), high)
    field = start.field
    return BoundField(field.field, field.condition, bounds=(low, high), holds=field.holds)


def _is_any(time: Tensor, stops: tuple[float, ...], x: Tensor) -> Mask:
    found = torch.zeros_like(time, dtype=torch.bool)
    for stop in stops:
        found = found | (time.detach() == time_like(torch.tensor(stop).to(time), x))
    return found


def _unit(time: Tensor, towards: float) -> Tensor:
    """Return the rounding unit that takes a time one step towards an infinity."""
    fixed = time.detach()
    return torch.nextafter(fixed, torch.full_like(fixed, towards)) - fixed


def join(stretches: list[Stretch], whole: Start) -> Driven:
    """Return the whole way: last states, first failures, sums of counts, all steps."""
    parts = [stretch.driven for stretch in stretches]
    code, time = parts[0].code, parts[0].time
    for part in parts[1:]:
        time = torch.where(code == SUCCESS, part.time, time)
        code = torch.where(code == SUCCESS, part.code, code)
    names = [field.name for field in fields(Statistics)]
    counts = {n: torch.stack([getattr(part.statistics, n) for part in parts]).sum(0) for n in names}
    recorded = None if parts[0].recorded is None else _recorded(stretches, whole)
    found = tuple(
        Found(*map(torch.cat, zip(*own, strict=True)))
        for own in zip(*(part.found for part in parts), strict=True)
    )
    outcome = dict(code=code, time=time, statistics=Statistics(**counts))
    return replace(parts[-1], recorded=recorded, found=found, **outcome)


def _recorded(stretches: list[Stretch], whole: Start) -> Recorded:
    """Return the steps of all stretches, their nodes as fractions of the whole span."""
    span = whole.t - whole.s
    still = span == 0
    fractions, states, slopes = [], [], []
    for k, (begin, end, driven) in enumerate(stretches):
        recorded = driven.recorded
        assert recorded is not None
        nodes = begin - whole.s + recorded.fractions * (end - begin)
        nodes = nodes / torch.where(still, 1.0, span)
        nodes = torch.where(still, 1.0 if k else recorded.fractions, nodes)
        fractions.append(nodes[1:] if k else nodes)
        states.append(recorded.states)
        slopes.append(recorded.slopes)
    # A stretch in which no sample moves has constants for interpolants.
    degree = max(part.shape[1] for part in slopes)
    slopes = [_raised(part, degree) for part in slopes]
    return Recorded(torch.cat(fractions), torch.cat(states), torch.cat(slopes))


def _raised(slopes: Tensor, degree: int) -> Tensor:
    """Return slopes (n_steps, own degree, batch, *event) with zeros up to a higher degree."""
    missing = degree - slopes.shape[1]
    return torch.cat([slopes, torch.zeros_like(slopes[:, :1]).repeat_interleave(missing, 1)], 1)

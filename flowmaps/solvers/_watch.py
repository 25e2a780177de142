"""The look-out for events during a march: which functions change sign in which steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Mask, PerSample, State
from flowmaps.solvers._bound_event import BoundEvent
from flowmaps.solvers._dense import horner, per_step
from flowmaps.solvers._event import Event
from flowmaps.solvers._march import March
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._recorder import Attempt, Recorder
from flowmaps.solvers._root import root
from flowmaps.solvers._solution import EVENT

__all__ = ["Crossings", "LookOut", "Seen", "Watch"]

_NOISE = 64
"""By so many rounding units may g at s differ from zero and count as zero."""


class Crossings(NamedTuple):
    """Changes of sign, each of one event and one sample in part of one step; all (n, ...)."""

    event: Tensor
    sample: Tensor
    step: Tensor
    """How many accepted steps of the sample came before."""
    elapsed: Clock
    """Time from s to the start of the step."""
    h: Clock
    x: State
    """The state at the start of the step."""
    first: State
    """The field there."""
    slopes: Tensor
    """Of the interpolant, (n, degree, *event)."""
    lower: Tensor
    upper: Tensor
    """The part, as fractions of the step."""
    low: Tensor
    high: Tensor
    """What tells the signs of g at its ends."""
    leaving: Mask
    """Whether g is zero where the part starts, which is not the zero that is looked for."""

    def take(self, rows: Tensor) -> "Crossings":
        """Return the crossings of these numbers."""
        return Crossings(*(part[rows] for part in self))

    def locate(self, events: list[BoundEvent], s: Tensor) -> Clock:
        """Return the times from the starts of the steps to the zeros on the interpolants.

        Args:
            events: bound to the whole batch.
            s: clocks at its start, (batch,).
        """
        length = torch.zeros_like(self.h)
        for k, event in enumerate(events):
            rows = (self.event == k).nonzero()[:, 0]
            if len(rows):
                own = self.take(rows)
                now = s[own.sample] + own.elapsed
                theta = _zero(event.select(own.sample), now, own)
                length = length.index_copy(0, rows, theta * own.h)
        return length


def _zero(event: BoundEvent, now: Clock, crossings: Crossings) -> Tensor:
    """Return the fractions of the steps at which one event's function is zero."""
    slopes, h, x = crossings.slopes.movedim(1, 0), crossings.h, crossings.x

    def value(theta: Tensor) -> Tensor:
        g = event.value(now + theta * h, inside(x, h, slopes, theta))
        # A zero at the start of the part is divided out.
        since = theta - crossings.lower
        return torch.where(crossings.leaving, g / torch.where(since == 0, 1.0, since), g)

    return root(value, crossings.lower, crossings.upper, crossings.low, crossings.high)


class Seen:
    """What is known of every event's function from one look to the next, also across marches."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        """What g was at the last look, or what tells its sign behind a zero there."""
        self.leaving: list[Mask] = []
        """Which samples were at a zero then: at s up to rounding, later exactly."""
        self.noise: list[Tensor] = []
        """What may be rounding at s, until it is left."""


class LookOut(NamedTuple):
    """What one solve looks out for, from stop to stop."""

    events: tuple[Event, ...]
    rebuild: Callable[[Tensor], Any]
    seen: Seen


class Watch(Recorder):
    """Compares the signs of every event's function before and after each accepted step.

    A sample with a terminal event stops there, at first behind it.

    Args:
        events: bound to the whole batch.
        seen: what is known of them; nothing before the first march of a solve.
        problem: what is solved, of the whole batch.
        x: states at the start.
        first: the field there.
    """

    keeps_slopes = True

    def __init__(
        self,
        events: list[BoundEvent],
        seen: Seen,
        problem: Problem,
        x: State,
        first: State,
    ):
        self.events, self.selected, self.samples = events, events, None
        self.seen = seen
        self.nothing = _nothing(problem.s, x, first)
        self.crossings: list[Crossings] = []
        """What was found, in the order of each sample's way."""
        for event in events if not seen.values else ():
            value, zero, noise = _start(event, problem, x, first)
            seen.values.append(value)
            seen.leaving.append(zero)
            seen.noise.append(noise)

    def add(self, problem: Problem, attempt: Attempt) -> March:
        """Look at an attempt; samples with a terminal event in it have ended."""
        samples, after = attempt.samples, attempt.after
        if samples is not None and samples is not self.samples:
            self.samples, self.selected = samples, [e.select(samples) for e in self.events]
        ended = torch.zeros_like(attempt.accept)
        for k, event in enumerate(self.selected):
            checks = event.event.checks
            for part in range(checks):
                here = part / checks, (part + 1) / checks
                value = self._value(event, problem, attempt, here[1])
                crossed = self._crossed(k, event, problem, attempt, value, here)
                ended = ended | crossed if event.event.terminal else ended
        code = torch.where(ended, EVENT, after.code)
        return after._replace(code=code)

    def _value(self, event: BoundEvent, problem: Problem, attempt: Attempt, theta: float) -> Tensor:
        """Return g at a fraction of the step, at its end on the solution itself."""
        before, after = attempt.before, attempt.after
        if theta == 1:
            return event.value(problem.s + after.elapsed, after.x)
        h = after.elapsed - before.elapsed
        x = inside(before.x, h, _slopes(attempt), torch.full_like(h, theta))
        return event.value(problem.s + before.elapsed + theta * h, x)

    def _crossed(
        self,
        k: int,
        event: BoundEvent,
        problem: Problem,
        attempt: Attempt,
        value: Tensor,
        part: tuple[float, float],
    ) -> Mask:
        """Tell in which samples event k changed sign in a part of the step; keep these."""
        samples, seen = attempt.samples, self.seen
        known = seen.values[k], seen.leaving[k], seen.noise[k]
        earlier, at_zero, noise = (a if samples is None else a[samples] for a in known)
        # A first step may be too short to pass a zero that lies ahead by rounding.
        before = at_zero & (value * earlier <= 0) & (value.abs() < noise)
        looked = attempt.accept & ~torch.isnan(value) & ~before
        changed = ((earlier < 0) & (value >= 0)) | ((earlier > 0) & (value <= 0))
        crossed = looked & changed & (event.event.direction * earlier <= 0)
        zero = looked & (value == 0)
        latest = torch.where(looked, value, earlier)
        if len(rows := (crossed | zero).nonzero()[:, 0]):
            self._keep(k, attempt, crossed, earlier, value, at_zero, part)
            rows = rows[zero[rows]]
            rise = _rise(event, problem, attempt, rows, part[1])
            latest = latest.index_copy(0, rows, rise)
        found = latest, torch.where(looked, zero, at_zero), torch.where(looked, 0.0, noise)
        if samples is not None:
            pairs = zip(known, found, strict=True)
            found = tuple(a.index_copy(0, samples, b) for a, b in pairs)
        seen.values[k], seen.leaving[k], seen.noise[k] = found
        return crossed

    def _keep(
        self,
        k: int,
        attempt: Attempt,
        crossed: Mask,
        earlier: Tensor,
        value: Tensor,
        at_zero: Mask,
        part: tuple[float, float],
    ) -> None:
        """Keep the changes of sign of event k in a part of the step."""
        rows, samples, before = crossed.nonzero()[:, 0], attempt.samples, attempt.before
        start = before.elapsed[rows]
        self.crossings.append(
            Crossings(
                event=torch.full_like(rows, k),
                sample=rows if samples is None else samples[rows],
                step=before.accepted[rows],
                elapsed=start,
                h=attempt.after.elapsed[rows] - start,
                x=before.x[rows],
                first=before.first[rows],
                slopes=_slopes(attempt).movedim(0, 1)[rows],
                lower=torch.full_like(start, part[0]),
                upper=torch.full_like(start, part[1]),
                low=earlier[rows],
                high=value[rows],
                leaving=at_zero[rows],
            )
        )

    def found(self) -> Crossings:
        """Return all changes of sign, those of a sample in the order of its way."""
        parts = self.crossings or [self.nothing]
        return Crossings(*map(torch.cat, zip(*parts, strict=True)))


def _nothing(s: Clock, x: State, first: State) -> Crossings:
    clock, number = torch.zeros_like(s[:0]), torch.zeros_like(s[:0], dtype=torch.long)
    nobody, x, first = torch.zeros_like(clock, dtype=torch.bool), x[:0], first[:0]
    where = number, number, number, clock, clock
    return Crossings(*where, x, first, x[:, None], clock, clock, clock, clock, nobody)


def _start(
    event: BoundEvent, problem: Problem, x: State, first: State
) -> tuple[PerSample, Mask, PerSample]:
    """Return what tells the sign of g behind the start, where g is zero there, and up to what.

    Zero is what the rounding of another solve may have left of it, that ended there. How large its
    states were is not known: the way ahead tells, if it is not too long, or else the tolerance.
    """
    value, rate, noise = event.rates(problem.s, x, first)
    rise = rate * problem.span
    unit = torch.finfo(x.dtype).eps
    tolerance = event.change(problem.s, x, problem.tolerance(x))
    noise = _NOISE * (noise + torch.minimum(unit * rise.abs(), tolerance))
    zero = value.abs() <= noise
    return torch.where(zero, rise, value), zero, noise


def _rise(
    event: BoundEvent, problem: Problem, attempt: Attempt, rows: Tensor, theta: float
) -> PerSample:
    """Return dg/dt times the step at a fraction of it, of some samples by their rows."""
    if not len(rows):
        return torch.zeros_like(attempt.after.elapsed[rows])
    before, slopes = attempt.before, _slopes(attempt)[:, rows]
    elapsed, x = before.elapsed[rows], before.x[rows]
    h, fraction = attempt.after.elapsed[rows] - elapsed, torch.full_like(elapsed, theta)
    descending = ((j + 1) * slopes[j] for j in reversed(range(len(slopes))))
    slope = horner(descending, per_step(fraction.to(x.dtype), x))
    now = problem.s[rows] + elapsed + fraction * h
    return event.select(rows).rates(now, inside(x, h, slopes, fraction), slope)[1] * h


def inside(x: State, h: Clock, slopes: Tensor, theta: Tensor) -> Tensor:
    """Return x + theta h sum_j theta^j slopes[j]."""
    descending = (slopes[j] for j in reversed(range(len(slopes))))
    fraction = per_step(theta.to(x.dtype), x)
    return x + per_sample(theta * h, x) * horner(descending, fraction)


def _slopes(attempt: Attempt) -> Tensor:
    assert attempt.slopes is not None
    return attempt.slopes

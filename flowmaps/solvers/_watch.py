"""The look-out for events during a march: which functions change sign in which steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Mask, State
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
    """Whether g is zero where the step starts, which is not the zero that is looked for."""

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
        # A zero at s is divided out.
        return torch.where(crossings.leaving, g / torch.where(theta == 0, 1.0, theta), g)

    return root(value, crossings.lower, crossings.upper, crossings.low, crossings.high)


class Seen:
    """What is known of every event's function from one look to the next, also across marches."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        """What g was at the last look, or what tells its sign behind a zero at s."""
        self.leaving: list[Mask] = []
        """Which samples have come no further than a zero at s."""


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
        s: clocks at the start.
        x: states there.
        first: the field there.
        span: length of time to march, with sign.
    """

    keeps_slopes = True

    def __init__(
        self,
        events: list[BoundEvent],
        seen: Seen,
        s: Clock,
        x: State,
        first: State,
        span: Clock,
    ):
        self.events, self.selected, self.samples = events, events, None
        self.seen = seen
        self.nothing = _nothing(s, x, first)
        self.crossings: list[Crossings] = []
        """What was found, in the order of each sample's way."""
        for event in events if not seen.values else ():
            value, rate, noise = event.rates(s, x, first)
            rise = rate * span
            unit = torch.finfo(x.dtype).eps
            zero = value.abs() <= _NOISE * (noise + unit * rise.abs())
            seen.values.append(torch.where(zero, rise, value))
            seen.leaving.append(zero)

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
                crossed = self._crossed(k, event, attempt, value, here)
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
        attempt: Attempt,
        value: Tensor,
        part: tuple[float, float],
    ) -> Mask:
        """Tell in which samples event k changed sign in a part of the step; keep these."""
        samples = attempt.samples
        known, leaving = self.seen.values[k], self.seen.leaving[k]
        earlier = known if samples is None else known[samples]
        at_zero = leaving if samples is None else leaving[samples]
        looked = attempt.accept & ~torch.isnan(value)
        changed = ((earlier < 0) & (value >= 0)) | ((earlier > 0) & (value <= 0))
        crossed = looked & changed & (event.event.direction * earlier <= 0)
        rows = crossed.nonzero()[:, 0]
        if len(rows):
            before = attempt.before
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
        latest, at_zero = torch.where(looked, value, earlier), at_zero & ~looked
        if samples is not None:
            latest = known.index_copy(0, samples, latest)
            at_zero = leaving.index_copy(0, samples, at_zero)
        self.seen.values[k], self.seen.leaving[k] = latest, at_zero
        return crossed

    def found(self) -> Crossings:
        """Return all changes of sign, those of a sample in the order of its way."""
        parts = self.crossings or [self.nothing]
        return Crossings(*map(torch.cat, zip(*parts, strict=True)))


def _nothing(s: Clock, x: State, first: State) -> Crossings:
    clock, number = torch.zeros_like(s[:0]), torch.zeros_like(s[:0], dtype=torch.long)
    nobody, x, first = torch.zeros_like(clock, dtype=torch.bool), x[:0], first[:0]
    where = number, number, number, clock, clock
    return Crossings(*where, x, first, x[:, None], clock, clock, clock, clock, nobody)


def inside(x: State, h: Clock, slopes: Tensor, theta: Tensor) -> Tensor:
    """Return x + theta h sum_j theta^j slopes[j]."""
    descending = (slopes[j] for j in reversed(range(len(slopes))))
    fraction = per_step(theta.to(x.dtype), x)
    return x + per_sample(theta * h, x) * horner(descending, fraction)


def _slopes(attempt: Attempt) -> Tensor:
    assert attempt.slopes is not None
    return attempt.slopes

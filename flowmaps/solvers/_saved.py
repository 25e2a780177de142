"""States at given times, evaluated as a march passes them: nothing else of it is kept."""

from collections.abc import Iterable

import torch
from torch import Tensor

from flowmaps.solvers._dense import horner, in_step
from flowmaps.solvers._march import March
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._recorder import Attempt, Recorder

__all__ = ["Saved"]

_ATTEMPTS = 16
"""Attempts between two looks at which times were passed."""
_NUMBERS = 2**24
"""Fewer where they would hold more numbers than this."""


class Saved(Recorder):
    """The states at the times of every sample.

    For solves without derivatives, outside ``torch.func``. Values are those of dense output.

    Args:
        problem: of the whole batch.
        rows: clocks (n_times, batch) inside each sample's span, in any order.
        x: states at s, (batch, *event).
    """

    keeps_slopes = True

    def __init__(self, problem: Problem, rows: Tensor, x: Tensor):
        self.span, self.since = problem.span, rows - problem.s
        self.fractions = self.since / torch.where(self.span == 0, 1.0, self.span)
        located, self.order = self.fractions.clamp(0.0, 1.0).mT.sort(dim=1)
        self.located = located.contiguous()
        self.values = x.new_full((len(rows), *x.shape), torch.nan)
        self.attempts: list[Attempt] = []

    def add(self, problem: Problem, attempt: Attempt) -> March:
        """Keep an attempt until the times that were passed are looked at."""
        if self.attempts and self.attempts[-1].samples is not attempt.samples:
            self._pass()
        self.attempts.append(attempt)
        assert attempt.slopes is not None
        if len(self.attempts) >= min(_ATTEMPTS, _NUMBERS / (1 + attempt.slopes.numel())):
            self._pass()
        return attempt.after

    def finish(self, end: March) -> Tensor:
        """Return the states (n_times, batch, *event), NaN beyond where a sample stopped.

        Args:
            end: where all samples stand.
        """
        if self.attempts:
            self._pass()
        span = self.span
        last = torch.where(span == 0, 1.0, end.elapsed / torch.where(span == 0, 1.0, span))
        still = (span == 0)[:, None]
        sample, place = ((self.located == last[:, None]) | still).nonzero().unbind(1)
        left = torch.where(span == 0, 0.0, last)[sample]
        slopes = [end.first[sample]]
        self._put(self.order[sample, place], sample, left, left, end.x[sample], slopes)
        return self.values

    def _pass(self) -> None:
        """Evaluate at the times that the kept attempts went past, found by where their steps end.

        A step that was rejected ends where it starts, so that no time is inside.
        """
        attempts, self.attempts = self.attempts, []
        samples, count, size = attempts[0].samples, len(attempts), len(attempts[0].accept)
        span, located, order = self.span, self.located, self.order
        if samples is not None:
            span, located, order = span[samples], located[samples], order[samples]
        elapsed = [attempt.before.elapsed for attempt in attempts]
        nodes = (torch.stack([*elapsed, attempts[-1].after.elapsed]) / span).mT.contiguous()
        before = torch.searchsorted(located, nodes)  # times before each node, (samples, nodes)
        passed = before.diff(dim=1).flatten()
        pair = torch.arange(len(passed), device=passed.device).repeat_interleave(passed)
        if not len(pair):
            return
        column, step = pair // count, pair % count
        first = passed.cumsum(0) - passed - before[:, :-1].flatten()
        row = order[column, torch.arange(len(pair), device=pair.device) - first[pair]]
        place = step * size + column

        def picked(parts: list[Tensor]) -> Tensor:
            return torch.cat(parts).index_select(0, place)

        start = picked([attempt.before.x for attempt in attempts])
        slopes = [_slopes(attempt) for attempt in attempts]
        descending = (picked([own[j] for own in slopes]) for j in reversed(range(len(slopes[0]))))
        sample = column if samples is None else samples[column]
        self._put(row, sample, nodes[column, step], nodes[column, step + 1], start, descending)

    def _put(
        self,
        row: Tensor,
        sample: Tensor,
        left: Tensor,
        right: Tensor,
        start: Tensor,
        slopes: Iterable[Tensor],
    ) -> None:
        """Evaluate one step for each pair of a row and a sample; ``horner`` says which slopes."""
        fractions, since = self.fractions[row, sample], self.since[row, sample]
        theta, offset = in_step(fractions, since, self.span[sample], left, right, start)
        value = start + offset * horner(slopes, theta)
        place = row * self.values.shape[1] + sample
        self.values.flatten(0, 1).index_copy_(0, place, value)


def _slopes(attempt: Attempt) -> Tensor:
    assert attempt.slopes is not None
    return attempt.slopes

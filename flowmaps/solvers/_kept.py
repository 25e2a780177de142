"""The interpolants of a march, kept as it goes, so that dense output costs no second solve."""

import torch
from torch import Tensor

from flowmaps.solvers._march import March
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._recorder import Attempt, Recorded, Recorder

__all__ = ["Kept"]


class Kept(Recorder):
    """Keeps every attempt and puts the accepted ones in order at the end.

    For solves without derivatives, outside ``torch.func``.
    """

    keeps_slopes = True

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def add(self, problem: Problem, attempt: Attempt) -> March:
        """Keep an attempt."""
        self.attempts.append(attempt)
        return attempt.after

    def finish(self, problem: Problem, end: March) -> Recorded:
        """Return the accepted steps of every sample and let go of the attempts.

        Behind the last one stand steps of length zero, at least one, that rest at the end state
        with the field there as their slope.

        Args:
            problem: of the whole batch.
            end: where all samples stand.
        """
        batch, event = len(end.accepted), end.x.shape[1:]
        most = 1 + (int(end.accepted.max()) if batch else 0)
        degree = len(_slopes(self.attempts[0])) if self.attempts else 1
        elapsed = end.elapsed.repeat(most)
        states = end.x.repeat(most, *([1] * len(event)))
        slopes = end.x.new_zeros(most, degree, batch, *event)
        slopes[:, 0] = end.first
        slopes = slopes.flatten(0, 2)
        while self.attempts:
            attempt = self.attempts.pop()
            rows = attempt.accept.nonzero()[:, 0]
            samples = rows if attempt.samples is None else attempt.samples[rows]
            steps = attempt.before.accepted[rows]
            place = steps * batch + samples
            elapsed.index_copy_(0, place, attempt.after.elapsed[rows])
            states.index_copy_(0, place, attempt.before.x.index_select(0, rows))
            for j, slope in enumerate(_slopes(attempt)):
                place = (steps * degree + j) * batch + samples
                slopes.index_copy_(0, place, slope.index_select(0, rows))
        still = problem.span == 0
        nodes = elapsed.reshape(most, batch) / torch.where(still, 1.0, problem.span)
        fractions = torch.cat([torch.zeros_like(nodes[:1]), torch.where(still, 1.0, nodes)])
        states = states.reshape(most, batch, *event)
        return Recorded(fractions, states, slopes.reshape(most, degree, batch, *event))


def _slopes(attempt: Attempt) -> Tensor:
    assert attempt.slopes is not None
    return attempt.slopes

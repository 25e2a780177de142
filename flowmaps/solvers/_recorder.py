"""What is kept of a march as it goes: its nodes, its interpolants, its states at given times."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._transforms import peek
from flowmaps._typing import Mask
from flowmaps.solvers._march import March
from flowmaps.solvers._problem import Problem

__all__ = ["Attempt", "Nodes", "Recorded", "Recorder"]


class Recorded(NamedTuple):
    """What dense output is made of: nodes (n_steps + 1, batch), see ``Followed`` for the rest."""

    fractions: Tensor
    states: Tensor
    slopes: Tensor


class Attempt(NamedTuple):
    """One attempted step of some samples, given by their numbers, or of all."""

    samples: Tensor | None
    before: March
    after: March
    accept: Mask
    slopes: Tensor | None
    """(degree, batch, *event), if asked for."""


class Recorder(ABC):
    """Sees every attempt of a march."""

    keeps_slopes: bool = False
    """Whether the attempts are to come with their interpolants."""

    @abstractmethod
    def add(self, problem: Problem, attempt: Attempt) -> March:
        """See an attempt; ``problem`` is that of its samples. Return where they go on from."""


class Nodes(Recorder):
    """The nodes that the samples of a batch reach, attempt by attempt.

    Args:
        problem: of the whole batch.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.elapsed = [torch.zeros_like(problem.s)]
        self.accepted: list[Mask] = []

    def add(self, problem: Problem, attempt: Attempt) -> March:
        """Add the ends of the accepted steps."""
        samples, elapsed, accept = attempt.samples, attempt.after.elapsed, attempt.accept
        if samples is not None:
            elapsed = self.elapsed[-1].index_copy(0, samples, elapsed)
            accept = torch.zeros_like(self.accepted[-1]).index_copy(0, samples, accept)
        self.elapsed.append(elapsed)
        self.accepted.append(accept)
        return attempt.after

    def fractions(self) -> Tensor:
        """Return the accepted nodes of every sample as fractions of its span.

        The last is repeated as padding. A sample with s = t has one step of length zero, whose
        derivative is the field.
        """
        span, nodes, accepts = self.problem.span, self.elapsed, self.accepted
        if not accepts:
            accepts, nodes = [torch.zeros_like(span, dtype=torch.bool)], nodes * 2
        accepted = torch.stack(accepts)
        ends = torch.stack(nodes[1:])
        order = torch.argsort((~accepted).to(torch.int8), dim=0, stable=True)
        counts = peek(accepted.sum(0))
        known = counts.numel() and not counts.is_meta  # which has shapes and no values
        most = max(1, int(counts.max().item())) if known else 1
        kept, ends = accepted.gather(0, order)[:most], ends.gather(0, order)[:most]
        ends = torch.where(kept, ends, nodes[-1])
        still = span == 0
        fractions = torch.where(still, 1.0, ends / torch.where(still, 1.0, span))
        return torch.cat([torch.zeros_like(fractions[:1]), fractions])

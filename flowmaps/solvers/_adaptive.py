"""The search for an adaptive grid: a host loop over one pure step, every sample on its own clock.

The loop runs without derivatives, unless they are asked of the step sizes too. It gives the end
states and, when asked, the accepted nodes of every sample as fractions of its span, which
``follow`` then repeats with derivatives. Samples that are finished leave the batch once they are
half of it.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._transforms import is_vmapping, peek
from flowmaps._typing import Clock, Codes, Mask, State
from flowmaps.solvers._march import March, advance, begin
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._solution import RUNNING, SUCCESS, Statistics

__all__ = ["Advance", "Burst", "Searched", "search"]

_FEWEST = 64
"""Batches that are not larger stay whole: to compact them costs more than it spares."""
_ATTEMPTS = 8
"""Attempts between two looks at an accelerator, which to wait for costs more than an attempt."""

Advance = Callable[[Problem, March], tuple[March, Mask]]
"""``advance``, or what was compiled from it."""
Burst = Callable[[Problem, March, int], March]
"""Some attempts, on while more than so many samples run."""


class Searched(NamedTuple):
    """End of the search; ``fractions`` (n_steps + 1, batch) when recorded."""

    x: State
    time: Clock
    code: Codes
    statistics: Statistics
    fractions: Tensor | None


class Nodes:
    """The nodes that the samples of a batch reach, attempt by attempt."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.elapsed = [torch.zeros_like(problem.s)]
        self.accepted: list[Mask] = []

    def add(self, samples: Tensor | None, march: March, accept: Mask) -> None:
        """Add an attempt of these samples, given by their numbers, or of all."""
        elapsed = march.elapsed
        if samples is not None:
            elapsed = self.elapsed[-1].index_copy(0, samples, elapsed)
            accept = torch.zeros_like(self.accepted[-1]).index_copy(0, samples, accept)
        self.elapsed.append(elapsed)
        self.accepted.append(accept)

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
        most = max(1, int(counts.max().item())) if counts.numel() else 1
        kept, ends = accepted.gather(0, order)[:most], ends.gather(0, order)[:most]
        ends = torch.where(kept, ends, nodes[-1])
        still = span == 0
        fractions = torch.where(still, 1.0, ends / torch.where(still, 1.0, span))
        return torch.cat([torch.zeros_like(fractions[:1]), fractions])


def search(
    problem: Problem,
    x: State,
    first: State,
    record: bool,
    attempt: Advance = advance,
    burst: Burst | None = None,
    spent: Codes | None = None,
) -> Searched:
    """March every sample from s to t by error control.

    Args:
        problem: what to solve.
        x: states at s, (batch, *event).
        first: the field there.
        record: whether to keep the grid.
        attempt: ``advance`` or its compiled form.
        burst: many attempts at once, where none is to be recorded.
        spent: attempts that the samples have made before, towards their bound.
    """
    if not problem.differentiated:
        x, first = x.detach(), first.detach()
    with nullcontext() if problem.differentiated else torch.no_grad():
        nodes = Nodes(problem) if record else None
        start = begin(problem, x, first, spent)
        march = _march(problem, start, nodes, attempt, burst)
        fractions = None if nodes is None else nodes.fractions()
        time = torch.where(march.code == SUCCESS, problem.t, problem.s + march.elapsed)
    counts = _statistics(problem, march, start.attempts)
    return Searched(march.x, time, march.code, counts, fractions)


def _march(
    problem: Problem, whole: March, nodes: Nodes | None, attempt: Advance, burst: Burst | None
) -> March:
    """Attempt steps until no sample runs; of the whole batch first, then of what is left of it."""
    march, samples = whole, None
    compacts = not is_vmapping()
    attempts = 1 if march.x.device.type == "cpu" else _ATTEMPTS
    while left := _count(march.code == RUNNING):
        size = len(march.code)
        compacted = compacts and size > _FEWEST
        if compacted and 2 * left <= size:
            kept = (march.code == RUNNING).nonzero()[:, 0]
            whole = _put(whole, samples, march)
            samples = kept if samples is None else samples[kept]
            problem, march = problem.select(kept), March(*(part[kept] for part in march))
        if nodes is None and burst is not None:
            march = burst(problem, march, size // 2 if compacted else 0)
            continue
        for _ in range(attempts):
            march, accept = attempt(problem, march)
            if nodes is not None:
                nodes.add(samples, march, accept)
    return _put(whole, samples, march)


def _put(whole: March, samples: Tensor | None, march: March) -> March:
    """Return the whole batch with these samples, given by their numbers, as they stand now."""
    if samples is None:
        return march
    pairs = zip(whole, march, strict=True)
    return March(*(part.index_copy(0, samples, new) for part, new in pairs))


def _count(mask: Mask) -> int:
    """Count on the host, under vmap too (one synchronisation); meta tensors have no values."""
    mask = peek(mask)
    return 0 if mask.is_meta else int(mask.sum().item())


def _statistics(problem: Problem, march: March, spent: Codes) -> Statistics:
    cost = problem.method.evaluations(known_first=True) + (not problem.method.reuses_last)
    cost += problem.method.linear_evaluations(march.x)
    guess = 1 if problem.controller.first_step is None else 0
    attempts = march.attempts - spent
    return Statistics(
        steps=attempts,
        accepted=march.accepted,
        rejected=attempts - march.accepted,
        evaluations=1 + guess + cost * attempts,
    )

"""The search for an adaptive grid: a host loop over one pure step, every sample on its own clock.

The loop runs without derivatives, unless they are asked of the step sizes too. It gives the end
states; recorders see every attempt and keep what is asked for, such as the accepted nodes, which
``follow`` then repeats with derivatives. Samples that are finished leave the batch once they are
half of it.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._transforms import is_vmapping, peek
from flowmaps._typing import Clock, Codes, Mask, State
from flowmaps.solvers._march import March, advance, begin
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._recorder import Attempt, Recorder
from flowmaps.solvers._solution import RUNNING, SUCCESS, Statistics

__all__ = ["Advance", "Burst", "Searched", "search"]

_FEWEST = 64
"""Batches that are not larger stay whole: to compact them costs more than it spares."""
_ATTEMPTS = 8
"""Attempts between two looks at an accelerator, which to wait for costs more than an attempt."""

Advance = Callable[[Problem, March], tuple[March, Mask, Tensor | None]]
"""``advance``, with interpolants or without, or what was compiled from it."""
Burst = Callable[[Problem, March, int], March]
"""Some attempts, on while more than so many samples run."""


class Searched(NamedTuple):
    """End of the search."""

    x: State
    time: Clock
    code: Codes
    statistics: Statistics
    march: March


def search(
    problem: Problem,
    x: State,
    first: State,
    recorders: Sequence[Recorder] = (),
    attempt: Advance | None = None,
    burst: Burst | None = None,
    spent: Codes | None = None,
) -> Searched:
    """March every sample from s to t by error control.

    Args:
        problem: what to solve.
        x: states at s, (batch, *event).
        first: the field there.
        recorders: what sees every attempt; each goes on from where the one before it left off.
        attempt: ``advance`` or its compiled form, with interpolants if a recorder keeps them.
        burst: many attempts at once, where there are no recorders.
        spent: attempts that the samples have made before, towards their bound.
    """
    keep = any(recorder.keeps_slopes for recorder in recorders)
    attempt = partial(advance, keep=keep) if attempt is None else attempt
    if not problem.differentiated:
        x, first = x.detach(), first.detach()
    with nullcontext() if problem.differentiated else torch.no_grad():
        start = begin(problem, x, first, spent)
        march = _march(problem, start, recorders, attempt, burst)
        time = torch.where(march.code == SUCCESS, problem.t, problem.s + march.elapsed)
    counts = _statistics(problem, march, start.attempts, keep)
    return Searched(march.x, time, march.code, counts, march)


def _march(
    problem: Problem,
    whole: March,
    recorders: Sequence[Recorder],
    attempt: Advance,
    burst: Burst | None,
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
        if not recorders and burst is not None:
            march = burst(problem, march, size // 2 if compacted else 0)
            continue
        for _ in range(attempts):
            before = march
            march, accept, slopes = attempt(problem, before)
            for recorder in recorders:
                march = recorder.add(problem, Attempt(samples, before, march, accept, slopes))
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


def _statistics(problem: Problem, march: March, spent: Codes, keep: bool) -> Statistics:
    cost = problem.method.evaluations(known_first=True) + (not problem.method.reuses_last)
    cost += problem.method.dense_evaluations if keep else 0
    cost += problem.method.linear_evaluations(march.x)
    guess = 1 if problem.controller.first_step is None else 0
    attempts = march.attempts - spent
    return Statistics(
        steps=attempts,
        accepted=march.accepted,
        rejected=attempts - march.accepted,
        evaluations=1 + guess + cost * attempts,
    )

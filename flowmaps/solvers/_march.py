"""One attempted step of every sample under error control: a pure function of tensors.

No in-place writes, no host reads, no branches on data: it runs eagerly, under vmap and compiled.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import finite_samples, shaped_like
from flowmaps._typing import Clock, Codes, Mask, PerSample, State
from flowmaps.solvers._initial_step import initial_step
from flowmaps.solvers._method import Step
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._solution import RUNNING, Result
from flowmaps.solvers._step_lengths import limited, shared_first, within

__all__ = ["March", "Trial", "advance", "attempt", "begin", "settle"]


class March(NamedTuple):
    """Where every sample stands; all (batch,) but x and first.

    Time is kept as the time elapsed since s, which stays exact where s is large beside the steps.
    """

    elapsed: Clock
    x: State
    first: State
    """The field at the present time and x."""
    h: Clock
    previous: PerSample
    """Error ratio of the last accepted step."""
    earlier: PerSample
    """Error ratio of the accepted step before that."""
    rejected: Mask
    """Whether the last attempt was rejected."""
    code: Codes
    attempts: Codes
    accepted: Codes


def begin(problem: Problem, x: State, first: State, spent: Codes | None = None) -> March:
    """Return the start of every sample.

    Args:
        problem: what to solve.
        x: states at s, (batch, *event).
        first: the field there.
        spent: attempts that the samples have made before, towards their bound.
    """
    span = problem.span
    attempts = torch.zeros_like(span, dtype=torch.long) if spent is None else spent
    code = torch.where(attempts < problem.max_steps, RUNNING, int(Result.MAX_STEPS))
    code = torch.where(span == 0, int(Result.SUCCESS), code)
    finite = finite_samples(x) & finite_samples(first) & torch.isfinite(span)
    code = torch.where(finite, code, int(Result.NOT_FINITE))
    h = initial_step(problem, x, first)
    if problem.controller.shared:
        h = shared_first(problem, h, code == RUNNING)
    return March(  # no two parts share memory: a compiled loop carries each on its own
        elapsed=torch.zeros_like(span),
        x=x,
        first=first,
        h=h,
        previous=torch.ones_like(span),
        earlier=torch.ones_like(span),
        rejected=torch.zeros_like(finite),
        code=code,
        attempts=attempts,
        accepted=torch.zeros_like(code),
    )


class Trial(NamedTuple):
    """A step of length h, which ``last`` tells to end the span.

    ``final`` is the field at its end, ``elapsed`` the time then, ``ratio`` the error ratio, or
    infinity where anything is not finite.
    """

    h: Clock
    last: Mask
    step: Step
    final: State
    elapsed: Clock
    ratio: PerSample


def advance(
    problem: Problem, march: March, keep: bool = False
) -> tuple[March, Mask, Tensor | None]:
    """Attempt one step of every running sample; finished samples stay as they are.

    Returns:
        Where the samples stand then, which of them moved, and, if these are to be kept, the slopes
        of the step's interpolant, (degree, batch, *event).
    """
    return settle(problem, march, attempt(problem, march), keep)


def attempt(problem: Problem, march: March) -> Trial:
    """Take one step of every sample from where it stands, whatever its error."""
    running, remaining = march.code == RUNNING, problem.span - march.elapsed
    h, last = within(problem, remaining, march.h, march.attempts == 0, running)
    if not problem.differentiated:
        return _attempt(problem, march, h, last)
    # What is thrown away is tried without derivatives: zero times one that is not finite is NaN.
    with torch.no_grad():
        lost = torch.isinf(_attempt(problem, march, h, last).ratio)
    idle = lost | ~running
    found = _attempt(problem, march, torch.where(idle, 0.0, h), last & ~idle)
    return found._replace(h=h, ratio=torch.where(lost, torch.inf, found.ratio))


def _attempt(problem: Problem, march: March, h: Clock, last: Mask) -> Trial:
    step = problem.method.step(problem.field, problem.s + march.elapsed, h, march.x, march.first)
    elapsed = torch.where(last, problem.span, march.elapsed + h)
    final = problem.field(problem.s + elapsed, step.x) if step.last is None else step.last
    ratio = problem.error_ratio(step, march.x)
    known = finite_samples(step.x) & finite_samples(final) & (ratio == ratio)
    return Trial(h, last, step, final, elapsed, torch.where(known, ratio, torch.inf))


def settle(
    problem: Problem, march: March, trial: Trial, keep: bool = False
) -> tuple[March, Mask, Tensor | None]:
    """Accept or reject an attempt and choose the next step; see ``advance``."""
    h, last, step, final, elapsed, own = trial
    slopes = None
    if keep:
        now = problem.s + march.elapsed
        slopes = problem.method.slopes(problem.field, now, h, march.x, step, final)
    running = march.code == RUNNING
    ratio = _shared(problem, own, running) if problem.controller.shared else own
    accept = running & (ratio <= 1)

    h = _next_step(problem, march, h, ratio, accept)
    elapsed = torch.where(accept, elapsed, march.elapsed)
    attempts = march.attempts + running
    wide = shaped_like(accept, step.x)
    moved = March(
        elapsed,
        torch.where(wide, step.x, march.x),
        torch.where(wide, final, march.first),
        torch.where(running, h, march.h),
        torch.where(accept, ratio.clamp_min(1e-10), march.previous),
        torch.where(accept, march.previous, march.earlier),
        running & ~accept,
        _codes(problem, march.code, accept, last, h, elapsed, own, attempts),
        attempts,
        march.accepted + accept,
    )
    return moved, accept, slopes


def _shared(problem: Problem, ratio: PerSample, running: Mask) -> PerSample:
    """Return the root mean square of the ratios of running samples, for every sample."""
    square = torch.where(running, ratio.square(), 0.0).sum() / running.sum().clamp_min(1)
    return problem.root(square).expand_as(ratio)


def _next_step(problem: Problem, march: March, h: Clock, ratio: PerSample, accept: Mask) -> Clock:
    """Return the step to attempt next."""
    controller, order = problem.controller, problem.error_exponent
    grown = controller.factor(ratio, march.previous, march.earlier, order)
    grown = torch.where(march.rejected, grown.clamp_max(1.0), grown)
    h = h * torch.where(accept, grown, controller.factor_of_rejected(ratio, order))
    return limited(problem, h)


def _codes(
    problem: Problem,
    code: Codes,
    accept: Mask,
    last: Mask,
    h: Clock,
    elapsed: Clock,
    ratio: PerSample,
    attempts: Codes,
) -> Codes:
    """Return the codes after an attempt.

    ``h`` is the next step, ``ratio`` the sample's own error over its tolerance, infinite where the
    step is not finite; the rest is counted up to now. Steps that are short by themselves, such as a
    first one that was asked for, are no failure.
    """
    stuck = ~accept & (h.abs() < problem.smallest_step(elapsed))
    if problem.controller.shared:  # only those at fault; the others go on without them
        stuck = stuck & (ratio > 1)
    why = torch.where(ratio < torch.inf, int(Result.STEP_TOO_SMALL), int(Result.NOT_FINITE))
    after = torch.where(attempts >= problem.max_steps, int(Result.MAX_STEPS), RUNNING)
    after = torch.where(accept & last, int(Result.SUCCESS), torch.where(stuck, why, after))
    return torch.where(code == RUNNING, after, code)

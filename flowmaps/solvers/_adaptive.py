"""The search for an adaptive grid: a host loop over one pure step, every sample with its own time and step.

The loop runs without derivatives. It gives the end states and, when asked, the accepted nodes of every sample
as fractions of its span, which ``follow`` then repeats with derivatives.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._transforms import any_item, peek
from flowmaps._typing import Clock, Codes, Field, Mask, PerSample, State
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._solution import RUNNING, Result, Statistics

__all__ = ["Problem", "Searched", "search"]


@dataclass(frozen=True)
class Problem:
    """What the search needs to know beside the start: the field bound to its condition, ends, tolerances."""

    field: Field
    method: Stepper
    controller: Controller
    s: Clock
    t: Clock
    rtol: float
    atol: float
    max_steps: int


class March(NamedTuple):
    """Where every sample stands; all (batch,) but x and first."""

    time: Clock
    x: State
    first: State
    """The field at (time, x)."""
    h: Clock
    previous: PerSample
    """Error ratio of the last accepted step."""
    code: Codes
    attempts: Codes
    accepted: Codes


class Searched(NamedTuple):
    """End of the search; ``fractions`` (n_steps + 1, batch) when recorded."""

    x: State
    time: Clock
    code: Codes
    statistics: Statistics
    fractions: Tensor | None


def search(problem: Problem, x: State, first: State, record: bool) -> Searched:
    """March every sample from s to t by error control; ``first`` is the field at (s, x)."""
    with torch.no_grad():
        march = _start(problem, x.detach(), first.detach())
        times, accepts = [march.time], []
        while any_item(march.code == RUNNING):
            march, accept = _advance(problem, march)
            if record:
                times.append(march.time)
                accepts.append(accept)
        fractions = _fractions(problem, times, accepts) if record else None
    return Searched(march.x, march.time, march.code, _statistics(problem, march), fractions)


def _start(problem: Problem, x: State, first: State) -> March:
    s, t = problem.s, problem.t
    code = torch.where(s == t, int(Result.SUCCESS), RUNNING)
    code = torch.where(_finite(x) & _finite(first), code, int(Result.NOT_FINITE))
    zeros = torch.zeros_like(code)
    h = initial_step(problem, x, first)
    return March(s, x, first, h, torch.ones_like(s), code, zeros, zeros)


def _advance(problem: Problem, march: March) -> tuple[March, Mask]:
    """Attempt one step of every running sample; finished samples stay as they are."""
    running = march.code == RUNNING
    remaining = problem.t - march.time
    last = march.h.abs() >= remaining.abs() * (1 - 1e-12)
    h = torch.where(last, remaining, march.h) * running
    step = problem.method.step(problem.field, march.time, h, march.x, march.first)
    assert step.error is not None
    ratio = error_norm(step.error, march.x, step.x, problem)
    finite = torch.isfinite(ratio) & _finite(step.x)
    end = torch.where(last, problem.t, march.time + h)
    final = problem.field(end, step.x) if step.last is None else step.last
    finite = finite & _finite(final)
    accept = running & finite & (ratio <= 1)

    factor = problem.controller.factor(
        torch.where(finite, ratio, 1.0), march.previous, _error_exponent(problem.method)
    )
    factor = torch.where(finite, factor, problem.controller.shortest)
    factor = torch.where(accept, factor, factor.clamp_max(0.9))
    attempts = march.attempts + running
    code = _codes(problem, march, accept & last, running & ~accept, h * factor, finite, attempts)
    x, first = (torch.where(_wide(accept, a), a, b) for a, b in ((step.x, march.x), (final, march.first)))
    moved = March(
        torch.where(accept, end, march.time),
        x,
        first,
        torch.where(running, h * factor, march.h),
        torch.where(accept, ratio, march.previous),
        code,
        attempts,
        march.accepted + accept,
    )
    return moved, accept


def _codes(
    problem: Problem,
    march: March,
    done: Mask,
    rejected: Mask,
    h: Clock,
    finite: Mask,
    attempts: Codes,
) -> Codes:
    """Return the codes after an attempt."""
    scale = torch.maximum(march.time.abs(), torch.maximum(problem.s.abs(), problem.t.abs()))
    stuck = rejected & (h.abs() < 16 * torch.finfo(torch.float64).eps * scale)
    why = torch.where(finite, int(Result.STEP_TOO_SMALL), int(Result.NOT_FINITE))
    code = torch.where(attempts >= problem.max_steps, int(Result.MAX_STEPS), march.code)
    code = torch.where(march.code == RUNNING, code, march.code)
    code = torch.where(stuck, why, code)
    return torch.where(done, int(Result.SUCCESS), code)


def initial_step(problem: Problem, x: State, first: State) -> Clock:
    """Guess the first step, with sign, (batch,).

    Source:
        Hairer, Norsett, Wanner (1993), Solving ODEs I, section II.4, "Starting step size".
    """
    span = problem.t - problem.s
    d0, d1 = error_norm(x, x, x, problem), error_norm(first, x, x, problem)
    h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
    h0 = torch.minimum(torch.nan_to_num(h0, nan=1e-6), span.abs())
    probe = x + per_sample(h0 * span.sign(), x) * first
    change = problem.field(problem.s + h0 * span.sign(), probe) - first
    d2 = error_norm(change, x, x, problem) / h0
    steepest = torch.maximum(d1, d2)
    h1 = torch.where(
        steepest <= 1e-15,
        torch.clamp(h0 * 1e-3, min=1e-6),
        (0.01 / steepest) ** (1 / _error_exponent(problem.method)),
    )
    h = torch.minimum(100 * h0, torch.nan_to_num(h1, nan=0.0, posinf=0.0))
    h = torch.where(h > 0, h, h0)
    return torch.minimum(h, span.abs()) * span.sign()


def error_norm(error: State, x: State, y: State, problem: Problem) -> PerSample:
    """Return the root mean square of error / (atol + rtol max(|x|, |y|)) over the event, float64, (batch,)."""
    scale = problem.atol + problem.rtol * torch.maximum(x.abs(), y.abs())
    ratio = (error / scale).to(torch.float64)
    return ratio.reshape(len(x), -1).square().mean(1).sqrt() if ratio.numel() else ratio.new_zeros(len(x))


def _error_exponent(method: Stepper) -> int:
    assert method.error_order is not None
    return method.error_order + 1


def _finite(x: State) -> Mask:
    return torch.isfinite(x).reshape(len(x), -1).all(1)


def _wide(mask: Mask, x: State) -> Tensor:
    return mask.reshape(-1, *([1] * (x.ndim - 1)))


def _fractions(problem: Problem, times: list[Tensor], accepts: list[Tensor]) -> Tensor:
    """Return the accepted nodes of every sample as fractions of its span, the last repeated as padding.

    A sample with s = t has one step of length zero, whose derivative is the field.
    """
    if not accepts:
        accepts, times = [torch.zeros_like(problem.s, dtype=torch.bool)], times * 2
    accepted = torch.stack(accepts)
    ends = torch.stack(times[1:])
    order = torch.argsort((~accepted).to(torch.int8), dim=0, stable=True)
    most = max(1, int(peek(accepted.sum(0)).max().item()))
    kept, ends = accepted.gather(0, order)[:most], ends.gather(0, order)[:most]
    ends = torch.where(kept, ends, times[-1])
    span = problem.t - problem.s
    fractions = torch.where(span == 0, 1.0, (ends - problem.s) / torch.where(span == 0, 1.0, span))
    return torch.cat([torch.zeros_like(fractions[:1]), fractions])


def _statistics(problem: Problem, march: March) -> Statistics:
    cost = problem.method.evaluations(known_first=True)
    if not problem.method.reuses_last:
        cost += 1
    return Statistics(
        steps=march.attempts,
        accepted=march.accepted,
        rejected=march.attempts - march.accepted,
        evaluations=2 + cost * march.attempts,
    )

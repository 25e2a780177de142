"""The search for an adaptive grid: a host loop over one pure step, every sample on its own clock.

The loop runs without derivatives. It gives the end states and, when asked, the accepted nodes of
every sample as fractions of its span, which ``follow`` then repeats with derivatives.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import finite_samples, shaped_like
from flowmaps._transforms import any_item, peek
from flowmaps._typing import Clock, Codes, Mask, PerSample, State
from flowmaps.solvers._initial_step import initial_step
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._solution import RUNNING, SUCCESS, Result, Statistics

__all__ = ["Searched", "search"]


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
    field = problem.field
    # no_grad alone leaves forward mode on: tangents of what the field holds would reach the grid.
    problem = replace(problem, field=lambda t, y: field(t, y).detach())
    with torch.no_grad():
        march = _start(problem, x.detach(), first.detach())
        nodes, accepts = [march.elapsed], []
        while any_item(march.code == RUNNING):
            march, accept = _advance(problem, march)
            if record:
                nodes.append(march.elapsed)
                accepts.append(accept)
        fractions = _fractions(problem, nodes, accepts) if record else None
        time = torch.where(march.code == SUCCESS, problem.t, problem.s + march.elapsed)
    return Searched(march.x, time, march.code, _statistics(problem, march), fractions)


def _start(problem: Problem, x: State, first: State) -> March:
    code = torch.where(problem.span == 0, int(Result.SUCCESS), RUNNING)
    finite = finite_samples(x) & finite_samples(first) & torch.isfinite(problem.span)
    code = torch.where(finite, code, int(Result.NOT_FINITE))
    nothing, none = torch.zeros_like(problem.span), torch.zeros_like(code)
    h = initial_step(problem, x, first)
    return March(nothing, x, first, h, torch.ones_like(h), code, none, none)


def _advance(problem: Problem, march: March) -> tuple[March, Mask]:
    """Attempt one step of every running sample; finished samples stay as they are."""
    running = march.code == RUNNING
    remaining = problem.span - march.elapsed
    last = march.h.abs() >= remaining.abs() * (1 - 1e-12)
    h = torch.where(running, torch.where(last, remaining, march.h), 0.0)
    step = problem.method.step(problem.field, problem.s + march.elapsed, h, march.x, march.first)
    elapsed = torch.where(last, problem.span, march.elapsed + h)
    final = problem.field(problem.s + elapsed, step.x) if step.last is None else step.last
    ratio = problem.error_ratio(step, march.x)
    finite = torch.isfinite(ratio) & finite_samples(step.x) & finite_samples(final)
    accept = running & finite & (ratio <= 1)

    h = h * _factor(problem, march, ratio, finite, accept)
    elapsed = torch.where(accept, elapsed, march.elapsed)
    attempts = march.attempts + running
    wide = shaped_like(accept, step.x)
    moved = March(
        elapsed,
        torch.where(wide, step.x, march.x),
        torch.where(wide, final, march.first),
        torch.where(running, h, march.h),
        torch.where(accept, ratio, march.previous),
        _codes(problem, march.code, accept & last, h, elapsed, finite, attempts),
        attempts,
        march.accepted + accept,
    )
    return moved, accept


def _factor(
    problem: Problem, march: March, ratio: PerSample, finite: Mask, accept: Mask
) -> PerSample:
    """Return by how much the next step is longer: never longer after a rejection."""
    controller = problem.controller
    factor = controller.factor(ratio, march.previous, problem.error_exponent)
    return torch.where(
        accept, factor, torch.where(finite, factor.clamp_max(0.9), controller.shortest)
    )


def _codes(
    problem: Problem,
    code: Codes,
    done: Mask,
    h: Clock,
    elapsed: Clock,
    finite: Mask,
    attempts: Codes,
) -> Codes:
    """Return the codes after an attempt; h is the next step, the rest is counted up to now."""
    stuck = h.abs() < problem.smallest_step(elapsed)
    why = torch.where(finite, int(Result.STEP_TOO_SMALL), int(Result.NOT_FINITE))
    after = torch.where(attempts >= problem.max_steps, int(Result.MAX_STEPS), RUNNING)
    after = torch.where(done, int(Result.SUCCESS), torch.where(stuck, why, after))
    return torch.where(code == RUNNING, after, code)


def _fractions(problem: Problem, nodes: list[Tensor], accepts: list[Tensor]) -> Tensor:
    """Return the accepted nodes of every sample as fractions of its span.

    The last is repeated as padding. A sample with s = t has one step of length zero, whose
    derivative is the field.
    """
    if not accepts:
        accepts, nodes = [torch.zeros_like(problem.span, dtype=torch.bool)], nodes * 2
    accepted = torch.stack(accepts)
    ends = torch.stack(nodes[1:])
    order = torch.argsort((~accepted).to(torch.int8), dim=0, stable=True)
    counts = peek(accepted.sum(0))
    most = max(1, int(counts.max().item())) if counts.numel() else 1
    kept, ends = accepted.gather(0, order)[:most], ends.gather(0, order)[:most]
    ends = torch.where(kept, ends, nodes[-1])
    still = problem.span == 0
    fractions = torch.where(still, 1.0, ends / torch.where(still, 1.0, problem.span))
    return torch.cat([torch.zeros_like(fractions[:1]), fractions])


def _statistics(problem: Problem, march: March) -> Statistics:
    cost = problem.method.evaluations(known_first=True) + (not problem.method.reuses_last)
    return Statistics(
        steps=march.attempts,
        accepted=march.accepted,
        rejected=march.attempts - march.accepted,
        evaluations=2 + cost * march.attempts,
    )

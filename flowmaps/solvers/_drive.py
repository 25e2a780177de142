"""The three ways through an interval: equal steps, a searched grid, a foreign solver."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import finite_samples, shaped_like
from flowmaps._transforms import (
    carries_derivative,
    carries_tangent,
    is_forward,
    is_plain,
    is_transforming,
)
from flowmaps._typing import Clock, Codes, State
from flowmaps.solvers._adaptive import search
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._by_length import takes_no_step
from flowmaps.solvers._compiled import Compilation, compiled_search
from flowmaps.solvers._error_control import ErrorControl
from flowmaps.solvers._event import Found
from flowmaps.solvers._follow import follow, replay_evaluations, uniform
from flowmaps.solvers._gradients import DiscreteGradient
from flowmaps.solvers._kept import Kept
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._recorder import Nodes, Recorded
from flowmaps.solvers._saved import Saved
from flowmaps.solvers._solution import NOT_FINITE, SUCCESS, Statistics
from flowmaps.solvers._torchdiffeq import TorchDiffEq

__all__ = [
    "Drive",
    "Driven",
    "Recorded",
    "Start",
    "by_backend",
    "by_fixed_steps",
    "by_search",
]


class Start(NamedTuple):
    """Where a solve starts: the bound field, both clocks, the states and the field there.

    ``attempts`` are those that samples have made before, towards their bound.
    """

    field: BoundField
    s: Clock
    t: Clock
    x: State
    first: State
    attempts: Codes | None = None


@dataclass(frozen=True)
class Driven:
    """End states and times, codes and counts; steps, nodes and events if they were recorded.

    ``saved`` are states at asked times, (n_times, batch, *event), where no interpolant gives them.
    """

    x: State
    time: Clock
    code: Codes
    statistics: Statistics
    recorded: Recorded | None = None
    saved: Tensor | None = None
    nodes: Tensor | None = None
    found: tuple[Found, ...] = ()


Drive = Callable[[bool, DiscreteGradient, Start], Driven]
"""Solves one way: whether to record it, how to differentiate it, where to start."""


def by_fixed_steps(
    method: Stepper, steps: int, record: bool, gradient: DiscreteGradient, start: Start
) -> Driven:
    """Take equal steps over each sample's own span; no host read."""
    fractions = uniform(steps, start.s)
    x, recorded = _follow(method, start, fractions, record, gradient.checkpoint, uneven=False)
    counts = _counts(start.s, steps, 1 + replay_evaluations(method, steps, record, x))
    return Driven(x, start.t.detach(), _finite_code(x), counts, recorded, nodes=fractions)


def by_search(
    control: ErrorControl,
    compiled: Compilation | None,
    record: bool,
    gradient: DiscreteGradient,
    start: Start,
    save_at: Tensor | None = None,
    keep_nodes: bool = False,
) -> Driven:
    """Search the grid without derivatives; follow it again for these.

    If derivatives pass through the step sizes, it is searched with them. Interpolants are kept as
    they are found; where ``save_at`` (n_times, batch) is all that they are for, the states at these
    times instead.
    """
    # The condition, and what the field holds, stand beside its first value, which may ignore them.
    sources = (start.s, start.t, start.x, start.first, start.field.extra, start.field.holds)
    carries = carries_derivative if torch.is_grad_enabled() else carries_tangent
    carried = carries(sources)
    through = gradient.step_sizes and carried
    if through:
        field, clocks = start.field, (start.s, start.t)
    else:
        hidden = is_forward() and not carried  # a tangent that only later values will show
        field, clocks = Detached(start.field, hidden), (start.s.detach(), start.t.detach())
    problem = control.problem(field, *clocks, differentiated=through)
    follows = (carried and not through) or (
        record and (through or is_transforming() or start.x.is_meta)
    )
    keeps = record and not follows
    nodes = Nodes(problem) if follows or keep_nodes else None
    kept, saved = _keepers(problem, start.x, save_at) if keeps else (None, None)
    recorders = [recorder for recorder in (nodes, kept, saved) if recorder is not None]
    fast: dict[str, Any] = {}
    if compiled is not None and is_plain() and not through:
        fast["attempt"], fast["burst"] = compiled_search(problem, compiled, keep=keeps)
    spent = start.attempts
    found = search(problem, start.x, start.first, recorders, spent=spent, **fast)
    if through:  # no step was taken where the span is zero
        still = start.s == start.t
        h = torch.where(still, start.t - start.s, 0.0)  # of derivatives alone
        step = control.method.step(start.field, start.s, h, start.x, start.first)
        found = found._replace(x=torch.where(shaped_like(still, start.x), step.x, found.x))
    fractions = None if nodes is None else nodes.fractions()
    grid = None if fractions is None else fractions.detach()
    driven = Driven(found.x, found.time.detach(), found.code, found.statistics, nodes=grid)
    if kept is not None:
        return replace(driven, recorded=kept.finish(problem, found.march))
    if saved is not None:
        return replace(driven, saved=saved.finish(found.march))
    if not follows or fractions is None:
        return driven
    method = control.method
    x, recorded = _follow(method, start, fractions, record, gradient.checkpoint)
    accepted, still = found.statistics.accepted, start.s == start.t
    again = replay_evaluations(method, accepted.clamp_min(1), record, x)
    none = (accepted == 0) & (takes_no_step(start.s, start.t, start.first, record) | ~still)
    again = torch.where(none, 0, again)
    counts = replace(found.statistics, evaluations=found.statistics.evaluations + again)
    return replace(driven, x=x, statistics=counts, recorded=recorded)


def _keepers(
    problem: Problem, x: State, save_at: Tensor | None
) -> tuple[Kept | None, Saved | None]:
    """Return what keeps all interpolants, or else the states at given times alone."""
    return (Kept(), None) if save_at is None else (None, Saved(problem, save_at, x.detach()))


def by_backend(
    method: TorchDiffEq, start: Start, rtol: Tensor, atol: Tensor, max_steps: int
) -> Driven:
    """Let torchdiffeq integrate; its own failures become one code for the whole batch."""
    y, calls, failure = method.integrate(*start[:5], rtol, atol, max_steps)
    if failure is not None:
        code = torch.full_like(start.s, int(failure), dtype=torch.long)
        return Driven(start.x, start.s.detach(), code, _counts(start.s, 0, 1 + calls))
    return Driven(y, start.t.detach(), _finite_code(y), _counts(start.s, 0, 1 + calls))


def _follow(
    method: Stepper,
    start: Start,
    fractions: Tensor,
    record: bool,
    sparing: bool,
    uneven: bool = True,
) -> tuple[State, Recorded | None]:
    field, s, t, x, first, _ = start
    followed = follow(method, field, fractions, s, t, x, first, record, sparing, uneven)
    if followed.states is None or followed.slopes is None:
        return followed.x, None
    return followed.x, Recorded(fractions, followed.states, followed.slopes)


def _finite_code(x: State) -> Codes:
    return torch.where(finite_samples(x.detach()), SUCCESS, NOT_FINITE)


def _counts(clock: Clock, steps: int, evaluations: int) -> Statistics:
    filled = torch.full_like(clock, steps, dtype=torch.long)
    cost = torch.full_like(clock, evaluations, dtype=torch.long)
    return Statistics(filled, filled, torch.zeros_like(filled), cost)

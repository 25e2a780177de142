"""Solves that look out for events: a search that ends where one is terminal, then settled."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowmaps._transforms import carries_derivative, carries_tangent, is_transforming
from flowmaps._typing import Clock, State
from flowmaps.solvers._adaptive import search
from flowmaps.solvers._bind import Detached
from flowmaps.solvers._bound_event import BoundEvent
from flowmaps.solvers._compiled import Compilation, compiled_search
from flowmaps.solvers._controllers import PI
from flowmaps.solvers._cut import Ending, cut, shortened
from flowmaps.solvers._drive import Driven, Start
from flowmaps.solvers._equal_steps import equal_step
from flowmaps.solvers._error_control import ErrorControl
from flowmaps.solvers._event import Event, Found
from flowmaps.solvers._follow import follow, replay_evaluations
from flowmaps.solvers._gradients import DiscreteGradient
from flowmaps.solvers._kept import Kept
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._recorder import Nodes, Recorded
from flowmaps.solvers._settle import settle, settle_evaluations
from flowmaps.solvers._watch import Crossings, LookOut, Watch

__all__ = ["by_events"]


class Places(NamedTuple):
    """Where the steps with events start, (n,) but for the states; with derivatives if carried."""

    now: Clock
    x: State
    first: State


def by_events(
    control: ErrorControl,
    compiled: Compilation | None,
    record: bool,
    gradient: DiscreteGradient,
    start: Start,
    look_out: LookOut,
    steps: int | None = None,
) -> Driven:
    """Search as ``by_search`` does, or take equal steps, and look at the events in every step.

    Where derivatives are carried the steps before an event are followed again, and that with the
    event itself is taken as often as the derivatives need; see ``settle``.
    """
    if steps is not None:  # equal ones need no guess of the first
        control = replace(control, controller=PI(first_step=1.0))
    problem = control.problem(Detached(start.field), start.s.detach(), start.t.detach())
    events, rebuild, seen = look_out
    bound = [BoundEvent(event, start.field, rebuild) for event in events]
    values = [event(start.s, start.x) for event in bound]
    field = start.field
    sources = (start.s, start.t, start.x, start.first, field.extra, field.holds, values)
    repeat = (carries_derivative if torch.is_grad_enabled() else carries_tangent)(sources)
    watch = Watch(bound, seen, problem, start.x.detach(), start.first.detach())
    nodes, kept = Nodes(problem), Kept()
    recorders = [nodes, watch] if repeat else [kept, watch] if record else [watch]
    fast: dict[str, Any] = {}
    if steps is not None:
        fast["attempt"] = partial(equal_step, steps=steps)
    elif compiled is not None and not is_transforming() and not carries_tangent(sources):
        fast["attempt"], _ = compiled_search(problem, compiled, keep=True)
    found = search(problem, start.x, start.first, recorders, spent=start.attempts, **fast)

    crossings = watch.found()
    length = crossings.locate(bound, problem.s)
    crossings, length, ending = _in_time(crossings, length, events, problem.s)
    driven = Driven(found.x, found.time, found.code, found.statistics)
    if repeat:
        facts = nodes.fractions(), driven, crossings, ending, gradient.checkpoint
        driven, grid, places = _repeated(control.method, start, *facts)
    else:
        grid = kept.finish(problem, found.march) if record else None
        now = problem.s[crossings.sample] + crossings.elapsed
        places = Places(now, crossings.x, crossings.first)
    driven = replace(driven, recorded=grid if record else None)
    facts = bound, crossings, places, length, ending, repeat
    return _settled(control.method, start, driven, *facts)


def _in_time(
    crossings: Crossings, length: Tensor, events: tuple[Event, ...], s: Tensor
) -> tuple[Crossings, Tensor, Tensor]:
    """Return the crossings up to each sample's end, and the numbers of those that are ends."""
    sample, reach = crossings.sample, (crossings.elapsed + length).abs()
    ends = torch.zeros_like(sample, dtype=torch.bool)
    for k, event in enumerate(events):
        ends = ends | ((crossings.event == k) & event.terminal)
    last = torch.full_like(s, torch.inf)
    last = last.scatter_reduce(0, sample, torch.where(ends, reach, torch.inf), "amin")
    rows = (reach <= last[sample]).nonzero()[:, 0]
    crossings, length, ends = crossings.take(rows), length[rows], ends[rows]
    # Of two at one time the first ends the solve; both have occurred.
    number = torch.arange(len(rows), device=s.device)
    first = torch.full_like(s, len(rows), dtype=torch.long)
    candidate = torch.where(ends, number, len(rows))
    first = first.scatter_reduce(0, crossings.sample, candidate, "amin")
    return crossings, length, (ends & (number == first[crossings.sample])).nonzero()[:, 0]


def _repeated(
    method: Stepper,
    start: Start,
    fractions: Tensor,
    driven: Driven,
    crossings: Crossings,
    ending: Tensor,
    sparing: bool,
) -> tuple[Driven, Recorded, Places]:
    """Follow the grid with derivatives, of a sample that ends early up to its last whole step."""
    field, s, t, x, first, _ = start
    end, shorter = shortened(fractions, s, t, crossings.take(ending))
    followed = follow(method, field, shorter, s, end, x, first, record=True, sparing=sparing)
    states, slopes = followed.states, followed.slopes
    assert states is not None and slopes is not None
    nodes = s * (1 - shorter) + end * shorter
    ended = torch.zeros_like(driven.code, dtype=torch.bool)
    ended = ended.index_fill(0, crossings.sample[ending], True)
    span = torch.where(s == t, 1.0, t - s)
    fractions = torch.where(ended, (nodes - s) / span, fractions)
    step, sample = crossings.step, crossings.sample
    now, here = nodes[step, sample], states[step, sample]
    places = Places(now, here, field.select(sample)(now, here) if len(sample) else here)
    counts = driven.statistics
    whole = (counts.accepted - ended.to(counts.accepted)).clamp_min(1)
    again = replay_evaluations(method, whole, True, x)
    again = again + torch.bincount(sample, minlength=len(s))
    driven = replace(
        driven,
        x=followed.x,
        time=torch.where(driven.time == t.detach(), t, driven.time),
        statistics=replace(counts, evaluations=counts.evaluations + again),
    )
    return driven, Recorded(fractions, states, slopes), places


def _settled(
    method: Stepper,
    start: Start,
    driven: Driven,
    events: list[BoundEvent],
    crossings: Crossings,
    places: Places,
    length: Clock,
    ending: Tensor,
    derivatives: bool,
) -> Driven:
    """Settle all events and put samples that end at one there."""
    sample, h = crossings.sample, crossings.h
    lengths, states = length, places.x
    for k, event in enumerate(events):
        rows = (crossings.event == k).nonzero()[:, 0]
        if not len(rows):  # no field is asked to be one of no samples
            continue
        own, field = event.select(sample[rows]), start.field.select(sample[rows])
        place = Places(*(part[rows] for part in places))
        settled = settle(method, own, field, *place, length[rows], h[rows], derivatives)
        lengths = lengths.index_copy(0, rows, settled.length)
        states = states.index_copy(0, rows, settled.x)
    times = _between(places.now + lengths, start.s[sample], start.t[sample])
    found = tuple(
        Found(sample[rows], times[rows], states[rows])
        for rows in ((crossings.event == k).nonzero()[:, 0] for k in range(len(events)))
    )
    counts = torch.bincount(sample, minlength=len(start.s))
    cost = counts * settle_evaluations(method, start.x, derivatives)
    recorded, own = driven.recorded, sample[ending]
    if recorded is not None:
        place = Places(*(part[ending] for part in places))
        step = crossings.step[ending]
        ends = Ending(own, step, *place, lengths[ending], times[ending], states[ending])
        recorded, extra = cut(method, start, recorded, ends)
        cost = cost.index_add(0, own, torch.full_like(own, extra))
    statistics = driven.statistics
    return replace(
        driven,
        x=driven.x.index_copy(0, own, states[ending]),
        time=driven.time.index_copy(0, own, times[ending]),
        statistics=replace(statistics, evaluations=statistics.evaluations + cost),
        recorded=recorded,
        found=found,
    )


def _between(times: Clock, s: Clock, t: Clock) -> Clock:
    """Return times moved between s and t, where rounding has put them outside; all else is kept."""
    low, high = torch.minimum(s, t), torch.maximum(s, t)
    return times + (torch.clamp(times, low, high) - times).detach()

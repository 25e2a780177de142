"""Grids and interpolants of samples that end at an event, inside a step."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._typing import Clock, State
from flowmaps.solvers._drive import Start
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._recorder import Recorded
from flowmaps.solvers._watch import Crossings

__all__ = ["Ending", "cut", "shortened"]


class Ending(NamedTuple):
    """The last steps of samples that end at an event, (n,) but for the states."""

    sample: Tensor
    step: Tensor
    """How many whole steps came before."""
    now: Clock
    x: State
    first: State
    """Clock, state and field where the last step starts."""
    length: Clock
    time: Clock
    end: State
    """How long it is, when it ends and where."""


def shortened(fractions: Tensor, s: Clock, t: Clock, endings: Crossings) -> tuple[Clock, Tensor]:
    """Return until when samples take whole steps, and their nodes as fractions up to there.

    Where a sample ends at an event that is the start of the step with it, and fixed: neither t nor
    the event moves the nodes.

    Args:
        fractions: nodes as fractions of the spans, (n_steps + 1, batch).
        s, t: clocks (batch,).
        endings: the crossings at which samples end.
    """
    samples = endings.sample
    ended = torch.zeros_like(s, dtype=torch.bool).index_fill(0, samples, True)
    elapsed = torch.zeros_like(s).detach().index_copy(0, samples, endings.elapsed)
    span = (t - s).detach()
    part = elapsed / torch.where(span == 0, 1.0, span)
    scaled = (fractions / torch.where(part == 0, 1.0, part)).clamp_max(1.0)
    # Without a whole step, one of length zero.
    scaled = torch.where(part == 0, (fractions > 0).to(fractions), scaled)
    end = torch.where(ended, s.detach() + elapsed, t)
    return end, torch.where(ended, scaled, fractions)


def cut(method: Stepper, start: Start, recorded: Recorded, endings: Ending) -> tuple[Recorded, int]:
    """Return the interpolants with the last steps cut at the events, and what that cost.

    The last steps are taken once more at their own lengths; behind them stand steps of length zero.
    """
    sample, step, now, x, first, length, time, end = endings
    if not len(sample):
        return recorded, 0
    field = start.field.select(sample)
    taken = method.step(field, now, length, x, first)
    last = field(time, end) if taken.last is None else taken.last
    slopes = method.slopes(field, now, length, x, taken, last)
    span = torch.where(start.s == start.t, 1.0, start.t - start.s)

    wide = start.x.detach()
    number = torch.arange(len(recorded.fractions), device=step.device)[:, None]
    whole = torch.full_like(start.s, len(number), dtype=torch.long).index_copy(0, sample, step)
    at, behind = number[:-1] == whole, number[:-1] > whole
    at, behind = (a.reshape(*a.shape, *([1] * (wide.ndim - 1))) for a in (at, behind))
    states = torch.where(behind, torch.zeros_like(wide).index_copy(0, sample, end), recorded.states)
    spread = recorded.slopes[0].detach()
    inside = torch.zeros_like(spread).index_copy(1, sample, slopes)
    rest = torch.zeros_like(spread[0]).index_copy(0, sample, last)[None]
    rest = torch.cat([rest, torch.zeros_like(spread[1:])])
    at, behind = at[:, None], behind[:, None]
    slopes = torch.where(at, inside, torch.where(behind, rest, recorded.slopes))
    fraction = (
        torch.zeros_like(span)
        .detach()
        .index_copy(0, sample, (time - start.s[sample]) / span[sample])
    )
    fractions = torch.where(number > whole, fraction, recorded.fractions)
    cost = method.evaluations(known_first=True) + method.linear_evaluations(start.x)
    cost += method.dense_evaluations + (not method.reuses_last)
    return Recorded(fractions, states, slopes), cost

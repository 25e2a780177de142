"""The driver of fixed grids: pure steps along given fractions of every sample's span.

Fixed-step solves follow a uniform grid. Adaptive solves search their grid without derivatives
and then follow it, so that derivatives see a pure composition of accepted steps whose fractions are
frozen.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from flowmaps._transforms import is_plain
from flowmaps._typing import Clock, State
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._by_length import by_length, takes_no_step
from flowmaps.solvers._method import Stepper

__all__ = ["Followed", "follow", "replay_evaluations", "uniform"]


@dataclass(frozen=True)
class Followed:
    """The end state, and when recorded what the interpolant of every step is made of.

    Args:
        x: (batch, *event).
        states: starts of the steps, (n_steps, batch, *event).
        slopes: see ``Stepper.slopes``, (n_steps, degree, batch, *event).
    """

    x: Tensor
    states: Tensor | None = None
    slopes: Tensor | None = None


def uniform(steps: int, clock: Clock) -> Tensor:
    """Return the nodes of equal steps, (steps + 1, batch)."""
    nodes = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64, device=clock.device)
    return nodes[:, None].expand(-1, clock.shape[0])


class Segment(NamedTuple):
    """Some steps in a row: the end, the field there if it is known, and lists as in Followed.

    The field is known of the samples that took the last step, which stand first.
    """

    x: State
    first: Tensor | None
    states: list[Tensor]
    slopes: list[Tensor]


def follow(
    method: Stepper,
    field: BoundField | Detached,
    fractions: Tensor,
    s: Clock,
    t: Clock,
    x: State,
    first: State | None = None,
    record: bool = False,
    sparing: bool = False,
    uneven: bool = True,
) -> Followed:
    """Step x through the nodes s (1 - fraction) + t fraction; fractions (n_steps + 1, batch).

    ``first`` is the field at (s, x) if it is known. ``sparing`` keeps for backward one state of
    every sqrt(n_steps) and computes the steps between anew.

    If steps are ``uneven`` a sample leaves the batch when it has taken its last, and then rests.

    Differentiable in s, t, x and everything in the field, in the fractions too.
    """
    looks = uneven and not torch.compiler.is_compiling()
    ranks = by_length(fractions, takes_no_step(s, t, first, record)) if looks else None
    if ranks is None:
        moving = (len(x),) * (len(fractions) - 1)
        return _followed(method, field, fractions, moving, s, t, x, first, record, sparing)
    order, back, moving = ranks
    # The field at (s, x) stands for all samples, those that take no step among them.
    first = None if first is None or moving[0] < len(x) else first[order]
    fractions, field = fractions[:, order], field.select(order)
    clocks = s[order], t[order]
    found = _followed(method, field, fractions, moving, *clocks, x[order], first, record, sparing)
    if found.states is None or found.slopes is None:
        return Followed(found.x[back])
    return Followed(found.x[back], found.states[:, back], found.slopes[:, :, back])


def _followed(
    method: Stepper,
    field: BoundField | Detached,
    fractions: Tensor,
    moving: tuple[int, ...],
    s: Clock,
    t: Clock,
    x: State,
    first: State | None,
    record: bool,
    sparing: bool,
) -> Followed:
    """Follow samples in the order of their lengths; ``moving`` tells how many take each step."""
    steps = len(moving)
    size, run = steps, partial(_segment, method, field, record)
    if sparing and torch.is_grad_enabled() and is_plain():
        size, run = isqrt(max(steps - 1, 0)) + 1, partial(_sparing, run)
    states: list[Tensor] = []
    slopes: list[Tensor] = []
    for k in range(0, steps, size):
        nodes = fractions[k : k + size + 1]
        segment = run(moving[k : k + size], nodes, s, t, x, first)
        x, first = segment.x, segment.first
        states += segment.states
        slopes += segment.slopes
    if not record:
        return Followed(x)
    return Followed(x, torch.stack(states), torch.stack(slopes))


def _segment(
    method: Stepper,
    field: BoundField | Detached,
    record: bool,
    moving: tuple[int, ...],
    fractions: Tensor,
    s: Clock,
    t: Clock,
    x: State,
    first: Tensor | None,
) -> Segment:
    """Take the steps between the nodes; see ``follow``."""
    states: list[Tensor] = []
    slopes: list[Tensor] = []
    resting: list[Tensor] = []
    for k, count in enumerate(moving):
        rates = x[:0]
        if count < len(x):
            resting.insert(0, x[count:])
            x, s, t = x[:count], s[:count], t[:count]
            fractions, field = fractions[:, :count], field.select(slice(count))
        if first is not None and len(first) > count:
            rates, first = first[count:], None  # whose graph has those in it that rest
        if resting and not count:  # a field is not asked for no samples
            if record:
                states.append(torch.cat(resting))
                slopes.append(_at_rest(len(slopes[0]) if slopes else 1, rates, states[-1]))
            continue
        left = s * (1 - fractions[k]) + t * fractions[k]
        h = (fractions[k + 1] - fractions[k]) * (t - s)
        step = method.step(field, left, h, x, first)
        last = step.last
        if record:
            last = field(left + h, step.x) if last is None else last
            states.append(_joined(x, resting))
            slopes.append(_padded(method.slopes(field, left, h, x, step, last), rates, resting))
        x, first = step.x, last
    return Segment(_joined(x, resting), first, states, slopes)


def _joined(x: Tensor, resting: list[Tensor]) -> Tensor:
    return torch.cat([x, *resting]) if resting else x


def _padded(slopes: Tensor, rates: Tensor, resting: list[Tensor]) -> Tensor:
    """Return slopes (degree, batch, *event) of those that move and those that rest."""
    if not resting:
        return slopes
    return torch.cat([slopes, _at_rest(len(slopes), rates, torch.cat(resting))], dim=1)


def _at_rest(degree: int, rates: Tensor, states: Tensor) -> Tensor:
    """Return the slopes of those that rest: in the first of their steps at rest the field there."""
    slope = torch.cat([rates, torch.zeros_like(states[len(rates) :])])
    return torch.cat([slope[None], torch.zeros_like(slope).expand(degree - 1, *slope.shape)])


def _sparing(run: Callable[..., Segment], *arguments: Any) -> Segment:
    """Take the steps of a segment and keep nothing of them for backward, which takes them again."""
    try:
        # Only this kind of checkpoint has second derivatives, and those in what the field holds.
        return checkpoint(run, *arguments, use_reentrant=False)
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
    # Not in the handler, where torch 2.11 still has its hooks on.
    warnings.warn(
        "torch keeps no checkpoints of a field with torch.func.grad, vjp or jacrev inside: its "
        "steps are followed without, at the cost of memory; write it with torch.autograd.grad "
        "or in forward mode, or take ContinuousAdjoint()",
        stacklevel=2,
    )
    return run(*arguments)


def replay_evaluations(method: Stepper, steps: Any, record: bool, x: State) -> Any:
    """Count the field evaluations of ``follow``, the first value known; steps: number or tensor."""
    linear = method.linear_evaluations(x)
    known, unknown = (method.evaluations(known_first=known) + linear for known in (True, False))
    dense = method.dense_evaluations if record else 0
    if method.reuses_last:
        return steps * (known + dense)
    if record:
        return steps * (known + 1 + dense)
    return known + (steps - 1) * unknown

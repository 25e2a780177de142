"""Events: what a solve looks out for on its way, and what it found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief
from flowmaps._typing import Clock, State

__all__ = ["Event", "Found", "Occurrences", "as_events", "occurrences"]


@dataclass(frozen=True)
class Event:
    """The zeros of a function g(t, x) along each sample's way from s to t.

    After every accepted step the sign of g is compared with that before it. A change is located on
    the step's interpolant and then settled on the solution itself. The guarantee is one look a
    step, or ``checks`` of them: an even number of zeros between two looks is missed, an odd one
    counts as one. A longest step (``controller=PI(max_step=...)``) or more checks see more.

    A g that is zero at s, up to rounding, is no event there, whichever way it leaves zero: the next
    zero is the first. So a solve may start where another one ended at an event. What another solve
    rounded is not known; it counts as at most 64 rounding units of the way ahead, and no more than
    64 tolerances.

    Args:
        function: ``g(t, x)`` or, with a condition, ``g(t, x, condition)``, for every sample on its
            own as a field is: t (batch,), x (batch, *event) or the user's pytree; returns (batch,).
        terminal: whether the sample's solve ends there.
        direction: 1 for zeros where g rises on the way from s to t, -1 where it falls, 0 for both.
        checks: looks at g in every step, at equal distances on its interpolant.

    Raises:
        TypeError, ValueError: for other options.

    Example:
        >>> import torch, flowmaps as fm
        >>> fall = lambda t, x: torch.stack([x[:, 1], torch.full_like(t, -9.81)], dim=1)
        >>> floor = fm.solvers.Event(lambda t, x: x[:, 0], direction=-1)
        >>> x = torch.tensor([[10.0, 0.0], [5.0, 0.0]])
        >>> solution = fm.solvers.solve(fall, 0.0, 9.0, x, events=floor)
        >>> [round(time, 3) for time in solution.final_time.tolist()]
        [1.428, 1.01]
    """

    function: Callable[..., Tensor]
    terminal: bool = True
    direction: int = 0
    checks: int = 1

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"an event's function must be callable, got {brief(self.function)}")
        if not isinstance(self.terminal, bool):
            raise TypeError(f"terminal must be True or False, got {brief(self.terminal)}")
        if self.direction not in (-1, 0, 1) or isinstance(self.direction, bool):
            raise ValueError(f"direction must be -1, 0 or 1, got {brief(self.direction)}")
        object.__setattr__(self, "checks", as_count(self.checks, "checks"))


@dataclass(frozen=True, eq=False)
class Occurrences:
    """Where one event occurred, for every sample in the order of its way; NaN beyond its last.

    Differentiable as the solve is. They are there too for samples that failed afterwards.

    Args:
        times: (n_found, batch), float64, n_found being the most that any sample has.
        states: (n_found, batch, *event) or a pytree of such.
        counts: how many each sample has, (batch,).

    Example:
        >>> import torch, flowmaps as fm
        >>> spring = lambda t, x: torch.stack([x[:, 1], -x[:, 0]], dim=1)
        >>> turn = fm.solvers.Event(lambda t, x: x[:, 1], terminal=False)
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> (turns,) = fm.solvers.solve(spring, 0.0, 10.0, x, events=turn).events
        >>> [round(time / torch.pi, 3) for time in turns.times[:, 0].tolist()]
        [1.0, 2.0, 3.0]
    """

    times: Tensor
    states: Any
    counts: Tensor


def as_events(events: Any) -> tuple[Event, ...]:
    """Return one event or several as a tuple.

    Raises:
        TypeError: for anything else.
    """
    if events is None:
        return ()
    several = (events,) if isinstance(events, Event) else events
    if not isinstance(several, list | tuple) or not all(isinstance(one, Event) for one in several):
        raise TypeError(
            "events must be an Event such as flowmaps.solvers.Event(lambda t, x: x[:, 0]) or a "
            f"list of them, got {brief(events)}"
        )
    return tuple(several)


class Found(NamedTuple):
    """Where one event occurred, (n,) but for the states; those of a sample in order."""

    sample: Tensor
    time: Clock
    x: State


def occurrences(found: Found, batch: int, rebuild: Callable[[Tensor], Any]) -> Occurrences:
    """Return what was found of one event as a table of all samples."""
    sample, time, x = found
    counts = torch.bincount(sample, minlength=batch)
    most = int(counts.max()) if batch else 0
    # How many of its own sample come before each.
    order = sample.argsort(stable=True)
    before = (
        torch.arange(len(sample), device=sample.device) - (counts.cumsum(0) - counts)[sample[order]]
    )
    row = torch.empty_like(before).index_copy(0, order, before)
    times = time.detach().new_full((most, batch), torch.nan)
    states = x.detach().new_full((most, batch, *x.shape[1:]), torch.nan)
    times = times.index_put((row, sample), time)
    states = states.index_put((row, sample), x)
    return Occurrences(times, rebuild(states), counts)

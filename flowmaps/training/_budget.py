"""From a budget of time to a number of steps, once."""

import time
from collections.abc import Callable

from flowmaps.errors import TrainingError

__all__ = ["affordable_steps"]

_STAGES = (0.999, 0.0, 0.5, 0.25, 0.75)
"""The last first: it is often the dearest, and there may be time for one alone."""
_MARGIN = 0.97
_ALLOWANCE = 0.1
"""Share of the budget that trial steps may take, compilation and two steps aside."""
_ENOUGH = 0.5
"""A number of steps that takes no more than this share of what is left needs no more trials."""


def affordable_steps(
    seconds: float, spent: float, trial: Callable[[float], None], most: int | None = None
) -> int:
    """Return how many steps fit into what is left of a budget.

    Trial steps are timed at several stages of the run, for a step may cost more late in it; the
    first of each stage, which may compile, is not counted. They take a tenth of the budget, no
    more, unless two steps do.

    Args:
        seconds: the budget.
        spent: what the run has taken so far.
        trial: makes one step as at this progress, in [0, 1), and waits for it.
        most: how many steps are wanted; fewer trials are made where these clearly fit.

    Raises:
        TrainingError: if nothing is left for a step.
    """
    start, allowed, paces = time.perf_counter(), _ALLOWANCE * seconds, []
    for stage in _STAGES:
        if paces and allowed < 2 * max(paces):
            break
        trial(stage)
        pace, count = _timed(trial, stage, allowed)
        allowed -= (count + 1) * pace
        paces.append(pace)
        left = seconds - spent - (time.perf_counter() - start)
        if most is not None and most * pace <= _ENOUGH * left:
            return most
    pace = sum(paces) / len(paces)
    left = seconds - spent - (time.perf_counter() - start)
    steps = int(_MARGIN * left / pace)
    if steps < 1:
        raise TrainingError(
            f"a budget of {seconds:g} s leaves no time for a step of {pace:.2g} s after "
            f"{seconds - left:.0f} s of preparation; give more seconds, or steps= (--steps)"
        )
    return steps


def _timed(trial: Callable[[float], None], stage: float, allowed: float) -> tuple[float, int]:
    """Return the seconds of a step at a stage and how many were timed: at least one.

    Up to three are, or more where they take little of what is allowed.
    """
    start, count, pace = time.perf_counter(), 0, 0.0
    share = 0.2 * allowed / len(_STAGES)
    while count == 0 or (
        (count < 3 or count * pace < share)
        and count < 100
        and (count + 2) * pace <= allowed  # with this one, and the first, which was not timed
    ):
        trial(stage)
        count += 1
        pace = (time.perf_counter() - start) / count
    return pace, count

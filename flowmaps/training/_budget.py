"""From a budget of time to a number of steps, once."""

import time
from collections.abc import Callable

from flowmaps.errors import TrainingError

__all__ = ["affordable_steps"]

_STAGES = (0.0, 0.25, 0.5, 0.75, 0.999)
_MARGIN = 0.97


def affordable_steps(seconds: float, spent: float, trial: Callable[[float], None]) -> int:
    """Return how many steps fit into what is left of a budget.

    Trial steps are timed at several stages of the run, for a step may cost more late in it; the
    first of each stage, which may compile, is not counted.

    Args:
        seconds: the budget.
        spent: what the run has taken so far.
        trial: makes one step as at this progress, in [0, 1), and waits for it.

    Raises:
        TrainingError: if nothing is left for a step.
    """
    start = time.perf_counter()
    for stage in _STAGES:
        trial(stage)
    share = 0.02 * seconds / len(_STAGES)
    pace = sum(_timed(trial, stage, share) for stage in _STAGES) / len(_STAGES)
    left = seconds - spent - (time.perf_counter() - start)
    steps = int(_MARGIN * left / pace)
    if steps < 1:
        raise TrainingError(
            f"a budget of {seconds:g} s leaves no time for a step of {pace:.2g} s after "
            f"{seconds - left:.0f} s of preparation; give more seconds, or steps="
        )
    return steps


def _timed(trial: Callable[[float], None], stage: float, share: float) -> float:
    """Return the seconds of a step at a stage, averaged over at least three."""
    start, count = time.perf_counter(), 0
    while count < 3 or (time.perf_counter() - start < share and count < 100):
        trial(stage)
        count += 1
    return (time.perf_counter() - start) / count

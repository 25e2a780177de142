"""Learning rates as factors of the peak, by step number alone."""

import math
from collections.abc import Callable

__all__ = ["Schedule", "constant", "cosine", "learning_rate_factor", "named_schedule"]

Schedule = Callable[[int, int], float]
"""``schedule(step, steps) -> factor`` of the peak learning rate, step from 0 to steps - 1."""


def constant(step: int, steps: int) -> float:
    """Return 1.

    Example:
        >>> import flowmaps as fm
        >>> fm.training.constant(5, 10)
        1.0
    """
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Return (1 + cos(pi step / steps)) / 2: from 1 down to nearly 0.

    Source:
        Loshchilov and Hutter (2016), arXiv:1608.03983, equation 5 without restarts.

    Example:
        >>> import flowmaps as fm
        >>> round(fm.training.cosine(5, 10), 12)
        0.5
    """
    return (1 + math.cos(math.pi * step / steps)) / 2


_BY_NAME: dict[str, Schedule] = {"constant": constant, "cosine": cosine}


def named_schedule(schedule: str | Schedule) -> Schedule:
    """Return a schedule given by name or as it is; raise ValueError or TypeError otherwise."""
    if callable(schedule):
        return schedule
    if schedule not in _BY_NAME:
        raise ValueError(
            f"schedule must be one of {sorted(_BY_NAME)} or a callable (step, steps) -> factor, "
            f"got {schedule!r}"
        )
    return _BY_NAME[schedule]


def learning_rate_factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """Return a step's factor: a ramp over ``warmup`` steps, then the schedule on what is left."""
    if step < warmup:
        return (step + 1) / warmup
    return float(schedule(step - warmup, steps - warmup))

"""Learning rates as factors of the peak, by step number alone."""

import math
from collections.abc import Callable

from flowmaps._checks import brief

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
    """Return a schedule given by name or as it is; raise ValueError otherwise."""
    if callable(schedule):
        return schedule
    if not isinstance(schedule, str) or schedule not in _BY_NAME:
        raise ValueError(
            f"schedule must be one of {sorted(_BY_NAME)} or a callable (step, steps) -> factor, "
            f"got {schedule!r}"
        )
    return _BY_NAME[schedule]


def learning_rate_factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """Return a step's factor: a ramp over ``warmup`` steps, then the schedule on what is left.

    Raises:
        TypeError, ValueError: if the schedule's factor is not a finite number from 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    given = schedule(step - warmup, steps - warmup)
    try:
        factor = float(given)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the schedule's factor must be a number, got {brief(given)}") from error
    if not 0 <= factor < math.inf:
        raise ValueError(
            f"the schedule's factor must be finite and not negative, got {factor} at step "
            f"{step - warmup} of {steps - warmup}"
        )
    return factor

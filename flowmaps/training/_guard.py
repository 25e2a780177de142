"""What the engine does when a loss, or a gradient, is not finite or explodes."""

import math
from dataclasses import dataclass

__all__ = ["Guard"]


@dataclass(frozen=True)
class Guard:
    """Skip, then roll back, then stop.

    A step whose loss or gradient is not finite changes no weights and is counted. After ``skips``
    such steps in a row, or when the median loss since the last kept state exceeds ``explosion``
    times the first loss, the run goes back to that state and on with the learning rate multiplied
    by ``slowdown``; after ``rollbacks`` of these the next one stops it.

    Args:
        skips: steps in a row that may be skipped; 0 rolls back at once.
        rollbacks: how often a run may go back; 0 stops at once.
        slowdown: factor of the learning rate after each, in (0, 1].
        explosion: median loss, in units of the run's first loss, that counts as divergence; inf to
            leave it to numbers that are not finite.

    Raises:
        ValueError: for numbers outside these ranges.

    Example:
        >>> import flowmaps as fm
        >>> strict = fm.training.Guard(skips=0, rollbacks=0)
    """

    skips: int = 5
    rollbacks: int = 3
    slowdown: float = 0.5
    explosion: float = 1e4

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("skips", "rollbacks"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number from 0, got {value!r}")
        if not 0 < self.slowdown <= 1:
            raise ValueError(f"slowdown must be in (0, 1], got {self.slowdown}")
        if not self.explosion > 1 or math.isnan(self.explosion):
            raise ValueError(f"explosion must be greater than 1, got {self.explosion}")

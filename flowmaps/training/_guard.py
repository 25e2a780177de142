"""What the engine does when a loss, or a gradient, is not finite or explodes."""

import math
from dataclasses import dataclass

from flowmaps._checks import is_number

__all__ = ["Guard"]


@dataclass(frozen=True)
class Guard:
    """Skip, then roll back, then stop.

    A step whose loss or gradient is not finite changes no weights and is counted. The run goes back
    to the last kept state, and on with the learning rate multiplied by ``slowdown``, after more
    than ``skips`` such steps in a row; when weights that would be kept are not finite, or, at the
    run's end, give a loss that is not; and when the median loss m since the last kept state has
    risen too far above the first loss f: m - f > explosion max(|f|, 1e-3). A loss that falls never
    has, whatever its sign. After ``rollbacks`` of these the next one stops the run.

    Args:
        skips: steps in a row that may be skipped; 0 rolls back at once.
        rollbacks: how often a run may go back; 0 stops at once.
        slowdown: factor of the learning rate after each, in (0, 1].
        explosion: rise of the median loss, in units of the size of the run's first loss, that
            counts as divergence; inf to leave it to numbers that are not finite.

    Raises:
        TypeError, ValueError: for numbers outside these ranges, or no numbers.

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
        for name in ("slowdown", "explosion"):
            if not is_number(getattr(self, name)):
                raise TypeError(f"{name} must be a number, got {getattr(self, name)!r}")
        if not 0 < self.slowdown <= 1:
            raise ValueError(f"slowdown must be in (0, 1], got {self.slowdown}")
        if not self.explosion > 1 or math.isnan(self.explosion):
            raise ValueError(f"explosion must be greater than 1, got {self.explosion}")

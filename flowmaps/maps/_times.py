"""The set of times a flow map is defined, or was trained, for."""

from dataclasses import asdict, dataclass
from math import inf

import torch
from torch import Tensor

from flowmaps._checks import checks_values
from flowmaps._transforms import any_item
from flowmaps.errors import UntrainedTimes

__all__ = ["TimeSet"]


@dataclass(frozen=True)
class TimeSet:
    """Pairs (s, t) with lower <= s, t <= upper, the allowed directions, and |t - s| <= max_span.

    Args:
        lower, upper: ends of the time interval; infinite by default.
        forward: whether s < t is allowed.
        backward: whether s > t is allowed.
        max_span: longest span |t - s|.

    Raises:
        ValueError: if the set is empty.

    Example:
        >>> import flowmaps as fm
        >>> fm.maps.TimeSet(0.0, 1.0, backward=False).admits(0.0, 1.0)
        True
    """

    lower: float = -inf
    upper: float = inf
    forward: bool = True
    backward: bool = True
    max_span: float = inf

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"a TimeSet needs lower < upper, got {self.lower}, {self.upper}")
        if not self.max_span > 0:
            raise ValueError(f"a TimeSet needs max_span > 0, got {self.max_span}")
        if not (self.forward or self.backward):
            raise ValueError("a TimeSet needs a direction: forward=True, backward=True or both")

    @property
    def everything(self) -> bool:
        """Whether every pair of times is allowed."""
        return self == TimeSet()

    def admits(self, s: float | Tensor, t: float | Tensor) -> bool | Tensor:
        """Tell whether (s, t) is allowed, up to single-precision rounding; elementwise for tensors."""
        slack = self._slack
        span = t - s
        inside = (s >= self.lower - slack) & (t >= self.lower - slack)
        inside = inside & (s <= self.upper + slack) & (t <= self.upper + slack)
        inside = inside & (abs(span) <= self.max_span + slack)
        if not self.forward:
            inside = inside & (span <= slack)
        if not self.backward:
            inside = inside & (span >= -slack)
        return inside

    def spoil(self, s: float | Tensor, t: float | Tensor) -> Tensor | None:
        """Return the factor 1 or NaN of every sample, or None if all are known to be allowed.

        Raises:
            UntrainedTimes: for numbers outside the set; for tensors under ``checking("full")``.
        """
        if self.everything:
            return None
        allowed = self.admits(s, t)
        if not isinstance(allowed, Tensor):
            if not allowed:
                raise UntrainedTimes(f"this flow map is for {self}, but was asked for s = {s}, t = {t}")
            return None
        if checks_values() and any_item(~allowed):
            raise UntrainedTimes(f"this flow map is for {self}, but some samples ask for other times")
        return torch.where(allowed, 1.0, torch.nan)

    @property
    def _slack(self) -> float:
        ends = [abs(end) for end in (self.lower, self.upper) if abs(end) != inf]
        return 1e-6 * max([1.0, *ends])

    def __str__(self) -> str:
        direction = "both directions"
        if not (self.forward and self.backward):
            direction = "s <= t only" if self.forward else "s >= t only"
        span = "" if self.max_span == inf else f", spans up to {self.max_span:g}"
        return f"times in [{self.lower:g}, {self.upper:g}], {direction}{span}"

    def config(self) -> dict[str, float | bool]:
        """Return the constructor's keyword arguments."""
        return asdict(self)

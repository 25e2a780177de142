"""The set of times a flow map is defined, or was trained, for."""

from dataclasses import asdict, dataclass
from math import inf

import torch
from torch import Tensor

from flowmaps._checks import brief, checks_values, is_number, shorten
from flowmaps._transforms import any_item, is_vmapped, peek
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
        TypeError: for ends or a span that are no numbers, directions that are no truth values.
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
        for name in ("lower", "upper", "max_span"):
            value = getattr(self, name)
            if not is_number(value):
                raise TypeError(f"{name} of a TimeSet must be a number, got {brief(value)}")
        for name in ("forward", "backward"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} of a TimeSet must be True or False, got {brief(value)}")
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
        """Tell whether (s, t) is allowed, up to float32's rounding; elementwise for tensors."""
        slack, span = self._slack(s, t), t - s
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
                raise UntrainedTimes(f"this flow map is for {self}, not for s = {s}, t = {t}")
            return None
        if checks_values(allowed):
            self._refuse(~allowed)
        return torch.where(allowed, 1.0, torch.nan)

    def require(self, s: Tensor, t: Tensor) -> None:
        """Check clocks (..., batch) on the host; compiled and vmapped ones are let through.

        Raises:
            UntrainedTimes: if a pair is outside the set, or not a number.
        """
        if torch.compiler.is_compiling() or is_vmapped(s) or is_vmapped(t):
            return
        allowed = torch.isfinite(t - s) if self.everything else self.admits(s, t)
        assert isinstance(allowed, Tensor)
        self._refuse(~allowed)

    def _refuse(self, bad: Tensor) -> None:
        """Raise UntrainedTimes if any pair of times (..., batch) is bad, naming the samples."""
        if any_item(bad):
            columns = peek(bad.detach()).reshape(-1, bad.shape[-1]).any(0)
            samples = columns.nonzero().flatten().tolist()
            raise UntrainedTimes(
                f"this flow map is for {self}, not for the times of samples {shorten(samples)}"
            )

    def _slack(self, s: float | Tensor, t: float | Tensor) -> float | Tensor:
        """Return the rounding allowed for, in proportion to the times at stake."""
        sizes = [abs(size) for size in (self.lower, self.upper, self.max_span)]
        scale = max([0.0, *(size for size in sizes if size != inf)])
        return 1e-6 * (scale if scale > 0 else abs(s) + abs(t))

    def __str__(self) -> str:
        direction = "both directions"
        if not (self.forward and self.backward):
            direction = "s <= t only" if self.forward else "s >= t only"
        span = "" if self.max_span == inf else f", spans up to {self.max_span:g}"
        return f"times in [{self.lower:g}, {self.upper:g}], {direction}{span}"

    def config(self) -> dict[str, float | bool]:
        """Return the constructor's keyword arguments."""
        return asdict(self)

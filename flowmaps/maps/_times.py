"""The set of times a flow map is defined, or was trained, for."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import brief, checks_values, is_number, shorten
from flowmaps._transforms import any_item, is_vmapped, peek
from flowmaps.errors import UntrainedTimes

__all__ = ["TimeSet"]

_SINGLE, _DOUBLE = torch.finfo(torch.float32), torch.finfo(torch.float64)
_LARGEST = _SINGLE.max


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
    _rounded: ClassVar[tuple[float, float]]

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
        ends = [min(max(end, -_LARGEST), _LARGEST) for end in (self.lower, self.upper)]
        # The ends in float32; here, because compiled code makes no float32 of a number.
        object.__setattr__(self, "_rounded", tuple(float(np.float32(end)) for end in ends))

    @property
    def everything(self) -> bool:
        """Whether every pair of times is allowed."""
        return self == TimeSet()

    def admits(self, s: float | Tensor, t: float | Tensor) -> bool | Tensor:
        """Tell whether (s, t) is allowed, up to rounding; elementwise for tensors.

        A time that is a float32 may be the rounding of a time inside, and a span of such times is
        off by their rounding, a thousandth of the set at most. Other times count as float64, whose
        directions and spans are off by a millionth at most.

        Args:
            s, t: numbers, or tensors that broadcast.

        Example:
            >>> import torch, flowmaps as fm
            >>> times = fm.maps.TimeSet(0.0, 0.1)
            >>> times.admits(0.0, torch.tensor([0.1, 0.11], dtype=torch.float32)).tolist()
            [True, False]
        """
        if isinstance(s, Tensor) or isinstance(t, Tensor):
            s, t = _as_tensors(s, t)
        single_s, single_t = _is_single(s), _is_single(t)
        slack, span = self._slack(s, t, single_s, single_t), t - s
        inside = self._inside(s, single_s, slack) & self._inside(t, single_t, slack)
        inside = inside & (abs(span) <= self.max_span + slack)
        if not self.forward:
            inside = inside & (span <= slack)
        if not self.backward:
            inside = inside & (span >= -slack)
        return inside

    def _inside(
        self, time: float | Tensor, single: bool | Tensor, slack: float | Tensor
    ) -> bool | Tensor:
        inside = (time >= self.lower - slack) & (time <= self.upper + slack)
        lower, upper = self._rounded
        return inside | (single & (time >= lower) & (time <= upper))

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

    def _slack(
        self, s: float | Tensor, t: float | Tensor, single_s: bool | Tensor, single_t: bool | Tensor
    ) -> float | Tensor:
        """Return the rounding allowed for, of the times at stake and in proportion to the set."""
        ends = [abs(end) for end in (self.lower, self.upper) if abs(end) != inf]
        size, extent = max([0.0, *ends]), min(self.upper - self.lower, self.max_span)
        if not isinstance(s, Tensor) or not isinstance(t, Tensor):  # numbers are float64
            return _rounding(max(size, abs(s), abs(t)), extent, 8 * _DOUBLE.eps, 1e-6)
        size = torch.maximum(s.abs(), t.abs()).clamp_min(size)
        coarse = torch.as_tensor(single_s & single_t if extent == inf else single_s | single_t)
        double = _rounding(size, extent, 8 * _DOUBLE.eps, 1e-6)
        return torch.where(coarse, _rounding(size, extent, 2 * _SINGLE.eps, 1e-3), double)

    def __str__(self) -> str:
        direction = "both directions"
        if not (self.forward and self.backward):
            direction = "s <= t only" if self.forward else "s >= t only"
        span = "" if self.max_span == inf else f", spans up to {self.max_span:g}"
        return f"times in [{self.lower:g}, {self.upper:g}], {direction}{span}"

    def config(self) -> dict[str, float | bool]:
        """Return the constructor's keyword arguments."""
        return asdict(self)


def _as_tensors(s: float | Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return both times in float64, a number like the other one."""
    like = s if isinstance(s, Tensor) else t
    assert isinstance(like, Tensor)
    first, last = (
        time.to(torch.float64)
        if isinstance(time, Tensor)
        else torch.full_like(like, time, dtype=torch.float64)
        for time in (s, t)
    )
    return first, last


def _rounding(size: Any, extent: float, unit: float, share: float) -> Any:
    """Return the rounding of times of a size, at most a share of a finite extent."""
    rounding = unit * size
    if extent == inf:
        return rounding
    least, most = 1e-8 * extent, share * extent
    if isinstance(rounding, Tensor):
        return rounding.clamp(least, most)
    return min(max(rounding, least), most)


def _is_single(time: float | Tensor) -> bool | Tensor:
    """Tell which times are float32 numbers, as those that came in that type are."""
    if isinstance(time, Tensor):
        return time == time.to(torch.float32)
    # Numbers that compiled code makes symbolic can only be compared.
    if torch.compiler.is_compiling() or not abs(time) < _LARGEST:
        return False
    return float(np.float32(time)) == time

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

    A map from one time only, such as a neural operator that decodes whole trajectories, has a
    ``start``; one to a single time, such as a consistency model X_{s,1}, has an ``end``. The pairs
    s = t of the interval belong to every set: X_{s,s} = id is known without training, and a
    velocity is asked there. What a map from one time answers as its velocity at another, or a map
    to one time, is what its network says; nothing of the set tells whether it was trained.

    Args:
        lower, upper: ends of the time interval; infinite by default.
        forward: whether s < t is allowed.
        backward: whether s > t is allowed.
        max_span: longest span |t - s|.
        start: the only s that is allowed where s != t; None for any.
        end: the only t that is allowed where s != t; None for any.

    Raises:
        TypeError: for ends or a span that are no numbers, directions that are no truth values.
        ValueError: if the set is empty, or holds pairs s = t alone.

    Example:
        >>> import flowmaps as fm
        >>> fm.maps.TimeSet(0.0, 1.0, backward=False).admits(0.0, 1.0)
        True
        >>> fm.maps.TimeSet(0.0, 1.0, start=0.0).admits(0.5, 1.0)
        False
    """

    lower: float = -inf
    upper: float = inf
    forward: bool = True
    backward: bool = True
    max_span: float = inf
    start: float | None = None
    end: float | None = None
    _rounded: ClassVar[tuple[float, float]]
    _only: ClassVar[tuple[tuple[float, float] | None, ...]]

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
        _check_only(self)
        # The ends in float32; here, because compiled code makes no float32 of a number.
        object.__setattr__(self, "_rounded", (_to_single(self.lower), _to_single(self.upper)))
        only = [None if e is None else (e, _to_single(e)) for e in (self.start, self.end)]
        object.__setattr__(self, "_only", tuple(only))

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
        for time, single, only in zip((s, t), (single_s, single_t), self._only, strict=True):
            if only is not None:
                there = (abs(time - only[0]) <= slack) | (single & (time == only[1]))
                inside = inside & (there | (abs(span) <= slack))
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
        only = "" if self.start is None else f", s = {self.start:g} only"
        only += "" if self.end is None else f", t = {self.end:g} only"
        return f"times in [{self.lower:g}, {self.upper:g}], {direction}{span}{only}"

    def config(self) -> dict[str, float | bool | None]:
        """Return the constructor's keyword arguments."""
        return asdict(self)


def _check_only(times: TimeSet) -> None:
    """Raise unless start and end are None or times from, or to, which something is allowed."""
    for name in ("start", "end"):
        time = getattr(times, name)
        if time is None:
            continue
        if not is_number(time):
            raise TypeError(f"{name} of a TimeSet must be a number or None, got {brief(time)}")
        if not (times.lower <= time <= times.upper and abs(time) < inf):
            raise ValueError(
                f"{name} of a TimeSet must be a finite time in [{times.lower:g}, "
                f"{times.upper:g}], got {time}"
            )
    if times.start is None and times.end is None:
        return
    firsts = [times.lower, times.upper] if times.start is None else [times.start]
    lasts = [times.lower, times.upper] if times.end is None else [times.end]
    spans = [last - first for first in firsts for last in lasts]
    onwards = times.forward and max(spans) > 0
    back = times.backward and min(spans) < 0
    fixed = times.start is not None and times.end is not None
    if not (onwards or back) or (fixed and abs(spans[0]) > times.max_span):
        raise ValueError(
            f"a TimeSet must hold a pair s != t, got {times}, which holds none; change start, end, "
            "the directions or max_span"
        )


def _to_single(time: float) -> float:
    """Return a time rounded to float32, at most its largest number."""
    return float(np.float32(min(max(time, -_LARGEST), _LARGEST)))


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

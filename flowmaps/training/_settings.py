"""The settings of a run, checked once."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from flowmaps._checks import as_count, brief, is_number
from flowmaps.training._guard import Guard
from flowmaps.training._optimizers import OptimizerFactory
from flowmaps.training._schedules import Schedule, named_schedule
from flowmaps.training._target import Decay, decay_at

__all__ = ["Settings", "as_real"]

_COUNTS = {"steps": 1, "batch": 1, "warmup": 0, "seed": 0, "keep_every": 1}
"""Whole numbers and the least that each may be."""
_REALS: dict[str, tuple[Callable[[float], bool], str]] = {
    "seconds": (lambda value: 0 < value < math.inf, "positive and finite"),
    "learning_rate": (lambda value: 0 < value < math.inf, "positive and finite"),
    "ema": (lambda value: 0 <= value < 1, "in [0, 1), or None for the last weights"),
    "clip": (lambda value: value > 0, "positive, or None for no limit"),
}
"""Real numbers, what each must be, and how that is said."""
_OPTIONAL = ("steps", "seconds", "ema", "clip")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda value: isinstance(value, str) or callable(value), "a name or a factory"),
    "compile": (lambda value: isinstance(value, bool | str), "True, False or a backend's name"),
    "guard": (lambda value: isinstance(value, Guard), "an fm.training.Guard"),
}
"""Everything else, and how it is said what it must be."""


@dataclass(frozen=True)
class Settings:
    """What decides the weights that a run ends with; the arguments of ``fit`` by their names.

    Numbers of any kind, numpy's among them, become Python's.

    Raises:
        TypeError: for what is no number, or of another kind.
        ValueError: for numbers that make no run.
    """

    steps: int | None
    seconds: float | None
    batch: int
    optimizer: str | OptimizerFactory
    learning_rate: float
    schedule: str | Schedule
    warmup: int
    ema: float | None
    clip: float | None
    seed: int
    compile: bool | str
    guard: Guard
    keep_every: int
    target: Decay | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a map."""
        if self.steps is None and self.seconds is None:
            raise ValueError("give steps=, a number of updates, or seconds=, a budget of time")
        for name, least in _COUNTS.items():
            self._convert(name, lambda value, n=name, k=least: as_count(value, n, k))
        for name, (holds, words) in _REALS.items():
            self._convert(name, lambda value, n=name, h=holds, w=words: as_real(value, n, h, w))
        for name, (holds, words) in _KINDS.items():
            value = getattr(self, name)
            if not holds(value):
                raise TypeError(f"{name} must be {words}, got {brief(value)}")
        named_schedule(self.schedule)
        if self.target is not None:
            decay_at(self.target, 0.0)
        if self.seed >= 2**64:
            raise ValueError(f"seed must be less than 2**64, got {self.seed}")
        if self.steps is not None and self.warmup >= self.steps:
            raise ValueError(
                f"warmup must be in 0..{self.steps - 1}, shorter than the run, got {self.warmup}"
            )

    def _convert(self, name: str, convert: Callable[[Any], Any]) -> None:
        value = getattr(self, name)
        if value is not None or name not in _OPTIONAL:
            object.__setattr__(self, name, convert(value))

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them; functions by their names."""
        named = {field.name: _named(getattr(self, field.name)) for field in fields(self)}
        guard = {
            name: value if math.isfinite(value) else str(value)
            for name, value in asdict(self.guard).items()
        }
        if self.target is None:  # as in folders of runs from before there were targets
            del named["target"]
        return named | {"guard": guard, "clip": _finite(self.clip)}


def as_real(value: Any, name: str, holds: Callable[[float], bool], words: str) -> float:
    """Return a real number of any kind as a float.

    Args:
        value: the number.
        name: what to call it.
        holds: tells whether it will do.
        words: what it must be.

    Raises:
        TypeError: if it is no number.
        ValueError: if it will not do.
    """
    if not is_number(value):
        raise TypeError(f"{name} must be a number, {words}, got {brief(value)}")
    if not holds(float(value)):
        raise ValueError(f"{name} must be {words}, got {value}")
    return float(value)


def _finite(clip: float | None) -> float | str | None:
    return clip if clip is None or math.isfinite(clip) else str(clip)


def _named(value: Any) -> Any:
    if isinstance(value, Callable):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value

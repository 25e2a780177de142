"""The settings of a run, checked once."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from flowmaps.training._guard import Guard
from flowmaps.training._optimizers import OptimizerFactory
from flowmaps.training._schedules import Schedule

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What decides the weights that a run ends with; the arguments of ``fit`` by their names.

    Raises:
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

    def __post_init__(self) -> None:
        """Check what can be checked without a map."""
        if self.steps is None and self.seconds is None:
            raise ValueError("give steps=, a number of updates, or seconds=, a budget of time")
        for name in ("batch", "keep_every") + (() if self.steps is None else ("steps",)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in ("learning_rate",) + (() if self.seconds is None else ("seconds",)):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if self.warmup < 0:
            raise ValueError(f"warmup must not be negative, got {self.warmup}")
        if self.steps is not None:
            self.check_warmup(self.steps)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or None for no limit, got {self.clip}")

    def check_warmup(self, steps: int) -> None:
        """Raise ValueError unless the warm-up is shorter than the run."""
        if self.warmup >= steps:
            raise ValueError(
                f"warmup must be in 0..{steps - 1}, shorter than the run, got {self.warmup}"
            )

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them; functions by their names."""
        named = {field.name: _named(getattr(self, field.name)) for field in fields(self)}
        guard = {
            name: value if math.isfinite(value) else str(value)
            for name, value in asdict(self.guard).items()
        }
        return named | {"guard": guard}


def _named(value: Any) -> Any:
    if isinstance(value, Callable):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value

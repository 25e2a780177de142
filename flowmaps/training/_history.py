"""What a run leaves behind: numbers by step, read from the device many at a time."""

import math
import statistics
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

__all__ = ["History", "NotFinite", "Recorder"]

_LEAST_SCALE = 1e-3
"""A first loss nearer to 0 than this is no unit to measure a rise in: a warm start's, say."""


@dataclass
class History:
    """Numbers of a run, one entry a logged step in every list.

    Args:
        step: number of the step, from 0.
        loss: total loss on the step's draw, before its update.
        parts: by name, the objective's parts; NaN at steps that had no such part.
        gradient_norm: norm of the whole gradient, before clipping.
        learning_rate: of the step.
        seconds: since the start of the run, breaks left out, when the step had been issued.

    Example:
        >>> import flowmaps as fm
        >>> history = fm.training.History(step=[0, 10], loss=[1.0, 0.5])
        >>> dict(zip(history.step, history.loss))
        {0: 1.0, 10: 0.5}
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, record: dict[str, Any]) -> None:
        """Append the numbers of a step."""
        for name in ("step", "loss", "gradient_norm", "learning_rate", "seconds"):
            getattr(self, name).append(record[name])
        for name in {**self.parts, **record["parts"]}:
            part = self.parts.setdefault(name, [math.nan] * (len(self.step) - 1))
            part.append(record["parts"].get(name, math.nan))

    def cut(self, step: int) -> None:
        """Forget this step and all after it."""
        kept = sum(number < step for number in self.step)
        lists = (self.step, self.loss, self.gradient_norm, self.learning_rate, self.seconds)
        for numbers in (*lists, *self.parts.values()):
            del numbers[kept:]


@dataclass(frozen=True)
class NotFinite:
    """The first step whose loss or gradient is not finite, and what it was."""

    step: int
    what: str


class Recorder:
    """Collects a run's numbers and checks them, one synchronisation for many steps.

    Args:
        window: steps between readings; 1 reads every step before its update.
        every: steps between the records that are kept.
        last: number of the last step, always kept.
    """

    def __init__(self, window: int, every: int, last: int):
        self.window, self.every, self.last = window, every, last
        self.history = History()
        self.fresh: list[dict[str, Any]] = []
        self.recent: list[float] = []
        self.first: float | None = None
        self._waiting: list[tuple[int, float, float, tuple[str, ...], Tensor]] = []

    @property
    def full(self) -> bool:
        """Whether it is time to read."""
        return len(self._waiting) >= self.window

    def add(
        self,
        step: int,
        loss: Tensor,
        gradient_norm: Tensor,
        parts: dict[str, Tensor],
        learning_rate: float,
        seconds: float,
    ) -> None:
        """Take in a step, without reading it."""
        numbers = [loss.detach(), gradient_norm.detach(), *parts.values()]
        stacked = torch.stack([number.double() for number in numbers])
        self._waiting.append((step, learning_rate, seconds, tuple(parts), stacked))

    def read(self) -> NotFinite | None:
        """Read what waits; return the first step that is not finite, which is not kept."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return None
        # Steps may differ in their parts: one list for all, each takes its own off the front.
        values = iter(torch.cat([row[-1] for row in waiting]).tolist())
        for step, rate, seconds, names, numbers in waiting:
            loss, norm, *parts = islice(values, len(numbers))
            if not (math.isfinite(loss) and math.isfinite(norm)):
                bad = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
                return NotFinite(step, f"the {bad} at step {step} (learning rate {rate:.3g})")
            self.recent.append(loss)
            self.first = loss if self.first is None else self.first
            if step % self.every == 0 or step == self.last:
                record = {"step": step, "loss": loss, "parts": dict(zip(names, parts, strict=True))}
                record |= {"gradient_norm": norm, "learning_rate": rate, "seconds": seconds}
                self.history.add(record)
                self.fresh.append(record)
        return None

    def explosion(self, factor: float) -> str | None:
        """Tell whether the recent losses have risen too far above the run's first loss.

        Args:
            factor: the rise of their median that is too far, in units of the first loss's size.

        Returns:
            Their median against the first loss, in words; None if all is well.
        """
        if not self.recent or self.first is None:
            return None
        median = statistics.median(self.recent)
        if median - self.first <= factor * max(abs(self.first), _LEAST_SCALE):
            return None
        return f"{median:.1e}, against {self.first:.1e} at first"

    def restart(self, step: int) -> None:
        """Forget what waits and everything from this step on."""
        self._waiting.clear()
        self.recent.clear()
        self.history.cut(step)
        self.fresh = [record for record in self.fresh if record["step"] < step]

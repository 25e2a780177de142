"""What a run leaves behind: numbers by step, and the check that they are finite."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flowmaps.errors import TrainingError

__all__ = ["History", "Recorder"]


@dataclass
class History:
    """Numbers of a run, one entry a step in every list.

    Args:
        step: number of the step, from 0.
        loss: total loss on the step's draw, before its update.
        parts: by name, the objective's parts.
        gradient_norm: norm of the whole gradient, before clipping.
        learning_rate: of the step.
        seconds: since the start, when the step had been issued.
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=dict)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Recorder:
    """Collects a run's numbers, read from the device in one synchronisation for many steps.

    Args:
        every: steps between readings; 1 checks every step before its update.
    """

    def __init__(self, every: int):
        self.every = every
        self.history = History()
        self._waiting: list[Tensor] = []

    def add(
        self,
        step: int,
        loss: Tensor,
        gradient_norm: Tensor,
        parts: dict[str, Tensor],
        learning_rate: float,
        seconds: float,
    ) -> None:
        """Take in a step; read and check what waits when it is time.

        Raises:
            TrainingError: if a loss or a gradient is not finite; names the first such step.
        """
        numbers = [loss.detach(), gradient_norm.detach(), *parts.values()]
        self._waiting.append(torch.stack([number.double() for number in numbers]))
        self.history.step.append(step)
        self.history.learning_rate.append(learning_rate)
        self.history.seconds.append(seconds)
        self._names = tuple(parts)
        if len(self._waiting) >= self.every:
            self.flush()

    def flush(self) -> None:
        """Read everything that waits; raise TrainingError if a number is not finite."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        history = self.history
        for loss, norm, *parts in torch.stack(waiting).tolist():
            self._refuse_non_finite(len(history.loss), loss, norm)
            history.loss.append(loss)
            history.gradient_norm.append(norm)
            for name, part in zip(self._names, parts, strict=True):
                history.parts.setdefault(name, []).append(part)

    def _refuse_non_finite(self, row: int, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm}"
        history = self.history
        rate = history.learning_rate[row]
        last = history.loss[-1] if history.loss else "none"
        raise TrainingError(
            f"the {what} at step {history.step[row]} (learning rate {rate:.3g}, last finite loss "
            f"{last}); lower learning_rate, lengthen warmup or set clip, and check that data and "
            "field are finite"
        )

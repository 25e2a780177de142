"""What a callback is told after a step, and how it ends a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from flowmaps.maps import FlowMap
from flowmaps.objectives import Loss
from flowmaps.training._ema import Average

__all__ = ["StepReport", "StopTraining", "kept_modes"]


class StopTraining(Exception):
    """Raised by a callback to end the run after this step, as if it had been the last.

    The averaged weights are left in the map, and the map is saved; ``FitResult.cut_short`` is true,
    and the run counts as finished when it is resumed.

    Example:
        >>> import torch, flowmaps as fm
        >>> def patient(report):
        ...     if report.step == 2:
        ...         raise fm.training.StopTraining
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> data = fm.objectives.Pairs(None, torch.zeros(8, 1))
        >>> result = fm.training.fit(
        ...     learned, fm.objectives.lsd(), data, steps=9, batch=4, callback=patient
        ... )
        >>> len(result.history.step), result.cut_short
        (3, True)
    """


@dataclass(frozen=True)
class StepReport:
    """What a callback is told after a step.

    A callback may evaluate the map and change its mode; training goes on in the mode it was in.

    Args:
        step: number of the step, from 0.
        steps: how many there will be.
        loss: on the step's draw, before its update; tensors on the device.
        learning_rate: of the step.
        learned: the map in training, with its live weights, in training mode.
        average: of its weights; see ``averaged``.

    Example:
        >>> import torch, flowmaps as fm
        >>> def watch(report):
        ...     with report.averaged() as learned:
        ...         print(report.step, learned.training, learned(0.0, 1.0, torch.zeros(1, 1)).shape)
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> data = fm.objectives.Pairs(None, torch.zeros(8, 1))
        >>> result = fm.training.fit(
        ...     learned, fm.objectives.lsd(), data, steps=1, batch=4, callback=watch
        ... )
        0 False torch.Size([1, 1])
    """

    step: int
    steps: int
    loss: Loss
    learning_rate: float
    learned: FlowMap
    average: Average = field(repr=False)

    @contextmanager
    def averaged(self) -> Iterator[FlowMap]:
        """Lend the map with its averaged weights, in eval mode and without gradients.

        Afterwards its live weights and its mode are as they were, bit for bit.
        """
        live = [parameter.detach().clone() for parameter in self.learned.parameters()]
        with kept_modes(self.learned), torch.no_grad():
            try:
                self.average.apply()
                yield self.learned.eval()
            finally:
                for parameter, value in zip(self.learned.parameters(), live, strict=True):
                    parameter.copy_(value)


@contextmanager
def kept_modes(*modules: nn.Module) -> Iterator[None]:
    """Put every part back into the mode, training or evaluation, that it was in."""
    parts = [part for module in modules for part in module.modules()]
    modes = [part.training for part in parts]
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode

"""One step down the gradient, and what it changes."""

from typing import Any

import torch
from torch import Tensor, nn

from flowmaps.maps import FlowMap
from flowmaps.objectives import Draw, Loss, Objective
from flowmaps.training._compiling import compiled
from flowmaps.training._ema import Average
from flowmaps.training._optimizers import make_optimizer
from flowmaps.training._seeds import step_seed
from flowmaps.training._settings import Settings
from flowmaps.training._state import TrainingState, running_buffers
from flowmaps.training._target import Target

__all__ = ["Descent"]


class Descent:
    """The loss of a map, the optimiser that follows its gradient, and the average behind it.

    Args:
        learned, objective: as in ``fit``.
        settings: of the run.
    """

    def __init__(self, learned: FlowMap, objective: Objective, settings: Settings):
        self.learned, self.objective, self.settings = learned, objective, settings
        parameters = [*learned.parameters(), *objective.parameters()]
        self.update = make_optimizer(settings.optimizer, parameters, settings.learning_rate)
        self.device = parameters[0].device
        objective.to(self.device)
        self.peaks = [float(group["lr"]) for group in self.update.param_groups]
        """Learning rates of the optimiser's groups before any schedule."""
        self.average = Average(learned, settings.ema or 0.0)
        self.target = None if settings.target is None else Target(learned, settings.target)
        self.state = TrainingState(learned, objective, self.update, self.average, self.target)
        target = None if self.target is None else self.target.map
        self.evaluate = compiled(
            lambda draw: objective(learned, draw, target=target), settings.compile
        )

    def loss_and_gradient(self, step: int, draw: Draw) -> tuple[Loss, Tensor]:
        """Fill in the clipped gradient of a step; return the loss and the norm before clipping."""
        self._seed(step)
        loss = self.evaluate(draw)
        self.update.zero_grad(set_to_none=True)
        loss.total.backward()
        trained = [p for group in self.update.param_groups for p in group["params"]]
        clip = float("inf") if self.settings.clip is None else self.settings.clip
        return loss, nn.utils.clip_grad_norm_(trained, clip)

    def advance(self, factor: float, progress: float) -> None:
        """Update weights, average and target; a group's rate is its peak times the factor."""
        for group, peak in zip(self.update.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.update.step()
        self.average.update()
        if self.target is not None:
            self.target.update(progress)

    def running(self) -> dict[str, Tensor]:
        """Return copies of what evaluation itself may change, such as the statistics of a norm."""
        return {k: v.clone() for k, v in running_buffers(self.learned, self.objective).items()}

    @torch.no_grad()
    def put_back(self, running: dict[str, Tensor]) -> None:
        """Undo what evaluation has changed."""
        for name, buffer in running_buffers(self.learned, self.objective).items():
            if name in running:
                buffer.copy_(running[name])

    def is_finite(self) -> bool:
        """Tell whether all weights, and their averages, are finite; waits for the device."""
        weights: list[Any] = [p for group in self.update.param_groups for p in group["params"]]
        weights += self.average.state_dict()["mean"]
        weights += [] if self.target is None else self.target.means()
        return bool(torch.stack([torch.isfinite(w).all() for w in weights]).all())

    def still_answers(self, step: int, draw: Draw) -> bool:
        """Tell whether the loss of a step, finite once, is finite with the weights of now."""
        running = self.running()
        self._seed(step)
        finite = bool(torch.isfinite(self.evaluate(draw).total))
        self.put_back(running)
        return finite

    def _seed(self, step: int) -> None:
        torch.manual_seed(step_seed(self.settings.seed, step, stream=1))  # dropout's masks

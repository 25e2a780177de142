"""A recipe: a run as data, with the same code behind the command line, the demo and a script."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from flowmaps.maps import FlowMap
from flowmaps.objectives import Objective
from flowmaps.training._engine import FitResult, fit

__all__ = ["Recipe", "Trained"]


@dataclass(frozen=True)
class Trained:
    """What a recipe has made.

    Args:
        flow_map: for use: the learned map, wrapped as the recipe says.
        result: of the run.

    Example:
        >>> import flowmaps as fm
        >>> recipe = fm.generative.CheckerboardRecipe(steps=2, width=8, depth=1, samples=100)
        >>> trained = recipe.train(progress=False)
        >>> trained.flow_map.training, trained.result.steps
        (False, 2)
    """

    flow_map: FlowMap
    result: FitResult


@dataclass(frozen=True)
class Recipe(ABC):
    """What is learned, from what, and how; a subclass is a frozen dataclass of numbers.

    Args:
        steps: updates.
        seed: of weights and draws.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Zero(fm.training.Recipe):
        ...     name = "zero"
        ...     def build(self):
        ...         return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        ...     def objective(self):
        ...         return fm.objectives.lsd()
        ...     def source(self):
        ...         return fm.objectives.Pairs(None, torch.zeros(8, 1))
        ...     def settings(self):
        ...         return {"batch": 4}
        >>> Zero(steps=3).train(progress=False).result.steps
        3
    """

    name: ClassVar[str]
    """How the command line calls it."""

    steps: int = 1000
    seed: int = 0

    @abstractmethod
    def build(self) -> FlowMap:
        """Return the map in training, its weights as torch's global generator draws them."""

    @abstractmethod
    def objective(self) -> Objective:
        """Return what is minimised."""

    @abstractmethod
    def source(self) -> Any:
        """Return where draws come from."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the arguments of ``fit`` beside steps, seed and folder."""

    def finish(self, learned: FlowMap) -> FlowMap:
        """Return the map for use, made of the learned one."""
        return learned

    def train(
        self,
        folder: str | Path | None = None,
        *,
        seconds: float | None = None,
        device: str | torch.device = "cpu",
        resume: bool = False,
        overwrite: bool = False,
        progress: bool = True,
    ) -> Trained:
        """Train from nothing, or go on; the caller's random numbers stay as they are.

        Args:
            folder: of the run; None writes nothing.
            seconds: a budget of time instead of the recipe's number of steps.
            device: to train on.
            resume, overwrite, progress: as in ``fit``.

        Raises:
            as ``fit``.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            learned = self.build().to(device)
        settings = self.settings()
        if seconds is None:
            settings["warmup"] = min(settings.get("warmup", 0), self.steps // 4)
        result = fit(
            learned,
            self.objective(),
            self.source(),
            steps=self.steps if seconds is None else None,
            seconds=seconds,
            seed=self.seed,
            folder=folder,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            about={"recipe": self.name, "fields": asdict(self)},
            **settings,
        )
        return Trained(self.finish(learned).eval(), result)  # eval: the wrapper too

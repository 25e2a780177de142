"""How laws in the plane are learned."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from flowmaps.generative._plane import checkerboard
from flowmaps.interpolants import Linear
from flowmaps.maps import FlowMap, NeuralFlowMap
from flowmaps.networks import MLP
from flowmaps.objectives import Objective, Pairs, lsd
from flowmaps.training import Recipe

__all__ = ["CheckerboardRecipe"]


@dataclass(frozen=True)
class CheckerboardRecipe(Recipe):
    """A 4x4 checkerboard by Lagrangian self-distillation, pre-trained on the diagonal.

    Args:
        steps: updates.
        seed: of weights, draws and data.
        width, depth: of the residual multilayer perceptron.
        pretrain: fraction of the steps that do flow matching alone.
        batch: rows of a draw.
        samples: size of the data set.

    Example:
        >>> import flowmaps as fm
        >>> recipe = fm.generative.CheckerboardRecipe(steps=2, width=16, depth=1)
        >>> recipe.train(progress=False).flow_map.times.upper
        1.0
    """

    name: ClassVar[str] = "checkerboard"

    steps: int = 6000
    width: int = 192
    depth: int = 3
    pretrain: float = 0.5
    batch: int = 1024
    samples: int = 500_000

    def build(self) -> FlowMap:
        """Return a multilayer perceptron's flow map; see Recipe."""
        return NeuralFlowMap(MLP(dim=2, width=self.width, depth=self.depth, residual=True))

    def objective(self) -> Objective:
        """Return self-distillation on the linear interpolant; see Recipe."""
        return lsd(Linear(), pretrain=self.pretrain)

    def source(self) -> Pairs:
        """Return samples of the board, and noise; see Recipe."""
        return Pairs(None, checkerboard(self.samples, torch.Generator().manual_seed(self.seed)))

    def settings(self) -> dict[str, Any]:
        """Return the arguments of fit; see Recipe."""
        return {
            "batch": self.batch,
            "learning_rate": 2e-3,
            "warmup": 100,
            "ema": 0.995,
            "compile": "aot_eager",
        }

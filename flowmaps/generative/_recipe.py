"""How the digits are learned."""

from dataclasses import dataclass

import torch

from flowmaps.generative._digits import Digits
from flowmaps.interpolants import Linear
from flowmaps.maps import NeuralFlowMap
from flowmaps.networks import MLP
from flowmaps.objectives import Pairs, flow_matching, lsd
from flowmaps.training import FitResult, fit

__all__ = ["DigitsRecipe"]


@dataclass(frozen=True)
class DigitsRecipe:
    """Class-conditional 8x8 digits: flow matching, then Lagrangian self-distillation.

    Args:
        width, depth: of the residual multilayer perceptron.
        embedding: size of the embedding of times and class.
        matching_steps: updates of flow matching.
        distillation_steps: updates of self-distillation.
        batch: rows of a draw.
        seed: of weights and draws.

    Example:
        >>> import flowmaps as fm
        >>> recipe = fm.generative.DigitsRecipe(32, 1, matching_steps=2, distillation_steps=2)
        >>> learned = recipe.train(fm.generative.load_digits(), progress=False)[-1].learned
        >>> learned.times.upper
        1.0
    """

    width: int = 384
    depth: int = 3
    embedding: int = 96
    matching_steps: int = 1000
    distillation_steps: int = 600
    batch: int = 256
    seed: int = 0

    def train(self, digits: Digits, progress: bool = True) -> list[FitResult]:
        """Train from nothing; return the outcome of both stages, the last with the finished map."""
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(self.seed)
            network = MLP(
                64, self.width, self.depth, classes=10, residual=True, embedding=self.embedding
            )
        learned = NeuralFlowMap(network)
        source = Pairs(None, digits.train, digits.train_labels)
        interpolant = Linear()
        stages = [
            (flow_matching(interpolant), self.matching_steps, 2e-3),
            (lsd(interpolant), self.distillation_steps, 1e-3),
        ]
        return [
            fit(
                learned,
                objective,
                source,
                steps=steps,
                batch=self.batch,
                learning_rate=rate,
                ema=0.995,
                warmup=min(50, steps // 2),
                seed=len(stages) * self.seed + stage,  # stages of other seeds draw other numbers
                progress=progress,
                compile="aot_eager",
            )
            for stage, (objective, steps, rate) in enumerate(stages)
        ]

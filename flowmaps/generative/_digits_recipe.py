"""How the digits are learned."""

from dataclasses import dataclass
from typing import Any, ClassVar

from flowmaps.generative._digits import load_digits
from flowmaps.interpolants import Trigonometric
from flowmaps.maps import FlowMap, NeuralFlowMap
from flowmaps.networks import UNet
from flowmaps.objectives import Objective, Pairs, lsd
from flowmaps.training import Recipe

__all__ = ["DigitsRecipe"]


@dataclass(frozen=True)
class DigitsRecipe(Recipe):
    """Class-conditional 8x8 digits by Lagrangian self-distillation, pre-trained on the diagonal.

    Args:
        steps: updates.
        seed: of weights and draws.
        width: channels of the U-Net at full resolution; twice as many at half of it.
        pretrain: fraction of the steps that do flow matching alone.
        batch: rows of a draw.

    Example:
        >>> import flowmaps as fm
        >>> recipe = fm.generative.DigitsRecipe(steps=2, width=8)
        >>> recipe.train(progress=False).flow_map.times.upper
        1.0
    """

    name: ClassVar[str] = "digits"

    steps: int = 1200
    width: int = 24
    pretrain: float = 0.5
    batch: int = 128

    def build(self) -> FlowMap:
        """Return a U-Net's flow map; see Recipe."""
        network = UNet((1, 8, 8), width=self.width, multipliers=(1, 2), blocks=1, classes=10)
        return NeuralFlowMap(network)

    def objective(self) -> Objective:
        """Return self-distillation on the trigonometric interpolant; see Recipe."""
        return lsd(Trigonometric(), pretrain=self.pretrain)

    def source(self) -> Pairs:
        """Return the training digits with their classes, and noise; see Recipe."""
        digits = load_digits()
        return Pairs(None, digits.train, digits.train_labels)

    def settings(self) -> dict[str, Any]:
        """Return the arguments of fit; see Recipe."""
        return {
            "batch": self.batch,
            "learning_rate": 4e-3,
            "warmup": 50,
            "ema": 0.99,
            "compile": "aot_eager",
        }

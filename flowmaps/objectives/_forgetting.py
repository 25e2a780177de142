"""Condition dropout: some rows of a draw forget their condition."""

from dataclasses import replace
from typing import Any, final

import torch

from flowmaps._checks import brief, is_number
from flowmaps.fields import forgotten
from flowmaps.objectives._draw import Draw

__all__ = ["Forgetting"]


@final
class Forgetting:
    """Every row forgets its condition with a given chance, for classifier-free guidance.

    Args:
        share: chance of every row, in [0, 1].
        empty: what the condition is then: a value for every row, or a pytree of them like the
            condition.

    Raises:
        TypeError, ValueError: for a share that is no number in [0, 1].

    Source:
        Ho and Salimans (2022), arXiv:2207.12598, algorithm 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> o = fm.objectives
        >>> labels = torch.ones(4, dtype=torch.long)
        >>> draw = o.Draw(torch.zeros(4), torch.ones(4), torch.zeros(4, 1), condition=labels)
        >>> o.Forgetting(1.0, empty=10)(draw).condition.tolist()
        [10, 10, 10, 10]
    """

    def __init__(self, share: float, empty: Any):
        if not is_number(share):
            raise TypeError(f"share must be a number, got {brief(share)}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share}")
        self.share, self.empty = float(share), empty

    def __call__(self, draw: Draw, generator: torch.Generator | None = None) -> Draw:
        """Return the draw with some conditions forgotten.

        Raises:
            ValueError: for a draw without a condition.
        """
        if draw.condition is None:
            raise ValueError("forgetting asks for a condition; give it to the source of the draw")
        chances = torch.rand(len(draw), generator=generator, dtype=torch.float64, device="cpu")
        drop = (chances < self.share).to(draw.points.device)
        return replace(draw, condition=forgotten(draw.condition, drop, self.empty))

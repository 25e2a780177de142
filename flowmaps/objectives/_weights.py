"""Weights of rows: learned with the map, or by the length of a step."""

import math
from typing import final

import torch
from torch import Tensor, nn

from flowmaps._checks import as_count, as_positive, brief, is_number
from flowmaps.objectives._draw import Draw

__all__ = ["LearnedWeight", "StepWeight"]


@final
class LearnedWeight(nn.Module):
    """w_{s,t}, learned with the map: the loss L of a row becomes e^{-w} L + w.

    At its minimum e^w is the mean loss at (s, t), so every pair of times weighs alike. Starts at
    w = 0, which changes nothing. Its parameters are the objective's and are trained by ``fit``.

    Args:
        width: of the one hidden layer.
        frequencies: how many octaves of sines and cosines of s and t it sees.
        scale: length of the times' interval.

    Raises:
        TypeError, ValueError: for counts that are none, or a scale that is not positive.

    Source:
        Karras et al. (2023), arXiv:2312.02696, equations 14 to 16; Boffi, Albergo and
        Vanden-Eijnden (2025), arXiv:2505.18825, for two times.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.objectives.LearnedWeight()(torch.zeros(2), torch.ones(2)).tolist()
        [0.0, 0.0]
    """

    octaves: Tensor

    def __init__(self, width: int = 64, frequencies: int = 4, scale: float = 1.0):
        super().__init__()
        count, self.scale = as_count(frequencies, "frequencies"), as_positive(scale, "scale")
        self.register_buffer("octaves", math.pi * 2.0 ** torch.arange(count), persistent=False)
        self.hidden = nn.Linear(4 * count, as_count(width, "width"))
        self.last = nn.Linear(self.hidden.out_features, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        """Return w (rows,) at times (rows,), in the weights' dtype."""
        times = torch.stack([s, t], 1).to(self.hidden.weight) / self.scale
        phase = (times[:, :, None] * self.octaves.to(times)).flatten(1)
        features = torch.cat([phase.sin(), phase.cos()], 1)
        return self.last(nn.functional.silu(self.hidden(features)))[:, 0]


@final
class StepWeight:
    """|u - s|^(-power): by the length of the step from the start to the middle time.

    A finite difference over a step is of the step's own size: power 2 makes a derivative's square
    of it, power 1 is what consistency training takes.

    Args:
        power: 0 for no weight.

    Raises:
        TypeError: for what is no number.

    Source:
        Song and Dhariwal (2023), arXiv:2310.14189, section 3.1, power 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> zero = torch.zeros(1)
        >>> draw = fm.objectives.Draw(zero, zero + 1, torch.zeros(1, 2), u=zero + 0.5)
        >>> fm.objectives.StepWeight(1).of(draw).tolist()
        [2.0]
    """

    def __init__(self, power: float = 1.0):
        if not is_number(power):
            raise TypeError(f"power must be a number, got {brief(power)}")
        self.power = float(power)

    def of(self, draw: Draw) -> Tensor:
        """Return the weight of every row of a draw (rows,); zero for a step of length zero.

        Raises:
            ValueError: for a draw without middle times.
        """
        if draw.u is None:
            raise ValueError(
                "a StepWeight asks for middle times u; give the objective a law of them"
            )
        step = (draw.u - draw.s).abs()
        rests = step == 0
        return torch.where(rests, 0.0, torch.where(rests, 1.0, step) ** -self.power)

"""What a network sees of times, states and conditions, in the inputs' own precision."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowmaps._checks import as_positive
from flowmaps.networks._constants import Constants, wide
from flowmaps.networks._dual import Dual

__all__ = ["ClassFeatures", "StateFeatures", "Waves"]


class Waves(nn.Module):
    """Features of one length of time u, all zero at u = 0: u, sin(pi f u) and cos(pi f u) - 1.

    A length of time is a start time s, or a span t - s. High frequencies in the span make the
    derivative in t rough, which self-distillation then has to fit: keep them low.

    Args:
        frequencies: half turns f per ``scale``; empty for u alone.
        scale: the length of time that counts as one.

    Raises:
        TypeError, ValueError: for frequencies or a scale that are not positive, finite numbers.

    Example:
        >>> import torch
        >>> torch.round(Waves((1.0,), 1.0)(torch.tensor([0.0, 0.5, 1.0]))).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [1.0, -0.0, -2.0]]
    """

    def __init__(self, frequencies: Sequence[float], scale: float):
        super().__init__()
        self.frequencies = Constants(
            [as_positive(f, f"frequencies[{i}]") for i, f in enumerate(frequencies)]
        )
        self.scale = as_positive(scale, "time_scale")
        self.size = 1 + 2 * len(frequencies)

    def forward(self, u: Tensor) -> Tensor:
        """Return features (batch, size) of u (batch,) in its dtype."""
        plain = u[:, None] / self.scale
        phase = math.pi * plain * self.frequencies(plain.dtype)
        return torch.cat([plain, torch.sin(phase), torch.cos(phase) - 1], dim=1)

    def dual(self, u: Dual) -> Dual:
        """Return features and their tangent (batch, size) of u and its tangent (batch,)."""
        plain, rate = (part[:, None] / self.scale for part in u)
        turns = math.pi * self.frequencies(plain.dtype)
        sine, cosine, turn = torch.sin(plain * turns), torch.cos(plain * turns), rate * turns
        return (
            torch.cat([plain, sine, cosine - 1], dim=1),
            torch.cat([rate, cosine * turn, -sine * turn], dim=1),
        )


class StateFeatures(nn.Module):
    """Features of a state: coordinates shifted and scaled, angles as cosine and sine.

    Args:
        dim: number of coordinates.
        angles: indices of coordinates with period 2 pi; shift and scale do not apply to them.
        shift, scale: dim numbers each; a coordinate enters as (x - shift) / scale.

    Example:
        >>> import torch
        >>> StateFeatures(2, (0,), [0.0, 0.0], [1.0, 1.0])(torch.zeros(1, 2)).tolist()
        [[0.0, 1.0, 0.0]]
    """

    lines: Tensor
    angles: Tensor

    def __init__(
        self, dim: int, angles: Sequence[int], shift: Sequence[float], scale: Sequence[float]
    ):
        super().__init__()
        lines = [i for i in range(dim) if i not in angles]
        for name, indices in (("lines", lines), ("angles", list(angles))):
            self.register_buffer(name, torch.tensor(indices, dtype=torch.long), persistent=False)
        self.shift = Constants([shift[i] for i in lines])
        self.scale = Constants([scale[i] for i in lines])
        self.size = dim + len(angles)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (batch, size) of x (batch, dim), in float32 or better."""
        x = x.to(wide(x))
        if self.angles.numel() == 0:
            return self._in_units(x)
        turn = x.index_select(1, self.angles)
        line = self._in_units(x.index_select(1, self.lines))
        return torch.cat([line, torch.cos(turn), torch.sin(turn)], dim=1)

    def dual(self, x: Tensor, dx: Tensor) -> Dual:
        """Return features and their tangent (batch, size) of x and its tangent (batch, dim)."""
        value, slope = self(x), dx.to(wide(x))
        if self.angles.numel() == 0:
            return value, slope / self.scale(slope.dtype)
        turn = x.to(wide(x)).index_select(1, self.angles)
        change = slope.index_select(1, self.angles)
        line = slope.index_select(1, self.lines) / self.scale(slope.dtype)
        parts = [line, -torch.sin(turn) * change, torch.cos(turn) * change]
        return value, torch.cat(parts, dim=1)

    def _in_units(self, x: Tensor) -> Tensor:
        return (x - self.shift(x.dtype)) / self.scale(x.dtype)


class ClassFeatures(nn.Module):
    """A learned vector for every class, and one more for "no class", the label -1.

    Raises:
        IndexError: for another label, on the CPU and outside of compiled code.

    Example:
        >>> import torch
        >>> ClassFeatures(10, 16)(torch.tensor([3, -1])).shape
        torch.Size([2, 16])
    """

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.classes = classes
        self.size = size
        self.table = nn.Embedding(classes + 1, size)

    def forward(self, label: Tensor) -> Tensor:
        """Return vectors (batch, size) of integer labels (batch,)."""
        # "No class" is row 0, so that every label but -1 and 0..K-1 falls outside, where the lookup
        # refuses it.
        if torch.compiler.is_compiling():
            return self.table(label.long() + 1)
        try:
            return self.table(label.long() + 1)
        except IndexError as error:
            raise IndexError(
                f"class labels must be in 0..{self.classes - 1}, or -1 for no class; "
                "look for others among them"
            ) from error

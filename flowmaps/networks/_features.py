"""What a network sees of times, states and conditions, in the inputs' own precision."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ClassFeatures", "StateFeatures", "TimeFeatures", "Waves"]


class TimeFeatures(nn.Module):
    """Features of the end time t and the span t - s: both as they are, and their sines and cosines.

    The span is a feature of its own so that the diagonal s = t, where a learned map meets its
    field, is one value for all t. High frequencies make the derivative in t rough, which
    self-distillation then has to fit: keep them low.

    Args:
        frequencies: half turns per ``scale``; sines and cosines of pi f t / scale. Empty for none.
        scale: the length of time that counts as one.

    Example:
        >>> import torch
        >>> TimeFeatures((1.0, 2.0), 1.0)(torch.zeros(5), torch.ones(5)).shape
        torch.Size([5, 10])
    """

    frequencies: Tensor

    def __init__(self, frequencies: Sequence[float], scale: float):
        super().__init__()
        self.register_buffer("frequencies", torch.tensor(list(frequencies)), persistent=False)
        self.scale = scale
        self.size = 2 + 4 * len(frequencies)

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        """Return features (batch, size) of s, t (batch,) in their dtype."""
        plain = torch.stack([t, t - s], dim=1) / self.scale
        phase = (math.pi * plain[:, :, None] * self.frequencies.to(plain.dtype)).flatten(1)
        return torch.cat([plain, torch.sin(phase), torch.cos(phase)], dim=1)


class Waves(nn.Module):
    """Features of one length of time u, all zero at u = 0: u, sin(pi f u) and cos(pi f u) - 1.

    Args:
        frequencies: half turns f per ``scale``, as of ``TimeFeatures``.
        scale: the length of time that counts as one.

    Example:
        >>> import torch
        >>> torch.round(Waves((1.0,), 1.0)(torch.tensor([0.0, 0.5, 1.0]))).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [1.0, -0.0, -2.0]]
    """

    frequencies: Tensor

    def __init__(self, frequencies: Sequence[float], scale: float):
        super().__init__()
        self.register_buffer("frequencies", torch.tensor(list(frequencies)), persistent=False)
        self.scale = scale
        self.size = 1 + 2 * len(frequencies)

    def forward(self, u: Tensor) -> Tensor:
        """Return features (batch, size) of u (batch,) in its dtype."""
        plain = u[:, None] / self.scale
        phase = math.pi * plain * self.frequencies.to(plain.dtype)
        return torch.cat([plain, torch.sin(phase), torch.cos(phase) - 1], dim=1)


class StateFeatures(nn.Module):
    """Features of a state: coordinates shifted and scaled, angles as cosine and sine.

    Args:
        dim: number of coordinates.
        angles: indices of coordinates with period 2 pi; shift and scale do not apply to them.
        shift, scale: (dim,) each; a coordinate enters as (x - shift) / scale.

    Example:
        >>> import torch
        >>> StateFeatures(2, (0,), torch.zeros(2), torch.ones(2))(torch.zeros(1, 2)).tolist()
        [[0.0, 1.0, 0.0]]
    """

    shift: Tensor
    scale: Tensor
    lines: Tensor
    angles: Tensor

    def __init__(self, dim: int, angles: Sequence[int], shift: Tensor, scale: Tensor):
        super().__init__()
        lines = torch.tensor([i for i in range(dim) if i not in angles], dtype=torch.long)
        buffers = {"shift": shift[lines], "scale": scale[lines], "lines": lines}
        buffers["angles"] = torch.tensor(list(angles), dtype=torch.long)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        self.size = dim + len(angles)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (batch, size) of x (batch, dim)."""
        if self.angles.numel() == 0:
            return (x - self.shift) / self.scale
        turn = x.index_select(1, self.angles)
        line = (x.index_select(1, self.lines) - self.shift) / self.scale
        return torch.cat([line, torch.cos(turn), torch.sin(turn)], dim=1)


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

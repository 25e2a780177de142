"""Layers on feature maps (batch, channels, height, width), twice differentiable in forward mode."""

import torch
from torch import Tensor, nn

from flowmaps.networks._layers import normalised

__all__ = ["ChannelNorm", "convolution", "doubled", "halved"]


def convolution(inputs: int, outputs: int, size: int = 3, gain: float = 1.0) -> nn.Conv2d:
    """Return a convolution with normal weights of spread gain / sqrt(inputs size^2).

    It keeps height and width; beyond its edges the image is zero.
    """
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.normal_(layer.weight, std=gain / (inputs * size**2) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def halved(h: Tensor) -> Tensor:
    """Return the means over squares of two by two pixels."""
    batch, channels, height, width = h.shape
    return h.reshape(batch, channels, height // 2, 2, width // 2, 2).mean((3, 5))


def doubled(h: Tensor) -> Tensor:
    """Return every pixel as a square of two by two; the backward pass is a sum, not a scatter."""
    batch, channels, height, width = h.shape
    squares = h[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return squares.reshape(batch, channels, 2 * height, 2 * width)


class ChannelNorm(nn.Module):
    """Divide every pixel by its root mean square over channels and multiply by a learned weight.

    It takes no statistics over the image, unlike group normalisation, and so stays clear of the
    reductions that cost most of the time of a tangent.

    Example:
        >>> import torch
        >>> torch.round(ChannelNorm(2)(torch.full((1, 2, 1, 1), 3.0))).flatten().tolist()
        [1.0, 1.0]
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, h: Tensor) -> Tensor:
        """Return h at root mean square one over channels times the weight, in float32 or better."""
        return normalised(h, 1) * self.weight[:, None, None]

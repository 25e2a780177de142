"""Layers on feature maps (batch, channels, height, width), twice differentiable in forward mode."""

from torch import Tensor, nn

__all__ = ["convolution", "doubled", "halved"]


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

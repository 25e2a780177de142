"""Values and tangents side by side: the chain rule of the layers, written by hand.

Linear layers take the rows of both in one product, so that a tangent costs a larger batch and no
other kernels; everything is plain operations, which compile and take gradients like any others.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dual", "activated", "converted", "joined", "linear", "normalised", "product", "total"]

Dual = tuple[Tensor, Tensor]
"""A value and its tangent, of one shape."""


def linear(layer: nn.Linear, h: Dual) -> Dual:
    """Return W h + b and W dh, in one product."""
    value, tangent = F.linear(torch.cat(h), layer.weight).chunk(2)
    return (value if layer.bias is None else value + layer.bias), tangent


def activated(activation: Callable[[Tensor], Tensor], h: Dual) -> Dual:
    """Return an activation of h and its derivative times dh; ``tanh``, or else ``silu``."""
    value, tangent = h
    if activation is torch.tanh:
        image = torch.tanh(value)
        return image, (1 - image.square()) * tangent
    gate = torch.sigmoid(value)
    return value * gate, gate * (1 + value * (1 - gate)) * tangent


def normalised(h: Dual, axis: int, epsilon: float = 1e-6) -> Dual:
    """Return h at root mean square one along an axis, in float32 or better, and its tangent."""
    wide = torch.promote_types(h[0].dtype, torch.float32)
    value, tangent = h[0].to(wide), h[1].to(wide)
    inverse = torch.rsqrt(value.square().mean(axis, keepdim=True) + epsilon)
    image = value * inverse
    share = (image * tangent).mean(axis, keepdim=True)
    return image, inverse * (tangent - image * share)


def product(a: Dual, b: Dual) -> Dual:
    """Return a b and da b + a db."""
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1]


def total(a: Dual, b: Dual) -> Dual:
    """Return a + b and da + db."""
    return a[0] + b[0], a[1] + b[1]


def joined(parts: list[Dual]) -> Dual:
    """Return features side by side."""
    values, tangents = zip(*parts, strict=True)
    return torch.cat(values, dim=1), torch.cat(tangents, dim=1)


def converted(h: Dual, dtype: torch.dtype) -> Dual:
    """Return both in a dtype."""
    return h[0].to(dtype), h[1].to(dtype)

"""A convolutional U-Net of two times, an image and a condition."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from flowmaps._checks import as_count, check_state
from flowmaps._typing import Condition, Count
from flowmaps.networks._convolutions import convolution
from flowmaps.networks._embedding import Embedding
from flowmaps.networks._features import ClassFeatures, Waves
from flowmaps.networks._inputs import (
    as_condition_kind,
    as_config,
    as_sizes,
    check_times_and_precision,
    condition_features,
)
from flowmaps.networks._layers import RMSNorm, silu
from flowmaps.networks._levels import Level

__all__ = ["UNet"]


class UNet(nn.Module):
    """Convolutional U-Net ``net(s, t, x, condition)`` for images, whose last layer starts at zero.

    Residual blocks at falling and then rising resolution, the two joined level by level. An
    embedding of s, t - s and the condition modulates every block. The span enters by features that
    vanish at s = t, times weights that start at zero: a new network does not depend on it, flow
    matching leaves it so, and one trained by flow matching is the Euler step x + (t - s) b(s, x),
    from which self-distillation goes on. Weights may be bfloat16: times, their features, norms and
    the softmax of attention are still computed in float32 or better.

    Args:
        shape: channels, height and width of an image.
        width: channels of feature maps at full resolution.
        multipliers: for each level, each at half the resolution of the one before, the factor of
            its channels over ``width``.
        blocks: residual blocks of a level on the way down, and again on the way up.
        attention: heights of the feature maps whose blocks end with self-attention over pixels,
            such as (16,): its cost grows with the square of the pixels.
        heads: of the attention, a divisor of its channels.
        condition_dim: size of a continuous condition (batch, condition_dim); 0 for none.
        classes: number K of classes: the condition is integer labels (batch,) in 0..K-1, or -1 for
            "no class".
        frequencies: half turns per ``time_scale`` of the time features' sines and cosines; empty
            for none.
        time_scale: the length of time that counts as one, in the units of s and t.
        embedding: size of the embedding of times and condition; None for four times the width.

    Raises:
        TypeError: for sizes that are no whole numbers.
        ValueError: for a size, resolution or number of heads that makes no such network.

    Source:
        Ronneberger, Fischer and Brox (2015), arXiv:1505.04597, for the levels; Ho, Jain and Abbeel
        (2020), arXiv:2006.11239, appendix B, for residual blocks that see the time.

    Example:
        >>> import torch, flowmaps as fm
        >>> net = fm.networks.UNet((1, 8, 8), width=8, multipliers=(1, 2), blocks=1, classes=10)
        >>> s, t, x = torch.zeros(5), torch.ones(5), torch.randn(5, 1, 8, 8)
        >>> net(s, t, x, torch.tensor([0, 1, 2, 3, -1])).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        shape: Sequence[Count],
        width: Count = 64,
        multipliers: Sequence[Count] = (1, 2),
        blocks: Count = 2,
        attention: Sequence[Count] = (),
        heads: Count = 4,
        condition_dim: Count = 0,
        classes: Count | None = None,
        frequencies: Sequence[float] = (1.0, 2.0, 4.0),
        time_scale: float = 1.0,
        embedding: Count | None = None,
    ):
        super().__init__()
        self._config = as_config(locals())
        width, blocks, heads = as_sizes(width=width, blocks=blocks, heads=heads)
        size = 4 * width if embedding is None else as_count(embedding, "embedding")
        self.condition_dim, classes = as_condition_kind(condition_dim, classes)
        channels = [width * m for m in _integers(multipliers, "multipliers")]
        self.shape = _image_shape(_integers(shape, "shape"), len(channels))
        heights = _integers(attention, "attention")
        heads_of_level = _heads(heights, heads, self.shape[1], channels)
        self.class_features = None if classes is None else ClassFeatures(classes, size)
        self.embedding = Embedding(size, Waves(frequencies, time_scale), self.condition_dim)
        self.entry = convolution(self.shape[0], width)
        self.body = Level(width, channels, blocks, heads_of_level, size)
        self.norm = RMSNorm(channels[0], axis=1)
        self.head = convolution(channels[0], self.shape[0], gain=0.0)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the network's value, shape and dtype of x.

        Args:
            s, t: times (batch,) in x's dtype (float32 for half precision).
            x: images (batch, channels, height, width).
            condition: (batch, condition_dim), or integer labels (batch,), or None if the network
                takes none.

        Raises:
            TypeError: if times are not tensors, or a dtype does not fit.
            ValueError: if a shape does not fit, or the condition is missing or superfluous.
        """
        self._check_inputs(s, t, x)
        given = condition_features(condition, x, self.condition_dim, self.class_features)
        embedding = self.embedding(s, t - s, given)
        h = self.body(self.entry(x.to(self.head.weight.dtype)), embedding)
        return self.head(silu(self.norm(h)).to(h.dtype)).to(x.dtype)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments, ready for JSON."""
        return dict(self._config)

    def _check_inputs(self, s: Tensor, t: Tensor, x: Tensor) -> None:
        check_state(x)
        if x.shape[1:] != self.shape:
            channels, height, width = self.shape
            raise ValueError(
                f"x must be images (batch, {channels}, {height}, {width}), got shape "
                f"{tuple(x.shape)}; build the network with their shape=, or unflatten x with "
                f"x.reshape(-1, {channels}, {height}, {width})"
            )
        check_times_and_precision(s, t, x, self.head.weight)


def _integers(values: Sequence[Count], name: str) -> list[int]:
    """Return positive whole numbers as a list; raise for anything else."""
    if not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence of integers such as (4, 2), got {values!r}")
    return [as_count(value, f"{name}[{i}]") for i, value in enumerate(values)]


def _image_shape(shape: Sequence[int], levels: int) -> tuple[int, ...]:
    """Return the shape of images that can be halved between levels; raise ValueError if not."""
    if len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
    if levels == 0:
        raise ValueError("multipliers must hold a number for every level, got none")
    factor = 2 ** (levels - 1)
    if shape[1] % factor or shape[2] % factor:
        raise ValueError(
            f"{levels} multipliers halve images {levels - 1} times: height and width must be "
            f"multiples of {factor}, got {shape[1]} and {shape[2]}; "
            "pad the images, or give fewer multipliers"
        )
    return tuple(shape)


def _heads(attention: Sequence[int], heads: int, height: int, channels: Sequence[int]) -> list[int]:
    """Return the number of heads of every level's attention, 0 for none."""
    heights = [height // 2**i for i in range(len(channels))]
    if any(h not in heights for h in attention):
        raise ValueError(
            f"attention must be heights of feature maps, among {heights}, got {tuple(attention)}"
        )
    found = [heads if h in attention else 0 for h in heights]
    for size, number in zip(channels, found, strict=True):
        if number and size % number:
            raise ValueError(
                f"heads must divide the channels of attention, got {heads} heads, {size} channels"
            )
    return found

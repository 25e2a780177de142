"""The body of a U-Net, level within level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowmaps.networks._attention import Attention
from flowmaps.networks._convolutions import convolution, doubled, halved
from flowmaps.networks._layers import ACTIVATIONS, RMSNorm, linear, normalised, silu

__all__ = ["ConvolutionBlock", "Level"]


class ConvolutionBlock(nn.Module):
    """skip(h) + W2 silu(norm(W1 silu(norm(h))) (1 + scale) + shift), then perhaps attention.

    Scale and shift are affine in the embedding of times and condition (FiLM). W2 starts at zero, so
    the block starts as the identity, or as a projection where the number of channels changes.

    Args:
        inputs, outputs: channels before and after.
        embedding: size of the embedding.
        heads: of the attention; 0 for none.

    Source:
        Ho, Jain and Abbeel (2020), arXiv:2006.11239, appendix B, for the block; Dhariwal and Nichol
        (2021), arXiv:2105.05233, section 3, for scale and shift after the second norm.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, heads: int = 0):
        super().__init__()
        gain = ACTIVATIONS["silu"][1]
        self.norm = RMSNorm(inputs, axis=1)
        self.inner = convolution(inputs, outputs, gain=gain)
        self.film = linear(embedding, 2 * outputs, gain=0.0)
        self.outer = convolution(outputs, outputs, gain=0.0)
        self.skip = None if inputs == outputs else convolution(inputs, outputs, 1)
        self.attention = Attention(outputs, heads) if heads else None

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Return the next feature map (batch, outputs, height, width)."""
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.inner(silu(self.norm(h)).to(h.dtype))
        modulated = normalised(inner, 1) * (1 + scale) + shift
        change = self.outer(silu(modulated).to(h.dtype))
        h = change + (h if self.skip is None else self.skip(h))
        return h if self.attention is None else self.attention(h)


class Level(nn.Module):
    """Blocks at one resolution; between their two halves the next level, at half of it.

    Args:
        inputs: channels before.
        channels: of this level and of all below it.
        blocks: in each half.
        heads: of this level's attention and of all below; 0 for none.
        embedding: size of the embedding.

    Example:
        >>> import torch
        >>> level = Level(3, channels=[4, 8], blocks=1, heads=[0, 2], embedding=5)
        >>> level(torch.randn(2, 3, 6, 6), torch.randn(2, 5)).shape
        torch.Size([2, 4, 6, 6])
    """

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        blocks: int,
        heads: Sequence[int],
        embedding: int,
    ):
        super().__init__()
        own, *coarser = channels

        def half(entering: int) -> nn.ModuleList:
            sizes = [entering] + [own] * blocks
            return nn.ModuleList(ConvolutionBlock(a, own, embedding, heads[0]) for a in sizes[:-1])

        self.before = half(inputs)
        self.below = Level(own, coarser, blocks, heads[1:], embedding) if coarser else None
        self.rise = convolution(coarser[0], own, 1) if coarser else None
        self.after = half(2 * own if coarser else own)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Return the feature map (batch, channels[0], height, width)."""
        for block in self.before:
            h = block(h, embedding)
        if self.below is not None and self.rise is not None:
            risen = doubled(self.rise(self.below(halved(h), embedding)))
            h = torch.cat([h, risen], dim=1)
        for block in self.after:
            h = block(h, embedding)
        return h

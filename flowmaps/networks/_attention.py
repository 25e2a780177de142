"""Self-attention over the pixels of a feature map, twice differentiable in forward mode."""

import torch
from torch import Tensor, nn

from flowmaps.networks._convolutions import convolution
from flowmaps.networks._layers import RMSNorm, normalised

__all__ = ["Attention"]


class Attention(nn.Module):
    """h + W softmax(q k / sqrt(d)) v over all pixels, by matrix products and a wide softmax.

    The fused kernels of ``scaled_dot_product_attention`` have no forward mode. Queries and keys are
    normalised, so that the logits stay within sqrt(d), d the channels of a head, and derivatives
    and low precision cannot blow up. W starts at zero: the layer starts as the identity.

    Args:
        channels: of the feature map.
        heads: a divisor of channels.

    Source:
        Vaswani et al. (2017), arXiv:1706.03762, equation 1; Henry et al. (2020), arXiv:2010.04245,
        for the normalisation.

    Example:
        >>> import torch
        >>> Attention(8, heads=2)(torch.randn(5, 8, 4, 4)).shape
        torch.Size([5, 8, 4, 4])
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(channels, axis=1)
        self.enter = convolution(channels, 3 * channels, 1)
        self.leave = convolution(channels, channels, 1, gain=0.0)

    def forward(self, h: Tensor) -> Tensor:
        """Return the next feature map, shape (batch, channels, height, width) of h."""
        batch, channels, height, width = h.shape
        size = channels // self.heads
        entered = self.enter(self.norm(h).to(h.dtype))
        q, k, v = entered.reshape(batch, 3, self.heads, size, height * width).unbind(1)
        q, k = [normalised(part, 2).to(h.dtype) for part in (q, k)]
        logits = (q.transpose(2, 3) @ k).to(torch.promote_types(h.dtype, torch.float32))
        weights = torch.softmax(logits * size**-0.5, dim=-1).to(h.dtype)
        return h + self.leave((v @ weights.transpose(2, 3)).reshape(h.shape))

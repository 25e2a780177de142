"""Layers and bodies of a multilayer perceptron, twice differentiable in forward mode."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "PlainBody", "RMSNorm", "ResidualBody", "linear", "normalised", "silu"]


def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x), twice differentiable in forward mode with and without gradients.

    Of ``F.silu`` torch differentiates the derivative itself only while it records a graph: under
    ``torch.no_grad`` a jvp of a jvp fails.

    Example:
        >>> import torch
        >>> silu(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """
    return x * torch.sigmoid(x)


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "silu": (silu, 1.4),
    "tanh": (torch.tanh, 1.0),
}
"""Each activation with the gain that keeps the size of its inputs."""


def linear(inputs: int, outputs: int, gain: float = 1.0, bias_spread: float = 0.0) -> nn.Linear:
    """Return a linear layer with normal weights of spread gain / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=gain / inputs**0.5)
    nn.init.normal_(layer.bias, std=bias_spread)
    return layer


def normalised(x: Tensor, axis: int, epsilon: float = 1e-6) -> Tensor:
    """Return x at root mean square one along an axis, in float32 or better.

    ``nn.LayerNorm`` breaks ``torch.compile`` around a jvp and gives float32 tangents for bfloat16
    inputs; these plain operations do neither.

    Source:
        Zhang and Sennrich (2019), Root mean square layer normalization, equation 4.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inverse = torch.rsqrt(wide.square().mean(axis, keepdim=True) + epsilon)
    return wide * inverse


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis and multiply by a learned weight.

    Example:
        >>> import torch
        >>> torch.round(RMSNorm(2)(torch.tensor([[3.0, 3.0]]))).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, size: int, epsilon: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return x (batch, size) at root mean square one, times the learned weight."""
        return normalised(x, -1, self.epsilon).to(x.dtype) * self.weight


class ResidualBlock(nn.Module):
    """h + W2 act(W1 (norm(h) (1 + scale) + shift)), scale and shift affine in the embedding (FiLM).

    W2 starts at zero, so the block starts as the identity.

    Source:
        Perez et al. (2017), arXiv:1709.07871, equation 1, for the modulation.
    """

    def __init__(self, width: int, embedding: int, activation: str):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        self.norm = RMSNorm(width)
        self.film = linear(embedding, 2 * width, gain=0.0)
        self.inner = linear(width, width)
        self.outer = linear(width, width, gain=0.0)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Return the next hidden state (batch, width)."""
        scale, shift = self.film(embedding).chunk(2, dim=1)
        modulated = self.norm(h) * (1 + scale) + shift
        return h + self.outer(self.activation(self.inner(modulated)))


class PlainBody(nn.Module):
    """``depth`` hidden layers over state and context together."""

    def __init__(self, state: int, context: int, width: int, depth: int, activation: str):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        # Spread biases put the bends of tanh all over the state space; silu needs less of that.
        spread = 0.5 if activation == "tanh" else 0.1
        sizes = [state + context] + [width] * depth
        self.layers = nn.ModuleList(
            linear(a, b, gain, spread) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )

    def forward(self, state: Tensor, context: Tensor) -> Tensor:
        """Return the last hidden state (batch, width)."""
        h = torch.cat([state, context], dim=1)
        for layer in self.layers:
            h = self.activation(layer(h))
        return h


class ResidualBody(nn.Module):
    """``depth`` residual blocks over the state, each modulated by an embedding of the context."""

    def __init__(
        self, state: int, context: int, width: int, depth: int, activation: str, embedding: int
    ):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        self.entry = linear(state, width)
        self.embed = nn.ModuleList([linear(context, embedding), linear(embedding, embedding, gain)])
        self.blocks = nn.ModuleList(
            ResidualBlock(width, embedding, activation) for _ in range(depth)
        )
        self.norm = RMSNorm(width)

    def forward(self, state: Tensor, context: Tensor) -> Tensor:
        """Return the last hidden state (batch, width)."""
        embedding = context
        for layer in self.embed:
            embedding = self.activation(layer(embedding))
        h = self.entry(state)
        for block in self.blocks:
            h = block(h, embedding)
        return self.activation(self.norm(h))

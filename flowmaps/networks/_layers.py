"""Layers and bodies of a multilayer perceptron, twice differentiable in forward mode."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowmaps.networks import _dual as chain
from flowmaps.networks._dual import Dual
from flowmaps.networks._features import Waves

__all__ = [
    "ACTIVATIONS",
    "PlainBody",
    "RMSNorm",
    "ResidualBody",
    "linear",
    "normalised",
    "silu",
    "span_layer",
]


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


def span_layer(waves: Waves, outputs: int, gain: float) -> nn.Linear:
    """Return the layer without bias by which features of a span enter, of spread gain / sqrt(n)."""
    layer = nn.Linear(waves.size, outputs, bias=False)
    nn.init.normal_(layer.weight, std=gain / waves.size**0.5)
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
    """Divide by the root mean square along an axis and multiply by a learned weight.

    Along the channels of an image it takes no statistics over pixels, unlike group normalisation,
    and so stays clear of the reductions that cost most of the time of a tangent.

    Args:
        size: along the axis.
        axis: 1 for the channels of an image.

    Example:
        >>> import torch
        >>> torch.round(RMSNorm(2)(torch.tensor([[3.0, 3.0]]))).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, size: int, axis: int = -1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Return x at root mean square one times the weight, in float32 or better."""
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return normalised(x, self.axis) * self.weight.reshape(shape)

    def dual(self, x: Dual) -> Dual:
        """Return the same of a value and its tangent."""
        shape = [1] * x[0].ndim
        shape[self.axis] = -1
        weight = self.weight.reshape(shape)
        value, tangent = chain.normalised(x, self.axis)
        return value * weight, tangent * weight


class ResidualBlock(nn.Module):
    """h + W2 act(W1 (norm(h) (1 + scale) + shift)), scale and shift affine in the embedding (FiLM).

    W2 starts at zero, so the block starts as the identity.

    Source:
        Perez et al. (2017), arXiv:1709.07871, equation 1, for the modulation.
    """

    def __init__(self, width: int, embedding: int, activation: str):
        super().__init__()
        self.activation = ACTIVATIONS[activation][0]
        self.norm = RMSNorm(width)
        self.film = linear(embedding, 2 * width, gain=0.0)
        self.inner = linear(width, width)
        self.outer = linear(width, width, gain=0.0)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Return the next hidden state (batch, width)."""
        scale, shift = self.film(embedding).chunk(2, dim=1)
        modulated = (self.norm(h) * (1 + scale) + shift).to(h.dtype)
        return h + self.outer(self.activation(self.inner(modulated)))

    def dual(self, h: Dual, embedding: Dual) -> Dual:
        """Return the next hidden state and its tangent."""
        film, rate = chain.linear(self.film, embedding)
        (scale, shift), (dscale, dshift) = film.chunk(2, dim=1), rate.chunk(2, dim=1)
        modulated = chain.product(self.norm.dual(h), (1 + scale, dscale))
        modulated = chain.converted(chain.total(modulated, (shift, dshift)), h[0].dtype)
        inner = chain.activated(self.activation, chain.linear(self.inner, modulated))
        return chain.total(h, chain.linear(self.outer, inner))


class PlainBody(nn.Module):
    """``depth`` hidden layers over state, times and condition together.

    The span t - s enters the first layer through weights of its own, as in ``Embedding``.

    Args:
        state, given: sizes of the state's and the condition's features; given 0 for no condition.
        waves: features of a length of time.
        width, depth, activation: of the hidden layers.
        span_gain: of the first weights of the span.
    """

    def __init__(
        self,
        state: int,
        given: int,
        waves: Waves,
        width: int,
        depth: int,
        activation: str,
        span_gain: float,
    ):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        # Spread biases put the bends of tanh all over the state space; silu needs less of that.
        spread = 0.5 if activation == "tanh" else 0.1
        sizes = [state + waves.size + given] + [width] * depth
        self.waves = waves
        self.layers = nn.ModuleList(
            linear(a, b, gain, spread) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.span = span_layer(waves, width, span_gain)

    def forward(self, state: Tensor, time: Tensor, span: Tensor, given: Tensor | None) -> Tensor:
        """Return the last hidden state (batch, width); all but times in the weights' dtype."""
        entering = [state, self.waves(time).to(state.dtype), *([] if given is None else [given])]
        entered = torch.cat(entering, dim=1)
        h = self.span(self.waves(span).to(state.dtype))
        for number, layer in enumerate(self.layers):
            h = self.activation(layer(entered) + h if number == 0 else layer(h))
        return h

    def dual(self, state: Dual, time: Dual, span: Dual, given: Dual | None) -> Dual:
        """Return the last hidden state and its tangent, of arguments with theirs."""
        low = state[0].dtype
        entering = [state, chain.converted(self.waves.dual(time), low)]
        h = chain.joined(entering + ([] if given is None else [given]))
        length = chain.linear(self.span, chain.converted(self.waves.dual(span), low))
        for number, layer in enumerate(self.layers):
            h = chain.linear(layer, h)  # pyright: ignore[reportArgumentType]
            h = chain.activated(self.activation, chain.total(h, length) if number == 0 else h)
        return h


class ResidualBody(nn.Module):
    """``depth`` residual blocks over the state, each modulated by an embedding.

    Args:
        state: size of the state's features.
        embedding: module of a time, the span and the condition's features.
        size: of what the embedding returns.
        width, depth, activation: of the blocks.
    """

    def __init__(
        self, state: int, embedding: nn.Module, size: int, width: int, depth: int, activation: str
    ):
        super().__init__()
        self.activation = ACTIVATIONS[activation][0]
        self.entry = linear(state, width)
        self.embedding = embedding
        self.blocks = nn.ModuleList(ResidualBlock(width, size, activation) for _ in range(depth))
        self.norm = RMSNorm(width)

    def forward(self, state: Tensor, time: Tensor, span: Tensor, given: Tensor | None) -> Tensor:
        """Return the last hidden state (batch, width); all but times in the weights' dtype."""
        embedding = self.embedding(time, span, given)
        h = self.entry(state)
        for block in self.blocks:
            h = block(h, embedding)
        return self.activation(self.norm(h)).to(h.dtype)

    def dual(self, state: Dual, time: Dual, span: Dual, given: Dual | None) -> Dual:
        """Return the last hidden state and its tangent, of arguments with theirs."""
        embedding = self.embedding.dual(time, span, given)  # pyright: ignore[reportCallIssue]
        h = chain.linear(self.entry, state)
        for block in self.blocks:
            h = block.dual(h, embedding)  # pyright: ignore[reportCallIssue]
        low = h[0].dtype
        return chain.converted(chain.activated(self.activation, self.norm.dual(h)), low)

"""What a network that is modulated sees of times and condition."""

from torch import Tensor, nn

from flowmaps.networks import _dual as chain
from flowmaps.networks._dual import Dual, converted
from flowmaps.networks._features import Waves
from flowmaps.networks._layers import ACTIVATIONS, linear, span_layer

__all__ = ["Embedding"]


class Embedding(nn.Module):
    """act(W act(A f(s) + B f(t - s) + C c)): a time, a span and a condition as one vector.

    B starts at zero and f(0) = 0. So a new network does not depend on the span, and on the diagonal
    s = t the span adds nothing, however long it was trained: the diagonal, where a map meets its
    field, is a network of s and x alone. Flow matching, which sees the diagonal only, leaves B at
    zero, and what it has learned then is X_{s,t}(x) = x + (t - s) b(s, x), one Euler step: the
    right start for self-distillation, which learns B. Derivatives in t pass through f(t - s) alone.
    With t in place of s, derivatives in s do; but then the Euler step shows the field a state of
    time s together with the time t.

    Args:
        size: of the embedding.
        waves: f, features of a length of time.
        condition_dim: size of c if it is a vector; 0 if there is none, or if it is a row of a
            table, which needs no C.
        activation: ``"silu"`` or ``"tanh"``.
        span_gain: size of B's first weights in place of zero, 1 for that of A's.

    Example:
        >>> import torch
        >>> embed = Embedding(16, Waves((1.0, 2.0), 1.0))
        >>> embed(torch.zeros(5), torch.ones(5), None).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        size: int,
        waves: Waves,
        condition_dim: int = 0,
        activation: str = "silu",
        span_gain: float = 0.0,
    ):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        self.waves = waves
        self.start = linear(waves.size, size)
        self.span = span_layer(waves, size, span_gain)
        self.condition = linear(condition_dim, size) if condition_dim else None
        self.mix = linear(size, size, gain)

    def forward(self, time: Tensor, span: Tensor, condition: Tensor | None) -> Tensor:
        """Return the embedding (batch, size), in the weights' dtype.

        Args:
            time, span: s, or t, and t - s, (batch,).
            condition: (batch, condition_dim), or (batch, size) from a table, or None.
        """
        low = self.mix.weight.dtype
        total = self.start(self.waves(time).to(low)) + self.span(self.waves(span).to(low))
        if condition is not None:
            given = condition.to(low)
            total = total + (given if self.condition is None else self.condition(given))
        return self.activation(self.mix(self.activation(total)))

    def dual(self, time: Dual, span: Dual, condition: Dual | None) -> Dual:
        """Return the embedding and its tangent, of arguments with theirs."""
        low = self.mix.weight.dtype
        start, length = (converted(self.waves.dual(u), low) for u in (time, span))
        total = chain.total(chain.linear(self.start, start), chain.linear(self.span, length))
        if condition is not None:
            given = converted(condition, low)
            given = given if self.condition is None else chain.linear(self.condition, given)
            total = chain.total(total, given)
        mixed = chain.linear(self.mix, chain.activated(self.activation, total))
        return chain.activated(self.activation, mixed)

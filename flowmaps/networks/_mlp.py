"""A multilayer perceptron of two times, a state and a condition."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._checks import as_count, as_positive, brief, check_state
from flowmaps._typing import Condition, Count
from flowmaps.networks._constants import Constants, wide
from flowmaps.networks._dual import converted
from flowmaps.networks._dual import linear as linear_dual
from flowmaps.networks._embedding import Embedding
from flowmaps.networks._features import ClassFeatures, StateFeatures, Waves
from flowmaps.networks._inputs import (
    Coordinates,
    as_condition_kind,
    as_config,
    as_coordinates,
    as_sizes,
    check_times_and_precision,
    condition_features,
)
from flowmaps.networks._layers import ACTIVATIONS, PlainBody, ResidualBody, linear

__all__ = ["MLP"]


class MLP(nn.Module):
    """Multilayer perceptron ``net(s, t, x, condition)`` whose last layer starts at zero.

    It sees the start time s (or the end time t) and the span t - s, the state (angles as cosine and
    sine) and the condition. With ``residual=True`` the state runs through residual blocks and an
    embedding of times and condition modulates each: the choice for tens of dimensions and classes.
    Without, all enter side by side: the choice for a surrogate of a small system.

    The span enters by features that vanish at s = t, times weights that start at zero: a new
    network does not depend on it, flow matching leaves it so, and one trained by flow matching is
    the Euler step x + (t - s) b(s, x), from which self-distillation goes on. Weights may be
    bfloat16; times and features stay in the inputs' precision, and the units given here exact.

    Args:
        dim: number of coordinates of a sample; states (batch, *event) with ``event.numel() == dim``
            are flattened.
        width: size of a hidden layer.
        depth: number of hidden layers, or of residual blocks (two layers each).
        condition_dim: size of a continuous condition (batch, condition_dim); 0 for none.
        classes: number K of classes: the condition is integer labels (batch,) in 0..K-1, or -1 for
            "no class".
        angles: indices of coordinates with period 2 pi.
        frequencies: half turns per ``time_scale`` of the time features' sines and cosines; empty
            for none.
        time_scale: the length of time that counts as one, in the units of s and t.
        activation: ``"silu"`` or ``"tanh"``.
        residual: whether to use residual blocks.
        embedding: size of the embedding of times and condition; None for a quarter of the width.
        input_shift, input_scale: (dim,) each, in the state's units: coordinates enter as (x -
            shift) / scale.
        output_scale: (dim,), positive factor of each output; None for one.
        span_gain: size of the span's first weights, 1 for that of the others. A map that is learned
            off the diagonal from the first step on, as from a known field, learns faster with 1.
        anchor: ``"start"`` or ``"end"``: the time that is seen beside the span. Derivatives in the
            other time then pass through the span alone; a map that is learned by its derivative in
            s, as by ESD or MeanFlow, is learned more exactly with ``"end"``.

    Raises:
        TypeError: for sizes or indices that are no whole numbers, or units that are no numbers.
        ValueError: for a size, index, activation or shape that makes no such network.

    Example:
        >>> import torch, flowmaps as fm
        >>> net = fm.networks.MLP(dim=2, width=32, depth=2, angles=(0,))
        >>> s, t, x = torch.zeros(5), torch.ones(5), torch.randn(5, 2)
        >>> net(s, t, x, None).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        dim: Count,
        width: Count = 256,
        depth: Count = 4,
        condition_dim: Count = 0,
        classes: Count | None = None,
        angles: Sequence[Count] = (),
        frequencies: Sequence[float] = (1.0, 2.0, 4.0),
        time_scale: float = 1.0,
        activation: str = "silu",
        residual: bool = False,
        embedding: Count | None = None,
        input_shift: Coordinates = None,
        input_scale: Coordinates = None,
        output_scale: Coordinates = None,
        span_gain: float = 0.0,
        anchor: str = "start",
    ):
        super().__init__()
        self._config = as_config(locals())
        dim, width, depth = as_sizes(dim=dim, width=width, depth=depth)
        size = max(width // 4, 1) if embedding is None else as_count(embedding, "embedding")
        condition_dim, classes = as_condition_kind(condition_dim, classes)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        if anchor not in ("start", "end"):
            raise ValueError(f'anchor must be "start" or "end", got {anchor!r}')
        shift = as_coordinates(input_shift, 0.0, dim, "input_shift", positive=False)
        scale = as_coordinates(input_scale, 1.0, dim, "input_scale")
        waves = Waves(frequencies, time_scale)
        gain = as_positive(span_gain, "span_gain") if span_gain else 0.0
        self.dim, self.condition_dim, self.classes = dim, condition_dim, classes
        self.anchor = anchor
        self.state_features = StateFeatures(dim, _as_angles(angles, dim), shift, scale)
        self.class_features = None if classes is None else ClassFeatures(classes, size)
        states = self.state_features.size
        if residual:
            embed = Embedding(size, waves, condition_dim, activation, gain)
            self.body = ResidualBody(states, embed, size, width, depth, activation)
        else:
            given = condition_dim if classes is None else size
            self.body = PlainBody(states, given, waves, width, depth, activation, gain)
        self.head = linear(width, dim, gain=0.0)
        self.output_scale = Constants(as_coordinates(output_scale, 1.0, dim, "output_scale"))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the network's value, shape and dtype of x.

        Args:
            s, t: times (batch,) in x's dtype (float32 for half precision).
            x: states (batch, *event).
            condition: (batch, condition_dim), or integer labels (batch,), or None if the network
                takes none.

        Raises:
            TypeError: if times are not tensors, or a dtype does not fit.
            ValueError: if a shape does not fit, or the condition is missing or superfluous.
        """
        self._check_inputs(s, t, x)
        state = self.state_features(x.reshape(x.shape[0], self.dim))
        given = condition_features(condition, x, self.condition_dim, self.class_features)
        low = self.head.weight.dtype
        time = s if self.anchor == "start" else t
        given = None if given is None else given.to(low)
        hidden = self.body(state.to(low), time, t - s, given)
        value = self.head(hidden).to(wide(x)) * self.output_scale(wide(x))
        return value.to(x.dtype).reshape(x.shape)

    def dual(
        self,
        s: Tensor,
        t: Tensor,
        x: Tensor,
        condition: Condition,
        ds: Tensor,
        dt: Tensor,
        dx: Tensor,
        dcondition: Condition = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the network's value and its tangent, shape and dtype of x, without forward mode.

        Args:
            s, t, x, condition: as for the network itself.
            ds, dt, dx: their tangents, of the same shapes.
            dcondition: tangent of a continuous condition; None for zero.

        Raises:
            TypeError, ValueError: as the network itself.

        Example:
            >>> import torch, flowmaps as fm
            >>> net = fm.networks.MLP(dim=1, width=8, depth=1)
            >>> zero, one = torch.zeros(3), torch.ones(3, 1)
            >>> value, tangent = net.dual(zero, zero, one, None, zero, zero, one)
            >>> value.shape, tangent.shape
            (torch.Size([3, 1]), torch.Size([3, 1]))
        """
        self._check_inputs(s, t, x)
        low, flat = self.head.weight.dtype, (x.shape[0], self.dim)
        state = self.state_features.dual(x.reshape(flat), dx.reshape(flat))
        given = condition_features(condition, x, self.condition_dim, self.class_features)
        both = None
        if given is not None:
            moving = torch.zeros_like(given) if dcondition is None else dcondition
            both = given.to(low), moving.to(low)
        time = (s, ds) if self.anchor == "start" else (t, dt)
        hidden = self.body.dual(converted(state, low), time, (t - s, dt - ds), both)
        scale = self.output_scale(wide(x))
        value, tangent = (part.to(wide(x)) * scale for part in linear_dual(self.head, hidden))
        return value.to(x.dtype).reshape(x.shape), tangent.to(x.dtype).reshape(x.shape)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments, ready for JSON."""
        return dict(self._config)

    def _check_inputs(self, s: Tensor, t: Tensor, x: Tensor) -> None:
        check_state(x)
        if x.shape[1:].numel() != self.dim:
            raise ValueError(
                f"x must have {self.dim} coordinates a sample, got shape {tuple(x.shape)}; "
                f"build the network with dim={x.shape[1:].numel()}, or reshape x"
            )
        check_times_and_precision(s, t, x, self.head.weight)


def _as_angles(angles: Sequence[Count], dim: int) -> list[int]:
    """Return different indices of coordinates; raise for anything else."""
    if not isinstance(angles, Sequence):
        raise TypeError(f"angles must be indices of coordinates such as (0,), got {brief(angles)}")
    indices = [as_count(i, f"angles[{n}]", least=0) for n, i in enumerate(angles)]
    if len(set(indices)) != len(indices) or any(i >= dim for i in indices):
        raise ValueError(f"angles must be different indices in 0..{dim - 1}, got {indices}")
    return indices

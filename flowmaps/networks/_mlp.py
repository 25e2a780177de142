"""A multilayer perceptron of two times, a state and a condition."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._checks import check_state
from flowmaps._typing import Condition
from flowmaps.networks._features import ClassFeatures, StateFeatures, TimeFeatures
from flowmaps.networks._inputs import (
    check_condition_kind,
    check_sizes,
    check_time_scale,
    check_times_and_precision,
    condition_features,
)
from flowmaps.networks._layers import ACTIVATIONS, PlainBody, ResidualBody, linear

__all__ = ["MLP"]

Coordinates = Sequence[float] | Tensor | None


class MLP(nn.Module):
    """Multilayer perceptron ``net(s, t, x, condition)`` whose last layer starts at zero.

    It sees t and the span t - s, the state (angles as cosine and sine) and the condition. With
    ``residual=True`` the state runs through residual blocks and an embedding of times and condition
    modulates each: the choice for tens of dimensions and classes. Without, all enter side by side:
    the choice for a surrogate of a small system. Weights may be bfloat16; times and features stay
    in the inputs' precision.

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
        output_scale: (dim,), factor of each output; None for one.

    Raises:
        ValueError: for a size, index, activation or shape that makes no such network.

    Example:
        >>> import torch, flowmaps as fm
        >>> net = fm.networks.MLP(dim=2, width=32, depth=2, angles=(0,))
        >>> s, t, x = torch.zeros(5), torch.ones(5), torch.randn(5, 2)
        >>> net(s, t, x, None).shape
        torch.Size([5, 2])
    """

    output_scale: Tensor

    def __init__(
        self,
        dim: int,
        width: int = 256,
        depth: int = 4,
        condition_dim: int = 0,
        classes: int | None = None,
        angles: Sequence[int] = (),
        frequencies: Sequence[float] = (1.0, 2.0, 4.0),
        time_scale: float = 1.0,
        activation: str = "silu",
        residual: bool = False,
        embedding: int | None = None,
        input_shift: Coordinates = None,
        input_scale: Coordinates = None,
        output_scale: Coordinates = None,
    ):
        super().__init__()
        sizes = {"dim": dim, "width": width, "depth": depth}
        if embedding is not None:
            sizes["embedding"] = embedding
        check_sizes(sizes)
        check_condition_kind(condition_dim, classes)
        check_time_scale(time_scale)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        size = max(width // 4, 1) if embedding is None else embedding
        angles = _check_angles(angles, dim)
        self.dim, self.condition_dim, self.classes = dim, condition_dim, classes
        self._config = {
            "dim": dim,
            "width": width,
            "depth": depth,
            "condition_dim": condition_dim,
            "classes": classes,
            "angles": list(angles),
            "frequencies": [float(f) for f in frequencies],
            "time_scale": float(time_scale),
            "activation": activation,
            "residual": residual,
            "embedding": embedding,
            "input_shift": _as_list(input_shift),
            "input_scale": _as_list(input_scale),
            "output_scale": _as_list(output_scale),
        }
        shift = _coordinates(input_shift, 0.0, dim, "input_shift")
        scale = _coordinates(input_scale, 1.0, dim, "input_scale", positive=True)
        self.state_features = StateFeatures(dim, angles, shift, scale)
        self.time_features = TimeFeatures(frequencies, time_scale)
        self.class_features = None if classes is None else ClassFeatures(classes, size)
        context = self.time_features.size + (condition_dim if classes is None else size)
        states = self.state_features.size
        if residual:
            self.body = ResidualBody(states, context, width, depth, activation, size)
        else:
            self.body = PlainBody(states, context, width, depth, activation)
        self.head = linear(width, dim, gain=0.0)
        spread = _coordinates(output_scale, 1.0, dim, "output_scale")
        self.register_buffer("output_scale", spread, persistent=False)

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
        context = [self.time_features(s, t), *([] if given is None else [given])]
        low = self.head.weight.dtype
        hidden = self.body(state.to(low), torch.cat([part.to(low) for part in context], dim=1))
        return (self.head(hidden).to(x.dtype) * self.output_scale.to(x.dtype)).reshape(x.shape)

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


def _check_angles(angles: Sequence[int], dim: int) -> tuple[int, ...]:
    if len(set(angles)) != len(angles) or any(not 0 <= i < dim for i in angles):
        raise ValueError(f"angles must be different indices in 0..{dim - 1}, got {tuple(angles)}")
    return tuple(int(i) for i in angles)


def _as_list(values: Coordinates) -> list[float] | None:
    return (
        None if values is None else torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
    )


def _coordinates(
    values: Coordinates, default: float, dim: int, name: str, positive: bool = False
) -> Tensor:
    tensor = torch.full((dim,), default) if values is None else torch.tensor(_as_list(values))
    if tensor.shape != (dim,):
        raise ValueError(f"{name} must have {dim} entries, got {tensor.numel()}")
    if positive and not bool((tensor > 0).all()):
        raise ValueError(f"{name} must be positive, got {tensor.tolist()}")
    return tensor

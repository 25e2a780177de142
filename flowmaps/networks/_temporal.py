"""A network that decodes the states of a trajectory at all times at once."""

from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import as_count, brief, check_state, is_number
from flowmaps._typing import Condition, Count
from flowmaps.networks._chebyshev import Chebyshev
from flowmaps.networks._constants import Constants, wide
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
from flowmaps.networks._layers import ACTIVATIONS, RMSNorm, linear

__all__ = ["TemporalFourier"]


class TemporalBlock(nn.Module):
    """h + W2 act(W1 n(h) + K n(h)): W acts at every node, K along the nodes; n is RMSNorm.

    K multiplies the lowest coefficients of the cosine series along the nodes by a matrix each. W2
    starts at zero, so the block starts as the identity.

    Source:
        Li et al. (2020), arXiv:2010.08895, equations 2 to 4, with time as the one dimension.
    """

    def __init__(self, width: int, modes: int, activation: str):
        super().__init__()
        self.activation, gain = ACTIVATIONS[activation]
        self.norm = RMSNorm(width)
        self.inner = linear(width, width, gain)
        self.kernel = nn.Parameter(torch.randn(modes, width, width) / width**0.5)
        self.outer = linear(width, width, gain=0.0)

    def forward(self, h: Tensor, series: Chebyshev) -> Tensor:
        """Return the next hidden values (nodes, batch, width)."""
        u = self.norm(h).to(h.dtype)
        coefficients = series.analyse(u, len(self.kernel))
        along = series.synthesise(coefficients @ self.kernel)
        return h + self.outer(self.activation(self.inner(u) + along))


@final
class TemporalFourier(nn.Module):
    """Neural operator from a state at one time to its trajectory, all times decoded at once.

    The state is lifted to every one of ``nodes`` times between start and end, and ``depth`` blocks
    act on all of them together: at each node by layers that all nodes share, and along time by a
    kernel in the series' lowest ``modes``. The head gives v of X_{start,t}(x) = x + (t - start) v
    at the nodes; at other times v is their interpolating polynomial.

    As ``net(s, t, x, condition)`` it returns v at t, the mean velocity from the start, for
    ``NeuralFlowMap(net)``: a flow map from the start alone, the identity at it by construction.
    Times may be (n_times, batch): all of them then come from one pass, as
    ``NeuralFlowMap.along`` has it. A new network's v is zero.

    Args:
        dim: number of coordinates of a sample; states (batch, *event) with ``event.numel() == dim``
            are flattened.
        width: of the hidden values at a node.
        depth: number of blocks.
        nodes: number of times that are decoded, Chebyshev-Lobatto points from start to end; more
            where a trajectory turns often.
        modes: number of coefficients that a kernel acts on; None for half of the nodes, rounded up.
        start, end: the time of the given state, and the last time, before or after it.
        condition_dim: size of a continuous condition (batch, condition_dim); 0 for none.
        classes: number K of classes: the condition is integer labels (batch,) in 0..K-1, or -1 for
            "no class".
        activation: ``"silu"`` or ``"tanh"``.
        input_shift, input_scale: (dim,) each, in the state's units: coordinates enter as (x -
            shift) / scale.
        output_scale: (dim,), positive factor of each coordinate of v; None for one.

    Raises:
        TypeError: for sizes that are no whole numbers, or times or units that are no numbers.
        ValueError: for sizes, times, an activation or units that make no such network.

    Source:
        Zheng et al. (2022), arXiv:2211.13449, section 3, for temporal Fourier layers in a network
        that decodes in parallel; the cosine series in place of the complex one is this library's.

    Example:
        >>> import torch, flowmaps as fm
        >>> net = fm.networks.TemporalFourier(dim=2, width=16, depth=2, nodes=9)
        >>> learned = fm.maps.NeuralFlowMap(net)
        >>> str(learned.times)
        'times in [0, 1], s <= t only, s = 0 only'
        >>> x = torch.ones(5, 2)
        >>> net.trajectory(x).shape, learned.along(0.0, [0.1, 0.7, 1.0], x).shape
        (torch.Size([9, 5, 2]), torch.Size([3, 5, 2]))
    """

    def __init__(
        self,
        dim: Count,
        width: Count = 64,
        depth: Count = 4,
        nodes: Count = 17,
        modes: Count | None = None,
        start: float = 0.0,
        end: float = 1.0,
        condition_dim: Count = 0,
        classes: Count | None = None,
        activation: str = "silu",
        input_shift: Coordinates = None,
        input_scale: Coordinates = None,
        output_scale: Coordinates = None,
    ):
        super().__init__()
        self._config = as_config(locals())
        dim, width, depth = as_sizes(dim=dim, width=width, depth=depth)
        nodes = as_count(nodes, "nodes", least=2)
        modes = (nodes + 1) // 2 if modes is None else as_count(modes, "modes")
        if modes > nodes:
            raise ValueError(f"modes must be at most the {nodes} nodes, got {modes}")
        condition_dim, classes = as_condition_kind(condition_dim, classes)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        start, end = _as_ends(start, end)
        shift = as_coordinates(input_shift, 0.0, dim, "input_shift", positive=False)
        scale = as_coordinates(input_scale, 1.0, dim, "input_scale")
        self.dim, self.condition_dim, self.classes = dim, condition_dim, classes
        self.decodes = (start, end)
        """The start, and the last time: that times (n_times, batch) are taken, from that start."""
        self.series = Chebyshev(nodes, start, end)
        self.waves = Waves((1.0, 2.0, 4.0), end - start if end > start else start - end)
        self.state_features = StateFeatures(dim, (), shift, scale)
        self.class_features = None if classes is None else ClassFeatures(classes, width)
        self.lift = linear(self.state_features.size, width)
        self.time = linear(self.waves.size, width)
        self.condition = linear(condition_dim, width) if condition_dim else None
        self.blocks = nn.ModuleList(TemporalBlock(width, modes, activation) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.head = linear(width, dim, gain=0.0)
        self.output_scale = Constants(as_coordinates(output_scale, 1.0, dim, "output_scale"))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the mean velocity from the start to t: x's shape, or (n_times, *x's shape).

        Args:
            s: (batch,) or (n_times, batch) like t; not looked at, as every trajectory begins at the
                start.
            t: times (batch,) or (n_times, batch) in x's dtype (float32 for half precision).
            x: states (batch, *event) at the start.
            condition: (batch, condition_dim), or integer labels (batch,), or None if the network
                takes none.

        Raises:
            TypeError: if times are not tensors, or a dtype does not fit.
            ValueError: if a shape does not fit, or the condition is missing or superfluous.
        """
        self._check_inputs(x)
        if isinstance(s, Tensor) and isinstance(t, Tensor) and s.shape != t.shape:
            raise ValueError(f"s and t must agree, got shapes {tuple(s.shape)}, {tuple(t.shape)}")
        check_times_and_precision(_one_row(s), _one_row(t), x, self.head.weight)
        coefficients = self.series.analyse(self._at_nodes(x, condition))
        basis = self.series.basis(t.to(wide(x)))
        v = torch.einsum("k...b,kbd->...bd", basis, coefficients)
        return v.to(x.dtype).reshape(*t.shape, *x.shape[1:])

    def trajectory(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the states at the nodes' times, (nodes, batch, *event), the first of them x.

        Args:
            x: states (batch, *event) at the start.
            condition: as for a call.

        Raises:
            TypeError, ValueError: as a call.
        """
        self._check_inputs(x)
        clock = x.new_zeros(len(x), dtype=wide(x))
        check_times_and_precision(clock, clock, x, self.head.weight)
        span = (self.series.times - self.decodes[0]).to(wide(x))[:, None, None]
        states = x.reshape(len(x), self.dim) + span * self._at_nodes(x, condition)
        return states.to(x.dtype).reshape(len(states), *x.shape)

    @property
    def times(self) -> Tensor:
        """The times of ``trajectory``, (nodes,), float64, from start to end."""
        return self.series.times

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments, ready for JSON."""
        return dict(self._config)

    def _at_nodes(self, x: Tensor, condition: Condition) -> Tensor:
        """Return v at the nodes, (nodes, batch, dim), in x's dtype or float32 if that is half."""
        low = self.head.weight.dtype
        lifted = self.lift(self.state_features(x.reshape(len(x), self.dim)).to(low))
        given = condition_features(condition, x, self.condition_dim, self.class_features)
        if given is not None:
            given = given.to(low)
            lifted = lifted + (given if self.condition is None else self.condition(given))
        elapsed = (self.series.times - self.decodes[0]).to(wide(x))
        h = lifted + self.time(self.waves(elapsed).to(low))[:, None]
        for block in self.blocks:
            h = block(h, self.series)
        value = self.head(self.norm(h).to(low))
        return value.to(wide(x)) * self.output_scale(wide(x))

    def _check_inputs(self, x: Tensor) -> None:
        check_state(x)
        if x.shape[1:].numel() != self.dim:
            raise ValueError(
                f"x must have {self.dim} coordinates a sample, got shape {tuple(x.shape)}; "
                f"build the network with dim={x.shape[1:].numel()}, or reshape x"
            )


def _as_ends(start: Any, end: Any) -> tuple[float, float]:
    """Return two different, finite times as floats."""
    for time, name in ((start, "start"), (end, "end")):
        if not is_number(time):
            raise TypeError(f"{name} must be a number, got {brief(time)}")
    if not 0 < abs(end - start) < float("inf"):
        raise ValueError(f"start and end must be different, finite times, got {start} and {end}")
    return float(start), float(end)


def _one_row(time: Any) -> Any:
    """Return the first row of times (n_times, batch); anything else as it is."""
    many = isinstance(time, Tensor) and time.ndim == 2 and len(time) > 0
    return time[0] if many else time

"""How properties see the map and the field: as they are, or disturbed to learn their condition."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_clock, shaped_like, time_like
from flowmaps._typing import Condition, Field, PerSample, State
from flowmaps.calculus import jvp
from flowmaps.maps import FlowMap, independent_derivatives
from flowmaps.testing._differences import difference_jvp
from flowmaps.testing._draws import Draw, Space

__all__ = ["View", "condition_of", "evaluate", "size"]


class Typical(NamedTuple):
    """Medians over a sample; a residual that is a number has none."""

    state: float = 0.0
    velocity: float = 0.0
    number: float = 0.0


def size(a: Tensor) -> PerSample:
    """Return the largest absolute entry of every sample, float64; infinite where one is NaN."""
    flat = a.detach().double().abs().reshape(len(a), -1)
    largest = flat.amax(1) if flat.shape[1] else flat.new_zeros(len(a))
    return largest.nan_to_num(nan=torch.inf, posinf=torch.inf)


@dataclass(frozen=True)
class View:
    """The map, the field and how closely derivatives and integrals are computed.

    Args:
        map: X, called with care.
        field: ``b(t, x)`` or ``b(t, x, condition)``, or None.
        space: what draws come from.
        derivatives: "forward", "differences" or "none".
        difference: how far two states are apart, ``difference(a, b)``; a - b unless states are
            periodic.
        nodes: of quadratures.
        ends: whether they have nodes at both ends.
        step: of differences, as a part of the window of times and of the size of states.
        typical: size of states and of the field: what a formula adds and takes off again, and
            rounds by, also where it gives next to nothing.
    """

    map: FlowMap
    field: Field | None
    space: Space
    derivatives: str
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub
    nodes: int = 24
    ends: bool = False
    step: float = 1e-3
    typical: Typical = Typical()

    def with_typical(self, draw: Draw) -> "View":
        """Return the same with the typical sizes, the medians, over a draw."""
        with torch.no_grad():
            sizes = self.state_scale(draw), self.velocity_scale(draw)
        return replace(self, typical=Typical(*(float(a.median()) for a in sizes)))

    def coarser(self) -> "View":
        """Return the same with fewer nodes and longer steps, to tell the error of both.

        The nodes are of another kind, at both ends too, where two rules may miss the same layer.
        """
        return replace(self, nodes=self.nodes * 3 // 4, step=self.step * 1.5, ends=True)

    def disturbed(self, amount: float, seed: int) -> "View":
        """Return the same with all that map and field take and give moved by a relative amount.

        What moves a residual by so much, divided by the amount, is its condition number: what
        rounding, or the error of a solver, in any part of it does to the whole.
        """
        shake = _Shake(amount, seed, self.space)
        field = self.field and _DisturbedField(self.field, shake)
        return replace(self, map=_Disturbed(self.map, shake), field=field)

    def jvp(self, flow_map: Any, *arguments: Any, **tangents: Any) -> tuple[Tensor, Tensor]:
        """Return the map and its derivative, as ``flowmaps.calculus.jvp``, in the way chosen."""
        if self.derivatives == "differences":
            return self.differenced(flow_map, *arguments, **tangents)
        with independent_derivatives():
            return jvp(flow_map, *arguments, **tangents)

    def differenced(self, flow_map: Any, *arguments: Any, **tangents: Any) -> tuple[Tensor, Tensor]:
        """Return the map and its derivative by differences of values."""
        how: Any = {"step": self.step, "within": self.space, "difference": self.difference}
        return difference_jvp(flow_map, *arguments, **tangents, **how)

    def state_scale(self, draw: Draw) -> PerSample:
        """Return the size of the states at both ends, (batch,)."""
        y = self.map(draw.s, draw.t, draw.x, draw.condition)
        return torch.maximum(size(draw.x), size(y).nan_to_num(posinf=0.0))

    def velocity_scale(self, draw: Draw) -> PerSample:
        """Return the speed at both ends, (batch,); without a field, states over the window."""
        if self.field is None:
            return self.state_scale(draw) / (self.space.window[1] - self.space.window[0])
        y = self.map(draw.s, draw.t, draw.x, draw.condition)
        ends = self.speed(draw.s, draw.x, draw.condition), self.speed(draw.t, y, draw.condition)
        return torch.maximum(*(part.nan_to_num(posinf=0.0) for part in ends))

    def speed(self, t: Tensor, x: State, condition: Condition) -> PerSample:
        """Return the size of the field, (batch,)."""
        assert self.field is not None
        return size(evaluate(self.field, t, x, condition))


def condition_of(
    function: Callable[[View], Tensor], view: View, dtype: torch.dtype, disturbances: int = 2
) -> PerSample:
    """Return by how much relative errors of map and field move what is made of them, (batch,).

    Args:
        function: of a view.
        view: which is disturbed, by roots of the rounding unit.
        dtype: whose rounding unit.
        disturbances: whose effects are compared; the largest counts.
    """
    amount = torch.finfo(dtype).eps ** 0.5
    found = function(view)
    moved = (function(view.disturbed(amount, seed)) for seed in range(disturbances))
    changes = [size(each - found).nan_to_num(posinf=0.0) / amount for each in moved]
    return torch.stack(changes).amax(0)


def evaluate(field: Field, t: Tensor, x: State, condition: Condition) -> Tensor:
    """Return b(t, x) for clocks (batch,)."""
    extra = () if condition is None else (condition,)
    return field(time_like(t, x), x, *extra)


class _Shake:
    """Relative disturbances, the same ones for all batches of one shape."""

    def __init__(self, amount: float, seed: int, space: Space):
        self.amount, self.seed, self.space = amount, seed, space
        self._patterns: dict[tuple[tuple[int, ...], str], Tensor] = {}

    def pattern(self, like: Tensor, what: str) -> Tensor:
        """Return numbers of size 0.5 to 1 and either sign, others for what is called otherwise."""
        key = shape, _ = tuple(like.shape), what
        if key not in self._patterns:
            # numpy's generator, for torch's is refused inside vmap
            generator = np.random.default_rng((self.seed, len(self._patterns)))
            uniform = torch.from_numpy(generator.uniform(-0.5, 0.5, shape))
            self._patterns[key] = uniform + uniform.sign() / 2
        return self._patterns[key].to(like)

    def state(self, x: Tensor, scale: Tensor) -> Tensor:
        """Move a state by the amount, relative to itself and to a scale (batch,)."""
        own, added = (self.amount * self.pattern(x, what) for what in ("state", "scale"))
        return x * (1 + own) + added * shaped_like(scale.to(x.dtype), x)

    def clock(self, time: Tensor, other: Tensor, what: str) -> Tensor:
        """Move a clock by the amount, relative to the larger of two times; within the window."""
        low, high = self.space.window
        reach = torch.maximum(time.abs(), other.abs()).detach()
        moved = time.detach() + self.amount * self.pattern(time.detach(), what) * reach
        return time + (moved.clamp(low, high) - time.detach())


@final
class _Disturbed(FlowMap):
    def __init__(self, inner: FlowMap, shake: _Shake):
        super().__init__()
        self.inner, self.shake = inner, shake

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        s, t = as_clock(s, x, "s"), as_clock(t, x, "t")
        times = self.shake.clock(s, t, "start"), self.shake.clock(t, s, "end")
        admitted = torch.as_tensor(self.inner.times.admits(*(a.detach() for a in times)))
        s, t = (torch.where(admitted, moved, a) for moved, a in zip(times, (s, t), strict=True))
        before = size(x)
        y = self.inner(s, t, self.shake.state(x, before), condition)
        return self.shake.state(y, torch.maximum(before, size(y).nan_to_num(posinf=0.0)))


class _DisturbedField:
    def __init__(self, inner: Field, shake: _Shake):
        self.inner, self.shake = inner, shake

    def __call__(self, t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        value = self.inner(t, self.shake.state(x, size(x)), *condition)
        return self.shake.state(value, size(value).nan_to_num(posinf=0.0))

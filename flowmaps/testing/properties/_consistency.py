"""Whether condition, precision and device change what they should and nothing else."""

import copy
from typing import final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._typing import Condition, Mask, PerSample
from flowmaps.testing._budget import rounding
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._subject import Misbehaviour, described
from flowmaps.testing._view import View, condition_of, evaluate, size

__all__ = ["ConditionRespected", "DeviceConsistency", "DtypeConsistency"]

_NOTICEABLE = 1e-3


@final
class ConditionRespected(Property):
    """Where another condition gives another field, it gives another end."""

    name, kind, units = "condition respected", "conduct", "number"
    requires = frozenset({"condition"})
    alone, conditioned, cost = False, False, 16

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return 1 where the condition of another sample changes nothing and should, else 0."""
        s, _, t, x, _, condition = draw
        other = pytree.tree_map(lambda leaf: None if leaf is None else leaf.roll(1, 0), condition)
        y = view.map(s, t, x, condition)
        unchanged = size(view.map(s, t, x, other) - y) == 0
        if view.field is None:
            return (unchanged.all() & (s != t)).to(x.dtype)
        # At the end too: what relaxes to one state under every condition forgets its condition.
        differs = _differs(view, s, x, draw, other) & _differs(view, t, y, draw, other)
        return (unchanged & differs).to(x.dtype)


def _differs(view: View, time: Tensor, x: Tensor, draw: Draw, other: Condition) -> Mask:
    """Tell where another condition moves a state by more than rounding, in the span of a draw."""
    assert view.field is not None
    own, another = (evaluate(view.field, time, x, each) for each in (draw.condition, other))
    gap, span = size(own - another), (draw.t - draw.s).abs()
    there = gap > _NOTICEABLE * torch.maximum(size(own), size(another))
    return there & (gap * span > rounding(x.dtype) * size(x))


@final
class DtypeConsistency(Property):
    """The values in float32 are those in float64, rounded."""

    name, kind, cost = "dtype consistency", "conduct", 16

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the value in float32 less that in float64, for one state that both can hold."""
        single = draw.x.float()
        condition = pytree.tree_map(_single, draw.condition)
        s, t = draw.s.float().double(), draw.t.float().double()
        low, high = view.space.window
        s, t = s.clamp(low, high), t.clamp(low, high)
        coarse = view.map(s, t, single, condition)
        fine = view.map(s, t, single.double(), pytree.tree_map(_double, condition))
        return view.difference(coarse.double(), fine)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return that of one of the values: disturbances move both alike."""
        s, _, t, x, _, condition = draw
        return condition_of(lambda each: each.map(s, t, x, condition), view, draw.x.dtype)

    def dtype(self, draw: Draw) -> torch.dtype:
        """Return float32, in which one of the values is computed."""
        return torch.float32

    def missing(self, view: View) -> str | None:
        """Return that a map with parameters has their precision."""
        module = view.map.function  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(module, nn.Module) and any(True for _ in module.parameters()):
            return "the map's parameters have one precision"
        return None

    def excused(self, error: Exception) -> str | None:
        """Return that the map takes one precision alone, if it raises for the other."""
        raised = isinstance(error, Misbehaviour) and error.kind == "raises"
        return f"of one precision: {error}" if raised else None


@final
class DeviceConsistency(Property):
    """The values on an accelerator are those on the CPU, up to rounding."""

    name, kind, cost = "device consistency", "conduct", 16

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the values on the states' own device less those on the CPU."""
        there = view.map(draw.s, draw.t, draw.x, draw.condition)
        on_cpu = copy.deepcopy(view.map).cpu()
        s, _, t, x, _, condition = pytree.tree_map(_on_cpu, tuple(draw))
        return view.difference(there, on_cpu(s, t, x, condition).to(there.device))

    def missing(self, view: View) -> str | None:
        """Return that states lie on the CPU, with nothing to compare it with."""
        return "states are on the CPU" if view.space.device.type == "cpu" else None

    def excused(self, error: Exception) -> str | None:
        """Return that the map works on one device alone, if it raises on the other."""
        wrong = isinstance(error, Misbehaviour) and error.kind != "raises"
        return None if wrong else f"of one device: {described(error)}"


def _on_cpu(leaf: Tensor | None) -> Tensor | None:
    return None if leaf is None else leaf.cpu()


def _single(leaf: Tensor | None) -> Tensor | None:
    return leaf.float() if leaf is not None and leaf.is_floating_point() else leaf


def _double(leaf: Tensor | None) -> Tensor | None:
    return leaf.double() if leaf is not None and leaf.is_floating_point() else leaf

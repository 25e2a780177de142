"""Whether the derivatives that a map has are those of its values."""

from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import shaped_like
from flowmaps._typing import State
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._view import View, size

__all__ = ["DerivativeHonesty", "ModesAgree"]

_PARTS = (2.0**-6, 2.0**-12)
"""Of the step, tried where forward mode and differences do not agree."""
_CLOSE = 1e-8


@final
class DerivativeHonesty(Property):
    """Derivatives in s, t and x by forward mode are those by differences of values.

    Without it no property that takes derivatives says anything about values: a map can claim
    dX/dt = b while its values are another flow's.
    """

    name, kind, units = "derivative honesty", "derivatives", "velocity"
    requires = frozenset({"forward derivatives"})
    approximate, cost = True, 4

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the differences in s, t and x side by side, (batch, 3, *event)."""
        v = _direction(view, draw)
        parts = [_gap(view, draw, **tangents) for tangents in ({"ds": 1.0}, {"dt": 1.0}, {"dx": v})]
        return torch.stack(parts, dim=1)

    def scale(self, view: View, draw: Draw) -> Tensor:
        """Return the largest of the derivatives and the speed, (batch,)."""
        s, _, t, x, _, condition = draw
        tangents = {"ds": 1.0}, {"dt": 1.0}, {"dx": _direction(view, draw)}
        sizes = [
            size(view.differenced(view.map, s, t, x, condition=condition, **one)[1])
            for one in tangents
        ]
        return torch.stack([super().scale(view, draw), *sizes]).nan_to_num(posinf=0.0).amax(0)

    def resolution(self, draw: Draw) -> float:
        """Return what rounding takes from differences, whose steps are not infinitely small."""
        return 4 * torch.finfo(draw.x.dtype).eps ** 0.5

    def code(self, arguments: str) -> str:
        """Return the derivatives in both times beside differences of values."""
        rest = arguments.removeprefix("s, t, x")
        return (
            "[\n"
            f"    fm.calculus.start_derivative(flow_map, {arguments}),\n"
            f"    (flow_map(s + 1e-5, t, x{rest}) - flow_map(s - 1e-5, t, x{rest})) / 2e-5,\n"
            f"    fm.calculus.time_derivative(flow_map, {arguments}),\n"
            f"    (flow_map(s, t + 1e-5, x{rest}) - flow_map(s, t - 1e-5, x{rest})) / 2e-5,\n"
            f"    fm.calculus.jacobian(flow_map, {arguments}),\n"
            "]"
        )


def _gap(view: View, draw: Draw, **tangents: Any) -> Tensor:
    """Return a derivative by forward mode less that by differences, where these agree best.

    A map may have kinks, as networks of ReLUs have: shorter differences do not reach them. What is
    not the derivative of the values is wrong at every step.
    """
    s, _, t, x, _, condition = draw
    own = view.jvp(view.map, s, t, x, condition=condition, **tangents)[1]
    gap = own - view.differenced(view.map, s, t, x, condition=condition, **tangents)[1]
    for part in _PARTS:
        rows = (size(gap) > _CLOSE * size(own)).nonzero()[:, 0]
        if not len(rows):
            break
        few = draw.take(rows)
        rest = {k: a[rows] if isinstance(a, Tensor) else a for k, a in tangents.items()}
        finer = replace(view, step=view.step * part)
        there = finer.differenced(view.map, few.s, few.t, few.x, condition=few.condition, **rest)[1]
        another = own[rows] - there
        closer = shaped_like(size(another) < size(gap[rows]), another)
        gap = gap.index_copy(0, rows, torch.where(closer, another, gap[rows]))
    return gap


@final
class ModesAgree(Property):
    """Forward and reverse mode give one derivative: w (DX v) = (w DX) v."""

    name, kind, units = "modes agree", "derivatives", "velocity"
    requires = frozenset({"forward derivatives"})
    cost = 8

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the difference in the size of one component, (batch,)."""
        s, _, t, x, v, condition = draw
        v = _direction(view, draw)
        forward = view.jvp(view.map, s, t, x, dx=v, condition=condition)[1]
        w = _covector(draw)
        with torch.enable_grad():
            start = x.detach().requires_grad_()
            y = view.map(s, t, start, condition)
            if not y.requires_grad:
                return (w * forward).reshape(len(x), -1).sum(1)
            (back,) = torch.autograd.grad(y, start, w, allow_unused=True)
        back = torch.zeros_like(x) if back is None else back
        return ((w * forward) - (back * v)).reshape(len(x), -1).sum(1)

    def scale(self, view: View, draw: Draw) -> Tensor:
        """Return the size of DX v, and the speed, (batch,)."""
        s, _, t, x, _, condition = draw
        forward = view.jvp(view.map, s, t, x, dx=_direction(view, draw), condition=condition)[1]
        own = size(forward).nan_to_num(posinf=0.0) * x[0].numel()
        return torch.maximum(super().scale(view, draw), own)


def _covector(draw: Draw) -> State:
    """Return what derivatives along v are measured by, no linear function of v.

    For w = L v a part of the derivative would never be seen: w (D v) is a quadratic form in v.
    """
    w = draw.v.reshape(len(draw.v), -1).roll(1, 1).pow(3).reshape(draw.v.shape)
    return w / shaped_like(size(w).clamp_min(1e-300).to(w.dtype), w)


def _direction(view: View, draw: Draw) -> State:
    """Return directions as long as states move in the window, so that all parts are velocities."""
    v = draw.v / shaped_like(size(draw.v).clamp_min(1e-300).to(draw.x.dtype), draw.x)
    return v * (view.space.extent / (view.space.window[1] - view.space.window[0]))

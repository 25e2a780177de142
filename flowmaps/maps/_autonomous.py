"""A flow map of short spans, composed to any span of an autonomous field."""

import math
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_clock
from flowmaps._transforms import peek
from flowmaps._typing import Condition, Time
from flowmaps.errors import UnsupportedTransform
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._times import TimeSet

__all__ = ["Autonomous"]

_ROUNDING = 1e-9
"""A span longer than a whole number of spans by no more than this share needs no extra call."""


class Autonomous(FlowMap):
    """The flow map of an autonomous field: (s, t) is shifted to (0, t - s) and composed of the fewest calls.

    A span h takes ceil(|h| / span) calls of equal length. Backward spans use X_{0,h} where the map allows
    negative times, else X_{|h|,0}.

    Args:
        flow_map: a map of spans up to ``span`` from time 0.
        span: longest span of one call.

    Raises:
        ValueError: if the map is not for [0, span].
        UnsupportedTransform: when compiled with times given as tensors: the number of calls depends on them.

    Example:
        >>> import torch, flowmaps as fm
        >>> step = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None], fm.maps.TimeSet(0.0, 0.25))
        >>> long = fm.maps.Autonomous(step, span=0.25)
        >>> long(3.0, 5.0, torch.zeros(1, 1)).item(), long.evaluations(3.0, 5.0)
        (2.0, 8)
    """

    def __init__(self, flow_map: FlowMap, span: float):
        inner = flow_map.times
        if not span > 0 or not inner.admits(*((0.0, span) if inner.forward else (span, 0.0))):
            raise ValueError(f"span must be positive and [0, span] allowed by the map ({inner}), got {span}")
        super().__init__(TimeSet(forward=inner.forward, backward=inner.backward))
        self.flow_map = flow_map
        self.span = float(span)
        self._negative = bool(inner.admits(0.0, -span))

    def _count(self, h: float) -> int:
        return max(1, math.ceil(abs(h) / self.span * (1 - _ROUNDING)))

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        if isinstance(s, float) and isinstance(t, float):
            n = self._count(t - s)
            h = (t - s) / n
            start = 0.0 if h >= 0 or self._negative else -h
            for _ in range(n):
                x = self.flow_map(start, start + h, x, condition)
            return x
        return self._transport_clocks(as_clock(s, x, "s"), as_clock(t, x, "t"), x, condition)

    def _transport_clocks(self, s: Tensor, t: Tensor, x: Tensor, condition: Condition) -> Tensor:
        if torch.compiler.is_compiling():
            raise UnsupportedTransform(
                "Autonomous compiles only with times given as numbers: tensors decide the number of calls"
            )
        share = (t - s).detach().abs() / self.span * (1 - _ROUNDING)
        n = torch.nan_to_num(share).ceil().clamp_min(1.0)
        h = (t - s) / n
        start = torch.zeros_like(h) if self._negative else torch.where(h < 0, -h, 0.0)
        most = int(peek(n).max().item()) if len(x) else 0
        for k in range(most):
            moving = k < n
            moved = self.flow_map(start, start + torch.where(moving, h, 0.0), x, condition)
            x = torch.where(moving.reshape(-1, *([1] * (x.ndim - 1))), moved, x)
        return x

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the inner map's velocity at time 0, (batch, *event)."""
        return self.flow_map.velocity(0.0, x, condition)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of the inner map."""
        n = self._count(t - s)
        return n * self.flow_map.evaluations(0.0, (t - s) / n)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "span": self.span}

"""A flow map of short spans, composed to any span of an autonomous field."""

import math
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_clock, brief, checking, is_number, shaped_like
from flowmaps._transforms import is_transforming, peek
from flowmaps._typing import Clock, Condition, State
from flowmaps.maps._exact import ExactFlowMap
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._neural import NeuralFlowMap
from flowmaps.maps._selection import stand_in
from flowmaps.maps._solver import SolverFlowMap
from flowmaps.maps._times import TimeSet

__all__ = ["Autonomous"]

_SHARE = 0.618
"""Of the span; a period of the field is hardly such a part of it."""
_DIFFERENT = 1e-3
"""Velocities further apart, relative to their size, are those of a field that depends on time."""
_ROUNDING = 1e-9
"""A span longer than a whole number of spans by no more than this share needs no extra call."""


@final
class Autonomous(FlowMap):
    """The flow map of an autonomous field: (s, t) is shifted to (0, t - s), in the fewest calls.

    A span h takes ceil(|h| / span) calls of equal length. Backward spans use X_{0,h} where the map
    allows negative times, else X_{|h|,0}. Times given as numbers compile into one graph; tensors
    decide the number of calls, so that in a compiled function the map then runs between two graphs.

    Args:
        flow_map: a map of spans up to ``span`` from time 0.
        span: longest span of one call.

    Raises:
        TypeError: if flow_map is no FlowMap or span no number.
        ValueError: if the map is not for [0, span]; when first called, if its field, one that is
            solved or known in closed form, depends on time.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + (t - s)[:, None]
        >>> step = fm.maps.ExactFlowMap(shift, fm.maps.TimeSet(0.0, 0.25))
        >>> long = fm.maps.Autonomous(step, span=0.25)
        >>> long(3.0, 5.0, torch.zeros(1, 1)).item(), long.evaluations(3.0, 5.0)
        (2.0, 8)
    """

    def __init__(self, flow_map: FlowMap, span: float):
        if not isinstance(flow_map, FlowMap) or not is_number(span):
            raise TypeError(
                "Autonomous needs a FlowMap and a number for span, "
                f"got {type(flow_map).__name__} and {brief(span)}"
            )
        inner = flow_map.times
        ends = (0.0, span) if inner.forward else (span, 0.0)
        if not 0 < span < math.inf or not inner.admits(*ends):
            raise ValueError(
                f"span must be positive and [0, span] allowed by the map, "
                f"which is for {inner}; got {span}"
            )
        super().__init__(TimeSet(forward=inner.forward, backward=inner.backward))
        self.flow_map = flow_map
        self.span = float(span)
        self._negative = bool(inner.admits(0.0, -span))
        self._asked: set[tuple] = set()

    def _calls(self, h: float) -> tuple[int, float, float]:
        """Return the number of calls for a span h, and the times of each."""
        n = max(1, math.ceil(abs(h) / self.span * (1 - _ROUNDING)))
        start = 0.0 if h >= 0 or self._negative else -h / n
        return n, start, start + h / n

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        self._refuse_times(x, condition)
        if isinstance(s, float) and isinstance(t, float):
            n, start, end = self._calls(t - s)
            for _ in range(n):
                x = self.flow_map(start, end, x, condition)
            return x
        arguments = (as_clock(s, x, "s"), as_clock(t, x, "t"), x, condition)
        if torch.compiler.is_compiling():
            from flowmaps.maps._uncompiled import run_eagerly

            return run_eagerly(self._transport_clocks, *arguments)
        return self._transport_clocks(*arguments)

    def _transport_clocks(self, s: Clock, t: Clock, x: State, condition: Condition) -> Tensor:
        share = (t - s).detach().abs() / self.span * (1 - _ROUNDING)
        # Times that are not finite take one call, which makes their samples so.
        n = torch.nan_to_num(share, posinf=0.0).ceil().clamp_min(1.0)
        h = (t - s) / n
        start = torch.zeros_like(h) if self._negative else torch.where(h < 0, -h, 0.0)
        most = int(peek(n).max().item()) if len(x) else 0
        for k in range(most):
            moving = k < n
            step = torch.where(moving, h, 0.0)
            moved = self.flow_map(*stand_in(moving, (start, start + step, x, condition)))
            x = torch.where(shaped_like(moving, x), moved, x)
        return x

    def _refuse_times(self, x: State, condition: Condition) -> None:
        """Refuse a field that depends on time, by its values at two times in the first plain call.

        A learned map is taken as it is: of its velocities only the one at time 0 need be trained.
        """
        kind = x.shape[1:], x.dtype, condition is None
        if torch.compiler.is_compiling() or is_transforming() or x.is_meta or not x.numel():
            return
        if kind in self._asked or not self._is_known():
            return
        self._asked.add(kind)
        later = (1.0 if self.flow_map.times.forward or not self._negative else -1.0) * _SHARE
        if not self.flow_map.times.admits(later * self.span, later * self.span):
            return
        few = pytree.tree_map(lambda leaf: None if leaf is None else leaf[:2], (x, condition))
        with torch.no_grad(), checking("static"):
            a, b = (self.flow_map.velocity(time, *few) for time in (0.0, later * self.span))
        far = (a - b).abs() > _DIFFERENT * (a.abs() + b.abs()).nan_to_num().max()
        if bool((far & torch.isfinite(a) & torch.isfinite(b)).any()):
            raise ValueError(
                "Autonomous shifts times, but this map's field depends on them: its velocity at "
                f"one state differs at t = 0 and t = {later * self.span:.3g}; compose such a map "
                "with flow_map.through(grid) instead"
            )

    def _is_known(self) -> bool:
        parts = [part for part in self.flow_map.modules() if isinstance(part, FlowMap)]
        solved = any(isinstance(part, SolverFlowMap | ExactFlowMap) for part in parts)
        return solved and not any(isinstance(part, NeuralFlowMap) for part in parts)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        return self.flow_map.velocity(0.0, x, condition)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of the inner map."""
        n, start, end = self._calls(t - s)
        return n * self.flow_map.evaluations(start, end)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "span": self.span}

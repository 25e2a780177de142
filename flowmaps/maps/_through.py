"""A flow map by way of a grid."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any, final

from torch import Tensor

from flowmaps._typing import Condition, State
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._sweep import check_breaks, legs, pieces_of, sweep

__all__ = ["Through"]


@final
class Through(FlowMap):
    """X_{s,t} as the composition over the grid times between s and t: few-step sampling.

    Made by ``flow_map.through(grid)``. Derivatives at a grid time are one-sided, inside the span.

    Args:
        flow_map: the map to compose.
        grid: times in increasing order; those outside the span asked for do nothing.

    Raises:
        TypeError, ValueError: if flow_map is no FlowMap, or the grid does not increase.

    Example:
        >>> import torch, flowmaps as fm
        >>> euler = fm.maps.SolverFlowMap(lambda t, x: x, method=fm.solvers.Euler(), steps=1)
        >>> euler.through([0.0, 0.5, 1.0])(0.0, 1.0, torch.ones(1, 1)).item()
        2.25
    """

    def __init__(self, flow_map: FlowMap, grid: Sequence[float] | Tensor):
        if not isinstance(flow_map, FlowMap):
            raise TypeError(f"Through needs a FlowMap, got {type(flow_map).__name__}")
        super().__init__(replace(flow_map.times, max_span=inf))
        self.grid = check_breaks(grid, "grid")
        self.flow_map = flow_map
        # The ends of the map's own interval, and what lies beyond, are never in between.
        self._breaks = [g for g in self.grid if self.times.lower < g < self.times.upper]

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        pieces = pieces_of([self.flow_map] * (len(self._breaks) + 1), self._breaks)
        return sweep(pieces, self.times, s, t, x, condition)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        return self.flow_map.velocity(t, x, condition)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls between s and t."""
        return sum(self.flow_map.evaluations(a, b) for _, a, b in legs(self._breaks, s, t))

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "grid": self.grid}

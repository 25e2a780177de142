"""A flow map by way of a grid."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

from torch import Tensor

from flowmaps._typing import Condition, Time
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._sweep import check_breaks, legs, sweep

__all__ = ["Through"]


class Through(FlowMap):
    """X_{s,t} as the composition over the grid times between s and t: few-step sampling, or a coarser map.

    Made by ``flow_map.through(grid)``. Derivatives at a grid time are one-sided, inside the span.

    Args:
        flow_map: the map to compose.
        grid: times in increasing order; those outside the span asked for do nothing.

    Raises:
        ValueError: if the grid does not increase.

    Example:
        >>> import torch, flowmaps as fm
        >>> euler = fm.maps.SolverFlowMap(lambda t, x: x, method=fm.solvers.Euler(), steps=1)
        >>> euler.through([0.0, 0.5, 1.0])(0.0, 1.0, torch.ones(1, 1)).item()
        2.25
    """

    def __init__(self, flow_map: FlowMap, grid: Sequence[float] | Tensor):
        super().__init__(replace(flow_map.times, max_span=inf))
        self.grid = check_breaks(grid, "grid")
        self.flow_map = flow_map

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        pieces = [self.flow_map] * (len(self.grid) + 1)
        return sweep(pieces, self.grid, s, t, x, condition)

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the velocity of the composed map, (batch, *event)."""
        return self.flow_map.velocity(t, x, condition)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls between s and t."""
        return sum(self.flow_map.evaluations(a, b) for _, a, b in legs(self.grid, s, t))

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "grid": self.grid}

"""Few-step sampling."""

from collections.abc import Iterable, Sequence
from math import isfinite

import torch
from torch import Tensor

from flowmaps._checks import check_state, require_finite
from flowmaps._typing import Condition
from flowmaps.maps import FlowMap

__all__ = ["sample"]


@torch.no_grad()
def sample(
    learned: FlowMap,
    noise: Tensor,
    steps: int | Sequence[float] | Tensor = 4,
    condition: Condition = None,
) -> Tensor:
    """Carry noise to data in a few steps of a learned flow map.

    Args:
        learned: a flow map whose ``times`` run from noise (lower) to data (upper); 0 and 1 where
            they are infinite.
        noise: samples of the base law, (batch, *event).
        steps: number of equal steps, or the grid of times itself, from noise to data.
        condition: tensor or pytree with leading batch axis.

    Returns:
        Samples (batch, *event). Deterministic: equal noise gives equal samples, in another batch up
        to rounding.

    Raises:
        TypeError: if learned is no flow map, or steps are neither a whole number nor times.
        ValueError: for fewer than one step, a grid that does not increase, or noise that is not
            finite.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
        >>> fm.generative.sample(learned, torch.randn(5, 2), steps=4).shape
        torch.Size([5, 2])
    """
    if not isinstance(learned, FlowMap):
        raise TypeError(
            f"learned must be a flow map, got {type(learned).__name__}; "
            "wrap a function in fm.maps.ExactFlowMap, a network in fm.maps.NeuralFlowMap"
        )
    require_finite(check_state(noise, "noise"), "noise")
    grid = _grid(learned, steps)
    return learned.through(grid)(grid[0], grid[-1], noise, condition)


def _grid(learned: FlowMap, steps: int | Sequence[float] | Tensor) -> list[float]:
    lower, upper = learned.times.lower, learned.times.upper
    if isinstance(steps, int):
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        start = lower if isfinite(lower) else 0.0
        end = upper if isfinite(upper) else 1.0
        return torch.linspace(start, end, steps + 1, dtype=torch.float64).tolist()
    if not isinstance(steps, Iterable):
        raise TypeError(
            "steps must be a whole number, or the times of a grid, "
            f"got {type(steps).__name__} {steps!r}"
        )
    grid = [float(time) for time in steps]
    if len(grid) < 2:
        raise ValueError(f"a grid needs at least its two ends, got {grid}")
    return grid

"""Few-step sampling."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isclose, isfinite

import torch
from torch import Tensor, nn

from flowmaps._checks import as_count, check_state, require_finite
from flowmaps._typing import Condition, Count
from flowmaps.maps import FlowMap

__all__ = ["ends", "evaluating", "sample"]


@torch.no_grad()
def sample(
    learned: FlowMap,
    noise: Tensor,
    steps: Count | Sequence[float] | Tensor = 4,
    condition: Condition = None,
) -> Tensor:
    """Carry noise to data in a few steps of a learned flow map, in eval mode and without gradients.

    For gradients call the map itself: ``learned.through(grid)(0.0, 1.0, noise)``.

    Args:
        learned: a flow map whose ``times`` run from noise (lower) to data (upper); 0 and 1 where
            they are infinite.
        noise: samples of the base law, (batch, *event).
        steps: number of equal steps, or the grid of times itself, which starts where the noise is;
            the samples are states at its last time.
        condition: tensor or pytree with leading batch axis.

    Returns:
        Samples (batch, *event). Deterministic: equal noise gives equal samples, in another batch up
        to rounding.

    Raises:
        TypeError: if learned is no flow map, or steps are neither a whole number nor times.
        ValueError: for fewer than one step, a grid that does not increase or starts elsewhere, or
            noise that is not finite.

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
    with evaluating(learned):
        return learned.through(grid)(grid[0], grid[-1], noise, condition)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode, and every part back into its own mode after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def ends(learned: FlowMap) -> tuple[float, float]:
    """Return the times of noise and of data: the ends of the map's, 0 and 1 where infinite."""
    lower, upper = learned.times.lower, learned.times.upper
    return lower if isfinite(lower) else 0.0, upper if isfinite(upper) else 1.0


def _grid(learned: FlowMap, steps: Count | Sequence[float] | Tensor) -> list[float]:
    start, end = ends(learned)
    whole = getattr(steps, "ndim", None) == 0 or isinstance(steps, str)
    if whole or not isinstance(steps, Iterable):
        return torch.linspace(
            start, end, as_count(steps, "steps") + 1, dtype=torch.float64, device="cpu"
        ).tolist()
    grid = [float(time) for time in steps]
    if len(grid) < 2:
        raise ValueError(f"a grid needs at least its two ends, got {grid}")
    if not isclose(grid[0], start, rel_tol=1e-6, abs_tol=1e-6 * (end - start)):
        raise ValueError(
            f"a grid starts where the noise is, at time {start:g}, got {grid[0]:g}; to go on from "
            "a later time call learned.through(grid)"
        )
    return grid

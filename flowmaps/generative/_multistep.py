"""Multistep sampling of maps that know only the way to the data."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, check_state, require_finite
from flowmaps._typing import Condition, Count
from flowmaps.generative._sampling import ends, evaluating
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import FlowMap

__all__ = ["sample_multistep"]


@torch.no_grad()
def sample_multistep(
    learned: FlowMap,
    noise: Tensor,
    steps: Count | Sequence[float] = 4,
    condition: Condition = None,
    interpolant: Interpolant | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Jump to the data, add new noise, jump again: for consistency models, which are X_{s,1} alone.

    After every jump but the last the state is I_s of the sample found and fresh noise, at the next
    time of the grid. Its law is right if X_{s,1} is; single trajectories are not followed.

    Args:
        learned: a flow map whose ``times`` run from noise (lower) to data (upper).
        noise: samples of the base law, (batch, *event).
        steps: number of equal steps of the grid of start times, or these times, the first being
            that of the noise.
        condition: tensor or pytree with leading batch axis.
        interpolant: that the map was trained on; None for ``Linear()``.
        generator: a CPU generator for the fresh noise.

    Raises:
        TypeError: if learned is no flow map.
        ValueError: for fewer than one step, or times that do not increase or leave the interval.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithm 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
        >>> fm.generative.sample_multistep(learned, torch.randn(5, 2), steps=2).shape
        torch.Size([5, 2])
    """
    if not isinstance(learned, FlowMap):
        raise TypeError(f"learned must be a flow map, got {brief(learned)}")
    require_finite(check_state(noise, "noise"), "noise")
    path = interpolant or Linear()
    end = ends(learned)[1]
    extra = () if condition is None else (condition,)
    with evaluating(learned):
        starts = _starts(learned, steps)
        x = learned(starts[0], end, noise, *extra)
        for start in starts[1:]:
            fresh = torch.randn(noise.shape, generator=generator, dtype=noise.dtype, device="cpu")
            x = path.interpolate(start, fresh.to(noise.device), x)
            x = learned(start, end, x, *extra)
    return x


def _starts(learned: FlowMap, steps: Count | Sequence[float]) -> list[float]:
    lower, upper = ends(learned)
    if isinstance(steps, Sequence):
        times = [float(time) for time in steps]
        inside = len(times) > 0 and times[0] == lower and times[-1] < upper
        if not inside or any(b <= a for a, b in zip(times, times[1:], strict=False)):
            raise ValueError(
                f"start times must increase from {lower:g} and stay before {upper:g}, got {times}"
            )
        return times
    count = as_count(steps, "steps")
    return [lower + k / count * (upper - lower) for k in range(count)]

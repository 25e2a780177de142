"""Sampling by a stochastic equation with the same laws."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._checks import as_count, check_state, require_finite
from flowmaps._typing import Condition, Count, Field
from flowmaps.interpolants import Interpolant, Linear, convert

__all__ = ["sample_sde"]


@torch.no_grad()
def sample_sde(
    field: Field,
    noise: Tensor,
    interpolant: Interpolant | None = None,
    steps: Count = 100,
    diffusion: Callable[[Tensor], Tensor] | None = None,
    condition: Condition = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Carry noise to data by dX = (b + epsilon score) dt + sqrt(2 epsilon) dW.

    For every epsilon(t) >= 0 the law at each time is that of the flow of b; with epsilon = 0 it is
    that flow. The score comes from b itself, for a standard normal base independent of the data.
    Heun's method on the drift with equal increments of noise (weak order one, two where epsilon is
    zero); the last step is the flow's alone, so that no noise is left on the samples.

    Args:
        field: b(t, x) or b(t, x, condition); a flow map's ``velocity``.
        noise: samples of the law at the interpolant's lower end, (batch, *event).
        interpolant: the path of the field; None for ``Linear()``.
        steps: number of equal steps.
        diffusion: epsilon of times (batch,); None for sigma(t), the noise's standard deviation,
            with which the drift stays finite at the data's end.
        condition: tensor or pytree with leading batch axis.
        generator: a CPU generator of the increments.

    Raises:
        ValueError: for a diffusion that is negative, or noise that is not finite.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, theorem 2.6 and corollary 2.18.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.GaussianInterpolant(mean=[1.0], covariance=[[0.25]])
        >>> noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
        >>> found = fm.generative.sample_sde(problem.field, noise, steps=50)
        >>> bool((found.mean() - 1).abs() < 0.02 and (found.std() - 0.5).abs() < 0.02)
        True
    """
    require_finite(check_state(noise, "noise"), "noise")
    path, count = interpolant or Linear(), as_count(steps, "steps")
    epsilon = diffusion or (lambda t: path.noise_level(t)[0])
    extra = () if condition is None else (condition,)
    lower, upper = path.times
    h, x = (upper - lower) / count, noise

    def drift(t: float, y: Tensor) -> tuple[Tensor, float]:
        clock = y.new_full((len(y),), t, dtype=torch.float64)
        strength = float(epsilon(clock[:1]))
        if not strength >= 0:
            raise ValueError(f"diffusion must not be negative, got {strength:g} at time {t:g}")
        b = field(clock.to(y.dtype), y, *extra)
        if strength == 0:
            return b, 0.0
        return b + strength * convert(b, clock, y, path, "velocity", "score"), strength

    for k in range(count):
        t = lower + k * h
        if k == count - 1:
            clocks = [x.new_full((len(x),), time) for time in (t, t + h / 2)]
            first = field(clocks[0], x, *extra)
            return x + h * field(clocks[1], x + h / 2 * first, *extra)
        first, strength = drift(t, x)
        increment = torch.randn(x.shape, generator=generator, dtype=x.dtype, device="cpu")
        shake = (2 * strength * h) ** 0.5 * increment.to(x.device)
        second = drift(t + h, x + h * first + shake)[0]
        x = x + h * (first + second) / 2 + shake
    return x

"""The flow from a Gaussian to a mixture of isotropic Gaussians."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_count, as_numbers, as_positive
from flowmaps.interpolants import Interpolant
from flowmaps.problems._interpolant_flow import InterpolantFlow

__all__ = ["GaussianMixtureFlow", "eight_gaussians_flow"]


@final
class GaussianMixtureFlow(InterpolantFlow):
    """Data sum_k weight_k N(mean_k, spread^2): the exact field of an interpolant from N(0, 1).

    Given the component k, I_t is Gaussian of mean beta m_k and variance alpha^2 + beta^2 spread^2
    in every coordinate; the field is the mean of the components' by their posterior weights.

    Args:
        means: (components, dim).
        weights: of the components, positive; divided by their sum. None for equal ones.
        spread: standard deviation of each component in each coordinate.
        interpolant: the path; None for ``Linear()``.

    Raises:
        TypeError, ValueError: for means, weights or a spread that are none.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, appendix on Gaussian mixtures.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.GaussianMixtureFlow([[-1.0], [1.0]], spread=0.1)
        >>> problem.field(0.5, torch.zeros(1, 1)).item()
        0.0
    """

    def __init__(
        self,
        means: Sequence[Sequence[float]] | Tensor,
        weights: Sequence[float] | Tensor | None = None,
        spread: float = 0.1,
        interpolant: Interpolant | None = None,
    ):
        super().__init__(interpolant)
        self.means = as_numbers(means, "means")
        if self.means.ndim != 2 or 0 in self.means.shape:
            raise ValueError(
                f"means must have shape (components, dim), got {tuple(self.means.shape)}"
            )
        count, self.dim = self.means.shape
        shares = torch.ones(count) if weights is None else as_numbers(weights, "weights")
        shares = shares.double()
        if shares.shape != (count,) or not bool((shares > 0).all() and shares.isfinite().all()):
            raise ValueError(f"weights must be {count} positive numbers, got {shares.tolist()}")
        self.weights, self.spread = shares / shares.sum(), as_positive(spread, "spread")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return data (n, dim); see InterpolantFlow."""
        n, cpu = as_count(n, "n", least=0), torch.device("cpu")
        level = torch.rand(n, generator=generator, dtype=torch.float64, device=cpu)
        number = torch.searchsorted(self.weights.cumsum(0), level).clamp(max=len(self.weights) - 1)
        noise = torch.randn(n, self.dim, generator=generator, device=cpu)
        return self.means[number].to(noise) + self.spread * noise

    def log_density(self, x: Tensor) -> Tensor:
        """Return the logarithm of the data's density (batch,) at x (batch, dim)."""
        means, weights = self._on(x.device)
        square = (x.double()[:, None] - means).square().sum(2) / self.spread**2
        norm = self.dim * math.log(self.spread * math.sqrt(2 * math.pi))
        return torch.logsumexp(weights.log() - square / 2 - norm, 1).to(x.dtype)

    def _constants(self) -> list[Tensor]:
        return [self.means, self.weights]

    def _means(self, alpha: Tensor, beta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        means, weights = self._on(x.device)
        variance = alpha**2 + (beta * self.spread) ** 2
        apart = x[:, None] - beta[:, None] * means  # (batch, components, dim)
        log_odds = weights.log() - apart.square().sum(2) / (2 * variance)
        posterior = torch.softmax(log_odds, 1)
        mean_apart = torch.einsum("bk,bkd->bd", posterior, apart)
        base = alpha / variance * mean_apart
        data = posterior @ means + beta * self.spread**2 / variance * mean_apart
        return base, data


def eight_gaussians_flow(
    radius: float = 1.0, spread: float = 0.1, interpolant: Interpolant | None = None
) -> GaussianMixtureFlow:
    """Return the flow to eight equal Gaussians, evenly spaced on a circle.

    Args:
        radius: of the circle.
        spread: standard deviation of each Gaussian.
        interpolant: the path; None for ``Linear()``.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.eight_gaussians_flow()
        >>> problem.field(0.0, torch.zeros(1, 2)).abs().max().item() < 1e-6
        True
    """
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    centers = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return GaussianMixtureFlow(centers, spread=spread, interpolant=interpolant)

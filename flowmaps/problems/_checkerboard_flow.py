"""The flow from a Gaussian to a checkerboard."""

import math
from typing import final

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_count
from flowmaps.problems._interpolant_flow import InterpolantFlow

__all__ = ["CheckerboardFlow"]

_LOG_ROOT = math.log(math.sqrt(2 * math.pi))
_SIDE = 0.5
"""Of a square."""
_NARROW = 1.0
"""Squares narrower than this many standard deviations of the posterior go by quadrature."""


@final
class CheckerboardFlow(InterpolantFlow):
    """Data uniform on the dark squares of a 4x4 board over [-1, 1]^2: the exact field.

    Given a square, x1 is a normal number cut off at its edges, in each coordinate alone; the field
    is the mean over the eight squares by their posterior masses. Square (i, j), counted from the
    lower left, is dark where i + j is even. At the upper end of time the field has its limit on
    dark squares and is large elsewhere, towards them.

    Args:
        interpolant: the path; None for ``Linear()``.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825, for the board.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.CheckerboardFlow()
        >>> problem.field(1.0, torch.tensor([[0.25, 0.25]])).shape
        torch.Size([1, 2])
    """

    dim = 2

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return data (n, 2); see InterpolantFlow."""
        n, cpu = as_count(n, "n", least=0), torch.device("cpu")
        column = torch.randint(4, (n,), generator=generator, device=cpu)
        row = 2 * torch.randint(2, (n,), generator=generator, device=cpu) + column % 2
        inside = torch.rand(n, 2, generator=generator, device=cpu)
        return (torch.stack([column, row], dim=1) + inside) / 2 - 1

    def _constants(self) -> list[Tensor]:
        nodes, weights = np.polynomial.legendre.leggauss(12)
        lower = torch.arange(4, dtype=torch.float64, device="cpu") / 2 - 1
        return [lower, torch.from_numpy(nodes), torch.from_numpy(weights)]

    def _means(self, alpha: Tensor, beta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        # a positive alpha at the end itself, where only its limit has a meaning
        alpha = alpha.clamp(min=1e-7)[:, :, None]
        beta, state = beta[:, :, None], x[:, :, None]
        lower, nodes, weights = self._on(x.device)
        log_mass, base, data = _columns(alpha, beta, state, lower, nodes, weights)
        # (batch, column, row): both coordinates' masses, dark squares alone
        joint = log_mass[:, 0, :, None] + log_mass[:, 1, None, :]
        number = torch.arange(4, device=x.device)
        dark = (number[:, None] + number) % 2 == 0
        chances = torch.softmax(joint.masked_fill(~dark, -math.inf).flatten(1), 1)
        chances = chances.reshape(-1, 4, 4)
        by_axis = torch.stack([chances.sum(2), chances.sum(1)], 1)
        return (by_axis * base).sum(2), (by_axis * data).sum(2)


def _columns(
    alpha: Tensor, beta: Tensor, x: Tensor, lower: Tensor, nodes: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log mass, E[x0] and E[x1] of every coordinate in every column, (batch, 2, 4) each.

    Mass is the integral over x1 in [lower, upper] of the density of x0 = (x - beta x1) / alpha,
    but for a factor that all columns share.
    """
    upper = lower + _SIDE
    narrow = beta * _SIDE < _NARROW * alpha
    wide_beta = torch.where(narrow, 2 * _NARROW * alpha, beta)  # what the other branch may see
    log_mass, base = _cut_normal((x - wide_beta * upper) / alpha, (x - wide_beta * lower) / alpha)
    log_mass = log_mass + torch.log(alpha / wide_beta)
    data = (x - alpha * base) / wide_beta
    thin_beta = torch.where(narrow, beta, torch.zeros_like(beta))
    few = _by_quadrature(alpha, thin_beta, x, lower, nodes, weights)
    return tuple(
        torch.where(narrow, a, b) for a, b in zip(few, (log_mass, base, data), strict=True)
    )  # type: ignore[return-value]


def _cut_normal(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return log P[a < z < b] and E[z | a < z < b] of a standard normal z, a < b."""
    # mirrored to where both tails are below the middle: no difference of numbers near one
    flip = a + b > 0
    low, high = torch.where(flip, -b, a), torch.where(flip, -a, b)
    top = torch.special.log_ndtr(high)
    log_mass = top + torch.log(-torch.expm1(torch.special.log_ndtr(low) - top))
    edge = torch.exp(-(low**2) / 2 - _LOG_ROOT - log_mass)
    other = torch.exp(-(high**2) / 2 - _LOG_ROOT - log_mass)
    mean = edge - other
    return log_mass, torch.where(flip, -mean, mean)


def _by_quadrature(
    alpha: Tensor, beta: Tensor, x: Tensor, lower: Tensor, nodes: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``_columns`` does, by Gauss's rule, for columns narrow beside alpha / beta."""
    data = (lower + _SIDE / 2)[:, None] + _SIDE / 2 * nodes  # (4, nodes)
    base = (x[..., None] - beta[..., None] * data) / alpha[..., None]
    log_part = (weights * (_SIDE / 2)).log() - base**2 / 2 - _LOG_ROOT
    share = torch.softmax(log_part, -1)
    return torch.logsumexp(log_part, -1), (share * base).sum(-1), (share * data).sum(-1)

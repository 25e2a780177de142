"""Roots of many functions of one variable at once, each in its own bracket."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["root"]

_ITERATIONS = 54
"""As many halvings take a bracket inside [0, 1] to rounding size, and one to spare."""


def root(
    function: Callable[[Tensor], Tensor],
    lower: Tensor,
    upper: Tensor,
    low: Tensor,
    high: Tensor,
    iterations: int = _ITERATIONS,
) -> Tensor:
    """Return where each function is zero, (n,): interpolate, truncate, project (ITP).

    Takes a fixed number of evaluations, no more than bisection and one needs in the worst case;
    smooth functions are done after a few of them. No host read.

    Args:
        function: maps (n,) to (n,).
        lower, upper: the brackets, inside [0, 1].
        low, high: the values there, or numbers of their signs, which differ; ``high`` may be zero.

    Source:
        Oliveira, Takahashi (2021), An enhancement of the bisection method average performance
            preserving minmax optimality, ACM Trans. Math. Softw. 47, 5:1-24; with kappa_1 = 0.2 /
            (upper - lower), kappa_2 = 2, n_0 = 1.
    """
    kappa = 0.2 / (upper - lower)
    sign = torch.sign(low)
    for k in range(iterations):
        middle, width = (lower + upper) / 2, upper - lower
        falsi = (high * lower - low * upper) / (high - low)  # equation 8
        aside = torch.sign(middle - falsi)
        truncated = torch.where(  # equation 9
            kappa * width.square() <= (middle - falsi).abs(),
            falsi + aside * kappa * width.square(),
            middle,
        )
        radius = 2.0 ** -(k + 0.0) - width / 2  # equation 10, the first bracket being at most 1
        projected = torch.where(
            (truncated - middle).abs() <= radius, truncated, middle - aside * radius.clamp_min(0.0)
        )
        at = torch.where(torch.isfinite(projected), projected, middle)
        value = function(at)
        before = torch.sign(value) == sign
        found = value == 0
        lower, low = torch.where(before | found, at, lower), torch.where(before, value, low)
        upper, high = torch.where(before, upper, at), torch.where(before, high, value)
        high = torch.where(found, -low, high)
    return (lower + upper) / 2

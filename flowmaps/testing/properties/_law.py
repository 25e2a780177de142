"""Laws of states that a flow carries along: by their densities, and by samples of them."""

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import PerSample
from flowmaps.calculus import log_det
from flowmaps.maps import independent_derivatives
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._subject import WrongClaim, per_sample
from flowmaps.testing._view import View, size
from flowmaps.testing.properties._structure import lost_in_jacobian, too_many

__all__ = ["Density", "PushForward", "kolmogorov_smirnov"]

_SAMPLES = 16384
"""Of either law, for every pair of times."""
_DIRECTIONS = 16
_FALSE_ALARM = 1e-7
"""Probability that the right map is found wrong for one pair of times."""


@final
class Density(Property):
    """log p_t(X_{s,t}(x)) + log|det DX_{s,t}(x)| = log p_s(x): the flow carries one law along.

    Args:
        log_density: ``log p_t(x)`` as a function ``(t, x)`` or ``(t, x, condition)``, (batch,).
    """

    name, units = "push-forward of the density", "number"
    requires = frozenset({"forward derivatives"})

    def __init__(self, log_density: Callable[..., Tensor]):
        self.log_density = log_density

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the difference of both sides, (batch,)."""
        s, _, t, x, _, condition = draw
        y = view.map(s, t, x, condition)
        with independent_derivatives():
            change = log_det(view.map, s, t, x, condition)
        return self._value(t, y, draw) + change - self._value(s, x, draw)

    def scale(self, view: View, draw: Draw) -> PerSample:
        """Return 1 + |log p_s(x)|, (batch,)."""
        return 1 + size(self._value(draw.s, draw.x, draw)).nan_to_num(posinf=0.0)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return that of the difference, and what Jacobians lose where the flow contracts."""
        return super().condition(view, draw) + lost_in_jacobian(view, draw)

    def missing(self, view: View) -> str | None:
        """Return why whole Jacobians are not taken."""
        return too_many(view)

    def _value(self, t: Tensor, x: Tensor, draw: Draw) -> Tensor:
        return per_sample(self.log_density, "log_density", t, x, draw.condition)


@final
class PushForward(Property):
    """X_{s,t} takes samples of p_s to samples of p_t: the flow carries one law along.

    Both are compared along random directions by Kolmogorov and Smirnov's distance, the largest gap
    between two distribution functions; laws that agree along all directions are one. By 16,384
    samples of either no distance below .035 is found, which is that of two normal laws whose means
    are .09 standard deviations apart.

    Args:
        samples: ``samples(t, n, generator)`` of p_t at one time t, (n, *event); where there are
            conditions ``samples(t, n, generator, condition)``, with n times the same one.

    Source:
        Wei, Dudley (2012), Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities, Statistics and
            Probability Letters 82, 636-644: for n = m >= 458 the distance exceeds d with
            probability at most 2 exp(-n d^2).
    """

    name, units = "push-forward of samples", "number"
    alone, conditioned, cost = False, False, 1024

    def __init__(self, samples: Callable[..., Tensor]):
        self.samples = samples

    def residual(self, view: View, draw: Draw) -> PerSample:
        """Return the largest distance along all directions, for every pair of times, (batch,)."""
        return torch.stack([self._distance(view, draw.take([k]), k) for k in range(len(draw.x))])

    def resolution(self, draw: Draw) -> float:
        """Return the distance that the right map exceeds once in ten million pairs of times."""
        return math.sqrt(math.log(2 * _DIRECTIONS / _FALSE_ALARM) / _SAMPLES)

    def _distance(self, view: View, one: Draw, seed: int) -> Tensor:
        """Return the distance between pushed and drawn samples, for one pair of times."""
        generator = torch.Generator().manual_seed(seed)
        condition = pytree.tree_map(_repeated, one.condition)
        before, after = (self._drawn(time, one, generator) for time in (one.s, one.t))
        clocks = one.s.expand(_SAMPLES), one.t.expand(_SAMPLES)
        pushed = view.map(*clocks, before, condition)
        directions = torch.randn(one.x[0].numel(), _DIRECTIONS, generator=generator)
        return kolmogorov_smirnov(
            *(a.reshape(len(a), -1) @ directions.to(a) for a in (pushed, after))
        )

    def _drawn(self, time: Tensor, one: Draw, generator: torch.Generator) -> Tensor:
        """Return samples (n, *event) of the law at one time.

        Raises:
            WrongClaim: for what has another shape, or is not finite.
        """
        condition = pytree.tree_map(_repeated, one.condition)
        extra = () if condition is None else (condition,)
        found = torch.as_tensor(self.samples(time.item(), _SAMPLES, generator, *extra))
        wanted = (_SAMPLES, *one.x.shape[1:])
        if tuple(found.shape) != wanted or not bool(torch.isfinite(found).all()):
            raise WrongClaim(
                f"samples(t, n, generator) must return n finite states, {wanted} for n = {_SAMPLES}"
                f", got {tuple(found.shape)}{'' if found.isfinite().all() else ', not finite'}"
            )
        return found.to(one.x)


def _repeated(leaf: Tensor | None) -> Tensor | None:
    return None if leaf is None else leaf.expand(_SAMPLES, *leaf.shape[1:])


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> Tensor:
    """Return the largest gap between distribution functions of columns, (n, k) each; 1 for NaN."""
    if not bool(torch.isfinite(a).all()):
        return torch.ones((), dtype=torch.float64, device=a.device)
    a, b = a.mT.contiguous(), b.mT.contiguous()
    both = torch.cat([a, b], dim=1)
    below = [
        torch.searchsorted(one.sort(dim=1).values, both, right=True).double() / one.shape[1]
        for one in (a, b)
    ]
    return (below[0] - below[1]).abs().max()

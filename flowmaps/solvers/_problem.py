"""What the search for an adaptive grid is asked: field, ends, tolerances."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, PerSample, State
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._method import Step, Stepper

__all__ = ["Problem"]

ROUNDING = 16 * torch.finfo(torch.float64).eps
"""A step this small beside the time elapsed makes no progress."""
FIRST = 1e-8
"""The part of the span that counts as elapsed at the start, where nothing has."""


@dataclass(frozen=True)
class Problem:
    """The field bound to its condition, start and end, method, tolerances and bounds.

    ``rtol`` and ``atol`` are in x's dtype, 0-d or broadcasting against a sample's event.
    ``differentiated`` tells that derivatives are taken of the search itself: then none may become
    NaN where an error is zero or an attempt is thrown away.
    ``modulus`` puts the modulus in the place of both parts of complex components, if there are any.
    """

    field: Detached | BoundField
    method: Stepper
    controller: Controller
    s: Clock
    t: Clock
    rtol: Tensor
    atol: Tensor
    max_steps: int
    differentiated: bool = False
    modulus: Callable[[Tensor], Tensor] | None = None

    @property
    def span(self) -> Clock:
        """The length of time to march, with sign."""
        return self.t - self.s

    @property
    def error_exponent(self) -> int:
        """The order of the local error."""
        assert self.method.error_order is not None
        return self.method.error_order + 1

    def select(self, samples: Tensor) -> "Problem":
        """Return the problem of these samples alone, given by their numbers."""
        field = self.field.select(samples)
        return replace(self, field=field, s=self.s[samples], t=self.t[samples])

    def smallest_step(self, elapsed: Clock) -> Clock:
        """Return the step below which a sample is stuck, (batch,)."""
        return ROUNDING * torch.maximum(elapsed.abs(), FIRST * self.span.abs())

    def tolerance(self, x: State) -> State:
        """Return the tolerance of a component of x, that of the largest where x is relative."""
        size = x.abs().flatten(1).amax(1) if x[:1].numel() else x.new_zeros(len(x))
        return (self.atol + self.rtol * per_sample(size, x)).expand_as(x)

    def error_ratio(self, step: Step, x: State) -> PerSample:
        """Return the error of a step from x over its tolerance, (batch,)."""
        assert step.error is not None
        ratio = self.norm(step.error, x, step.x)
        if step.coarse_error is None:
            return ratio
        # Hairer, Norsett, Wanner (1993), Solving ODEs I, section II.10, equation 10.17.
        coarse = self.norm(step.coarse_error, x, step.x)
        both = self.root(ratio.square() + 0.01 * coarse.square())
        return torch.where(both == 0, 0.0, ratio * (ratio / torch.where(both == 0, 1.0, both)))

    def norm(self, error: State, x: State, y: State) -> PerSample:
        """Return the root mean square of error / (atol + rtol max(|x|, |y|)), float64, (batch,)."""
        if self.modulus is not None:
            error, x, y = self.modulus(error), self.modulus(x), self.modulus(y)
        scale = self.atol + self.rtol * torch.maximum(x.abs(), y.abs())
        ratio = (error / scale).to(torch.float64)
        if ratio.ndim == 1:
            return ratio.abs()
        if not ratio.shape[1:].numel():
            return torch.zeros_like(self.s)
        return self.root(ratio.flatten(1).square().mean(1))

    def root(self, square: Tensor) -> Tensor:
        """Return the square root, if need be with derivative zero at zero instead of infinity."""
        if not self.differentiated:
            return square.sqrt()
        zero = square == 0
        return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())

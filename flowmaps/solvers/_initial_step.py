"""The first step of an adaptive march."""

import torch

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, PerSample, State
from flowmaps.solvers._problem import Problem

__all__ = ["initial_step"]


def initial_step(problem: Problem, x: State, first: State) -> Clock:
    """Return the first step, with sign, (batch,): as the controller says, or a guess.

    The guess costs one evaluation of the field. With d0, d1, d2 the norms of the state and its
    first two derivatives over the tolerance, the state changes at a rate r = max(d2 / d1, d1 / d0),
    its derivative of order k is near d1 r^(k - 1), and h^k times that is 1. Where d0 or d1 is too
    small for a rate, it is Hairer's guess from d1 and d2 alone.

    ``first`` is the field at (s, x).

    Source:
        Hairer, Norsett, Wanner (1993), Solving ODEs I, section II.4, "Starting step size", for d2
            and the limits. Their h^k max(d1, d2) = 1/100 depends on the unit of time; on the
            problems of DETEST it is a tenth of the step that would just be accepted (median;
            Tsit5), the guess here a quarter.
    """
    length, sign = problem.span.abs(), problem.span.sign()
    most = length.clamp_max(problem.controller.max_step)
    if problem.controller.first_step is not None:
        return most.clamp_max(problem.controller.first_step) * sign
    d0, d1 = problem.norm(x, x, x), problem.norm(first, x, x)
    unknown = (d0 < 1e-5) | (d1 < 1e-5) | torch.isinf(d0) | torch.isinf(d1)
    # What a torch.where leaves out is kept finite all the same, for the sake of derivatives.
    h0 = torch.where(unknown, 1e-6, 0.01 * d0 / torch.where(unknown, 1.0, d1))
    h0 = torch.minimum(h0, length)
    euler = x + per_sample(h0 * sign, x) * first
    change = problem.field(problem.s + h0 * sign, euler) - first
    d2, order = problem.norm(change, x, x) / torch.where(h0 == 0, 1.0, h0), problem.error_exponent
    scale, slope = (torch.where(unknown, 1.0, d) for d in (d0, d1))
    rate = torch.maximum(d2 / slope, slope / scale)
    h1 = torch.exp(-(torch.log(slope) + (order - 1) * torch.log(rate)) / order)
    h1 = torch.where(unknown, _from_steepest(torch.maximum(d1, d2), h0, order), h1)
    h = torch.minimum(100 * h0, h1.nan_to_num(nan=0.0, posinf=0.0))
    h = torch.maximum(torch.where(h > 0, h, h0), problem.smallest_step(torch.zeros_like(h)))
    return torch.minimum(h, most) * sign


def _from_steepest(steepest: PerSample, h0: Clock, order: int) -> Clock:
    """Return Hairer's guess from the greater of d1 and d2."""
    flat = steepest <= 1e-15
    h1 = torch.exp(torch.log(0.01 / torch.where(flat, 1.0, steepest)) / order)
    return torch.where(flat, torch.clamp(h0 * 1e-3, min=1e-6), h1)

"""The first step of an adaptive march."""

import torch

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, State
from flowmaps.solvers._problem import Problem

__all__ = ["initial_step"]


def initial_step(problem: Problem, x: State, first: State) -> Clock:
    """Return the first step, with sign, (batch,): as the controller says, or Hairer's guess.

    The guess costs one evaluation of the field.

    ``first`` is the field at (s, x).

    Source:
        Hairer, Norsett, Wanner (1993), Solving ODEs I, section II.4, "Starting step size".
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
    steepest = torch.maximum(d1, problem.norm(change, x, x) / torch.where(h0 == 0, 1.0, h0))
    flat = steepest <= 1e-15
    h1 = torch.where(
        flat,
        torch.clamp(h0 * 1e-3, min=1e-6),
        torch.exp(torch.log(0.01 / torch.where(flat, 1.0, steepest)) / problem.error_exponent),
    )
    h = torch.minimum(100 * h0, h1.nan_to_num(nan=0.0, posinf=0.0))
    h = torch.maximum(torch.where(h > 0, h, h0), problem.smallest_step(torch.zeros_like(h)))
    return torch.minimum(h, most) * sign

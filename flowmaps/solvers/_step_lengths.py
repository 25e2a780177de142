"""How long steps may be: shared by a batch, limited, without slivers at the end."""

import math

import torch

from flowmaps._typing import Clock, Mask
from flowmaps.solvers._problem import Problem

__all__ = ["limited", "shared_first", "within"]


def shared_first(problem: Problem, h: Clock, running: Mask) -> Clock:
    """Return first steps that are one fraction of all spans, from the own step of each sample.

    If the ratios of the own steps were 1, the root mean square of those of these would be.
    """
    controller, order, span = problem.controller, problem.error_exponent, problem.span
    if not len(h):
        return h
    fraction = torch.where(running, h / torch.where(span == 0, 1.0, span), 1.0)
    least = fraction.amin()
    if controller.first_step is not None:
        return least * span
    square = torch.where(running, torch.exp(2 * order * torch.log(least / fraction)), 0.0)
    mean = (square.sum() / running.sum().clamp_min(1)).clamp_min(1 / len(h))
    return limited(problem, least * torch.exp(-torch.log(mean) / (2 * order)) * span)


def limited(problem: Problem, h: Clock) -> Clock:
    """Return steps that are no longer than the longest, nor, where all share them, is any other."""
    longest = problem.controller.max_step
    if not problem.controller.shared or longest == math.inf or not len(h):
        return h.clamp(-longest, longest)
    length = problem.span.abs()
    widest = torch.where(torch.isfinite(length), length, 0.0).amax()
    limit = longest * length / torch.where(widest > 0, widest, 1.0)
    return torch.clamp(h, -limit, limit)


def within(
    problem: Problem, remaining: Clock, h: Clock, is_first: Mask, running: Mask
) -> tuple[Clock, Mask]:
    """Return the steps to attempt, and which of them end at t.

    No sliver is left for the end: a step that nearly reaches it is stretched, half of the way to
    the step that would just be accepted, and where two are left they are equal. A first step that
    the controller gives is taken as it is.

    Args:
        problem: what is solved.
        remaining: the time from where each sample stands to its end, with sign.
        h: the steps that the controller asks for.
        is_first: which samples have not attempted any.
        running: which are not finished.
    """
    controller, length = problem.controller, h.abs()
    left = remaining.abs() * (1 - 1e-12)
    last = limited(problem, length * (0.5 + 0.5 / controller.safety)) >= left
    two = 2 * length >= left
    if controller.first_step is not None:
        last, two = torch.where(is_first, length >= left, last), two & ~is_first
    if controller.shared:
        last, two = ((which & running).any().expand_as(which) for which in (last, two))
    return torch.where(last, remaining, torch.where(two, remaining / 2, h)), last

"""Equal steps as the attempts of a march, for solves that must look at each of them."""

import torch
from torch import Tensor

from flowmaps._checks import finite_samples, shaped_like
from flowmaps._typing import Mask
from flowmaps.solvers._march import March
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._solution import NOT_FINITE, RUNNING, SUCCESS

__all__ = ["equal_step"]


def equal_step(problem: Problem, march: March, steps: int) -> tuple[March, Mask, Tensor]:
    """Take one of so many equal steps over each sample's span; as ``advance``, all accepted."""
    running = march.code == RUNNING
    count = march.accepted + 1
    elapsed = torch.where(count == steps, problem.span, problem.span * (count / steps))
    now, h = problem.s + march.elapsed, elapsed - march.elapsed
    step = problem.method.step(problem.field, now, h, march.x, march.first)
    final = problem.field(problem.s + elapsed, step.x) if step.last is None else step.last
    slopes = problem.method.slopes(problem.field, now, h, march.x, step, final)
    code = torch.where(count == steps, SUCCESS, RUNNING)
    code = torch.where(finite_samples(step.x), code, NOT_FINITE)
    wide = shaped_like(running, step.x)
    moved = march._replace(
        elapsed=torch.where(running, elapsed, march.elapsed),
        x=torch.where(wide, step.x, march.x),
        first=torch.where(wide, final, march.first),
        code=torch.where(running, code, march.code),
        attempts=march.attempts + running,
        accepted=march.accepted + running,
    )
    return moved, running, slopes

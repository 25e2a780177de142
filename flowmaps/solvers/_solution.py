"""What a solve gives back: states, one result code a sample, statistics, dense output."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from torch import Tensor

from flowmaps._checks import shorten
from flowmaps._transforms import any_item, peek
from flowmaps._typing import Time
from flowmaps.errors import SolveError
from flowmaps.solvers._dense import DenseOutput

__all__ = ["NOT_FINITE", "RUNNING", "SUCCESS", "Result", "Solution", "Statistics", "raise_failures"]

RUNNING = -1


class Result(IntEnum):
    """How the solve of one sample ended."""

    SUCCESS = 0
    NOT_FINITE = 1
    """The state or the field was not finite and no shorter step helped."""
    MAX_STEPS = 2
    """The bound on the number of steps was reached before the end time."""
    STEP_TOO_SMALL = 3
    """The error stayed above the tolerance down to steps of rounding size (a singularity, or a stiff field)."""
    BACKEND_FAILED = 4
    """The foreign solver gave up; it steps the whole batch together, so every sample carries this code."""


SUCCESS, NOT_FINITE = int(Result.SUCCESS), int(Result.NOT_FINITE)
"""Plain integers, because compiled code compares tensors with nothing else."""


@dataclass(frozen=True)
class Statistics:
    """Counts for every sample, each an integer tensor (batch,).

    Args:
        steps: attempted steps.
        accepted: accepted steps.
        rejected: rejected steps.
        evaluations: field evaluations while the sample was running.
    """

    steps: Tensor
    accepted: Tensor
    rejected: Tensor
    evaluations: Tensor


@dataclass(frozen=True)
class Solution:
    """The outcome of ``solve``.

    Args:
        x: state at the end time, (batch, *event) or a pytree of such; with ``save_at`` the states at those
            times, (n_times, batch, *event). Samples without success hold NaN.
        result: one Result code a sample, (batch,).
        statistics: counts a sample.
        final_time: the time that each sample reached, (batch,), float64: the end time after success.
        final_state: the state there, also of samples without success.
        dense: the interpolant when asked for, else None.

    Example:
        >>> import torch, flowmaps as fm
        >>> solution = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, torch.ones(2, 1), dense=True)
        >>> solution.result.tolist(), tuple(solution([0.0, 0.5, 1.0]).shape)
        ([0, 0], (3, 2, 1))
    """

    x: Any
    result: Tensor
    statistics: Statistics
    final_time: Tensor
    final_state: Any
    dense: DenseOutput | None = None

    @property
    def success(self) -> Tensor:
        """Which samples reached their end time, (batch,) bool."""
        return self.result == SUCCESS

    def __call__(self, t_eval: Time | list[float]) -> Any:
        """Evaluate the dense output at a number (batch, *event) or at times (n_times,) or (n_times, batch).

        Raises:
            ValueError: if the solve was not asked for dense output.
        """
        if self.dense is None:
            raise ValueError("this solution has no dense output; call solve(..., dense=True)")
        return self.dense(t_eval)


def raise_failures(solution: Solution, s: Tensor, t: Tensor) -> None:
    """Raise SolveError if any sample failed; s and t are the clocks (batch,) of the solve."""
    failed = peek(~solution.success).flatten()
    if not any_item(failed):
        return
    samples = failed.nonzero().flatten().tolist()
    codes = peek(solution.result).flatten()
    kinds = {
        Result(code).name: int((codes[failed] == code).sum()) for code in set(codes[failed].tolist())
    }
    first = samples[0]
    times = [float(peek(a.detach()).broadcast_to(failed.shape)[first]) for a in _as_flat(s, t, solution)]
    raise SolveError(
        f"{len(samples)} of {len(failed)} samples failed ({', '.join(f'{n} {k}' for k, n in kinds.items())}): "
        f"samples {shorten(samples)}; sample {first} from s = {times[0]:.6g} to t = {times[1]:.6g} stopped at "
        f"time {times[2]:.6g} after {int(peek(solution.statistics.steps).flatten()[first])} steps. "
        f"{_CURES[Result(int(codes[first]))]} Or pass throw=False and read solution.result."
    )


def _as_flat(s: Tensor, t: Tensor, solution: Solution) -> list[Tensor]:
    count = peek(solution.result).numel()
    return [peek(a.detach()).flatten()[:count] for a in (s, t, solution.final_time)]


_CURES = {
    Result.NOT_FINITE: "The field or the state is not finite there: check the sample and the field's domain.",
    Result.MAX_STEPS: "Raise max_steps, loosen rtol and atol, or look for stiffness.",
    Result.STEP_TOO_SMALL: "Look for a singularity or a jump of the field at that time.",
    Result.BACKEND_FAILED: "Use a method of flowmaps.solvers to see which sample is at fault.",
}
"""What to do, by code."""

"""What a solve gives back: states, one result code a sample, statistics, dense output."""

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import shorten
from flowmaps._transforms import any_item, peek
from flowmaps.errors import SolveError
from flowmaps.solvers._dense import DenseOutput, Times
from flowmaps.solvers._event import Occurrences

__all__ = [
    "EVENT",
    "NOT_FINITE",
    "RUNNING",
    "SUCCESS",
    "Result",
    "Solution",
    "Statistics",
    "raise_failures",
    "succeeded",
]

RUNNING = -1


class Result(IntEnum):
    """How the solve of one sample ended.

    Example:
        >>> import torch, flowmaps as fm
        >>> blow_up, x = lambda t, x: x**2, torch.tensor([[0.5], [2.0]])
        >>> codes = fm.solvers.solve(blow_up, 0.0, 1.0, x, throw=False).result.tolist()
        >>> [fm.solvers.Result(code).name for code in codes]
        ['SUCCESS', 'STEP_TOO_SMALL']
    """

    SUCCESS = 0
    NOT_FINITE = 1
    """The state or the field was not finite and no shorter step helped."""
    MAX_STEPS = 2
    """The bound on the number of steps was reached before the end time."""
    STEP_TOO_SMALL = 3
    """The error was above the tolerance down to steps of rounding size: a singularity or a jump."""
    BACKEND_FAILED = 4
    """The foreign solver gave up; it steps the batch as one, so every sample carries this code."""
    EVENT = 5
    """The sample ended, with success, at a terminal event."""


SUCCESS, NOT_FINITE = int(Result.SUCCESS), int(Result.NOT_FINITE)
"""Plain integers, because compiled code compares tensors with nothing else."""
EVENT = int(Result.EVENT)


def succeeded(code: Tensor) -> Tensor:
    """Tell which samples reached their end, by time or by event."""
    return (code == SUCCESS) | (code == EVENT)


@dataclass(frozen=True)
class Statistics:
    """Counts for every sample, each an integer tensor (batch,).

    Args:
        steps: attempted steps.
        accepted: accepted steps.
        rejected: rejected steps.
        evaluations: field evaluations while the sample was running.

    Example:
        >>> import torch, flowmaps as fm
        >>> method, x = fm.solvers.RK4(), torch.ones(2, 1)
        >>> found = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, x, method=method, steps=3)
        >>> found.statistics.steps.tolist(), found.statistics.evaluations.tolist()
        ([3, 3], [12, 12])
    """

    steps: Tensor
    accepted: Tensor
    rejected: Tensor
    evaluations: Tensor


@dataclass(frozen=True, eq=False)  # compared by identity: states are tensors, and torch 2.11 hashes
class Solution:
    """The outcome of ``solve``.

    Args:
        x: state at the end time, (batch, *event) or a pytree of such; with ``save_at`` the states
            at those times, (n_times, batch, *event). Samples without success hold NaN, as do their
            derivatives; ``final_state`` has states without them.
        result: one Result code a sample, (batch,).
        statistics: counts a sample.
        final_time: the time that each sample reached, (batch,), float64: the end after success, or
            the time of a terminal event.
        final_state: the state there, also of samples without success.
        dense: the interpolant when asked for, else None.
        global_error: x minus the true states, estimated, when asked for, like x; else None.
        events: where each of the events occurred, in the order in which these were given.

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
    global_error: Any = None
    events: tuple[Occurrences, ...] = ()

    @property
    def success(self) -> Tensor:
        """Which samples reached their end time or ended at an event, (batch,) bool."""
        return succeeded(self.result)

    def __call__(self, t_eval: Times) -> Any:
        """Evaluate the dense output; see DenseOutput.

        Raises:
            TypeError, ValueError: for times that cannot be, or a solve without dense output.
        """
        return self._interpolant()(t_eval)

    def derivative(self, t_eval: Times) -> Any:
        """Evaluate the time derivative of the dense output; see ``DenseOutput.derivative``.

        Raises:
            TypeError, ValueError: for times that cannot be, or a solve without dense output.
        """
        return self._interpolant().derivative(t_eval)

    def _interpolant(self) -> DenseOutput:
        if self.dense is None:
            raise ValueError("this solution has no dense output; call solve(..., dense=True)")
        return self.dense


def raise_failures(solution: Solution, s: Tensor, t: Tensor) -> None:
    """Raise SolveError if any sample failed; s and t are the clocks (batch,) of the solve.

    Under vmap the samples are counted through all axes.
    """
    if not any_item(~solution.success):
        return
    facts = (solution.result, s, t, solution.final_time, solution.statistics.steps)
    # Stacked first, for only together are they batched alike under vmap.
    table = peek(torch.stack([a.detach().to(torch.float64) for a in facts], dim=-1))
    codes, *columns = table.reshape(-1, len(facts)).unbind(1)
    samples = (~succeeded(codes)).nonzero().flatten().tolist()
    counts = Counter(Result(int(codes[i])).name for i in samples)
    start, end, stop, steps = (column[samples[0]].item() for column in columns)
    raise SolveError(
        f"{len(samples)} of {len(codes)} samples failed "
        f"({', '.join(f'{count} {name}' for name, count in counts.items())}): "
        f"samples {shorten(samples)}; sample {samples[0]} from s = {start:.6g} to t = {end:.6g} "
        f"stopped at time {stop:.6g} after {steps:.0f} steps. "
        f"{_CURES[Result(int(codes[samples[0]]))]} Or pass throw=False and read solution.result."
    )


_CURES = {
    Result.NOT_FINITE: "The time, state or field is not finite there: check the sample's data.",
    Result.MAX_STEPS: "Raise max_steps, loosen rtol and atol, or, for stiffness, take Rodas5P().",
    Result.STEP_TOO_SMALL: "Look for a singularity or a jump of the field at that time.",
    Result.BACKEND_FAILED: "Use a method of flowmaps.solvers to see which sample is at fault.",
}
"""What to do, by code."""

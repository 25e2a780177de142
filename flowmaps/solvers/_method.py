"""What a one-step method is: a pure function from one state to the next."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State

__all__ = ["Method", "Step", "Stepper"]


@dataclass(frozen=True)
class Step:
    """One step of every sample.

    Args:
        x: state at the end, (batch, *event).
        error: estimate of the local error, like x, or None for methods without one.
        stages: field values inside the step, in the order of the tableau.
        last: field value at the end of the step if the method has computed it, else None.
        coarse_error: a second estimate, of lower order, of methods that weigh two of them: with the
            norms e of ``error`` and c of this one, e^2 / sqrt(e^2 + c^2 / 100) is held below 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> clock = torch.zeros(1, dtype=torch.float64)
        >>> step = fm.solvers.Euler().step(lambda t, x: 2 * x, clock, clock + 0.5, torch.ones(1, 1))
        >>> step.x.item(), step.error, len(step.stages)
        (2.0, None, 1)
    """

    x: Tensor
    error: Tensor | None
    stages: tuple[Tensor, ...]
    last: Tensor | None
    coarse_error: Tensor | None = None


class Method:
    """A way to solve a differential equation: a Stepper of ours or a whole foreign solver.

    Example:
        >>> import flowmaps as fm
        >>> [isinstance(m, fm.solvers.Method) for m in (fm.solvers.RK4(), fm.solvers.TorchDiffEq())]
        [True, True]
    """

    def config(self) -> dict[str, object]:
        """Return the constructor's keyword arguments."""
        return {}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({arguments})"


class Stepper(Method, ABC):
    """A one-step method: a pure step, no in-place writes, host reads or branches on data.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Exponential(fm.solvers.Stepper):  # exact for x' = -x
        ...     order = 1
        ...     def step(self, field, t, h, x, first=None):
        ...         first = field(t, x) if first is None else first
        ...         end = x * torch.exp(-h)[:, None].to(x)
        ...         return fm.solvers.Step(end, None, (first,), None)
        ...     def evaluations(self, known_first):
        ...         return 1 - known_first
        >>> decay, x, method = lambda t, x: -x, torch.ones(1, 1), Exponential()
        >>> round(fm.solvers.solve(decay, 0.0, 1.0, x, method=method, steps=1).x.item(), 4)
        0.3679
    """

    order: int
    """Order of accuracy."""
    error_order: int | None = None
    """Order of the embedded solution, of two estimates the one that they have together; None: no
    error estimate, fixed steps only."""
    dense_order: int = 3
    """Order of the interpolant inside a step, as high as a method of order ``order`` lets it be."""
    dense_evaluations: int = 0
    """Field evaluations that ``slopes`` needs beside those of a step and the value at its end."""
    linearizations: int = 0
    """Jacobians of the field in one step, each counted as n + 1 evaluations for n components."""
    reuses_last: bool = False
    """Whether a step ends with the field value that the next one starts with."""

    @abstractmethod
    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h, every sample by its own h of either sign.

        Args:
            field: ``b(t, x)`` with clocks (batch,).
            t, h: time and step, (batch,), float64.
            x: state (batch, *event).
            first: b(t, x) if it is known.
        """

    @abstractmethod
    def evaluations(self, known_first: bool) -> int:
        """Count the field evaluations of one step."""

    def linear_evaluations(self, x: State) -> int:
        """Count what the Jacobians of one step cost: n forward derivatives and one in time."""
        return self.linearizations * (x.shape[1:].numel() + 1)

    def slopes(self, field: Field, t: Clock, h: Clock, x: State, step: Step, last: State) -> Tensor:
        """Return the interpolant of a step, x + theta h sum_j theta^j slopes[j], theta in [0, 1].

        Cubic Hermite interpolation of both ends, if a method has nothing better. Slopes, not rises:
        they have a meaning for a step of length zero too.

        Args:
            field, t, h, x: as in ``step``.
            step: its outcome.
            last: the field's value at its end.

        Returns:
            (degree, batch, *event).
        """
        width, first = per_sample(h, x), step.stages[0]
        mean = torch.where(width == 0, first, (step.x - x) / torch.where(width == 0, 1.0, width))
        return torch.stack([first, 3 * mean - 2 * first - last, first + last - 2 * mean])

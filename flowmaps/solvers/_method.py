"""What a one-step method is: a pure function from one state to the next."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

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
    """Order of the embedded solution; None: no error estimate, fixed steps only."""
    dense_order: int = 3
    """Order of the interpolant inside a step, as high as a method of order ``order`` lets it be."""
    dense_weights: tuple[tuple[float, ...], ...] | None = None
    """Polynomials b_i(theta) without constant term, one row a stage; None: cubic Hermite."""
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

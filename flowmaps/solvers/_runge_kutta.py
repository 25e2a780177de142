"""The step that all explicit Runge-Kutta methods share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._method import Step, Stepper
from flowmaps.solvers._tableau import ButcherTableau, FloatTableau

__all__ = ["ExplicitRungeKutta"]


class ExplicitRungeKutta(Stepper):
    """An explicit Runge-Kutta method; a subclass is a tableau with its orders.

    Example:
        >>> import torch, flowmaps as fm
        >>> from flowmaps.solvers._tableau import ButcherTableau
        >>> class Ralston(fm.solvers.ExplicitRungeKutta):
        ...     order = 2
        ...     tableau = ButcherTableau.parse(c="0 2/3", a=["", "2/3"], b="1/4 3/4")
        >>> growth, x = lambda t, x: x, torch.ones(1, 1)
        >>> round(fm.solvers.solve(growth, 0.0, 1.0, x, method=Ralston(), steps=8).x.item(), 2)
        2.71
    """

    tableau: ButcherTableau
    coefficients: FloatTableau

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "tableau"):  # a family, whose methods bring theirs
            return
        if cls.error_order is not None and cls.tableau.b_error is None:
            raise TypeError(
                f"{cls.__name__} declares error_order = {cls.error_order}, but its tableau has no "
                "b_error to estimate the error by"
            )
        cls.coefficients = cls.tableau.floats
        cls.reuses_last = cls.tableau.first_same_as_last

    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h; see Stepper.step."""
        table = self.coefficients
        width = per_sample(h, x)
        stages = [field(t, x) if first is None else first]
        y = x
        for c, row in zip(table.c[1:], table.a[1:], strict=True):
            y = x + width * combine(row, stages)
            stages.append(field(plus(t, c, h), y))
        if not self.reuses_last:
            y = x + width * combine(table.b, stages)
        error = None if table.b_error is None else width * combine(table.b_error, stages)
        return Step(y, error, tuple(stages), stages[-1] if self.reuses_last else None)

    def slopes(self, field: Field, t: Clock, h: Clock, x: State, step: Step, last: State) -> Tensor:
        """Return the interpolant of a step by the tableau's weights; see Stepper.slopes."""
        dense = self.coefficients.b_dense
        if dense is None:
            return super().slopes(field, t, h, x, step, last)
        return torch.stack([combine(row, step.stages) for row in zip(*dense, strict=True)])

    def evaluations(self, known_first: bool) -> int:
        """Count the field evaluations of one step."""
        return self.tableau.stages - known_first


def combine(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Return the sum of weights times stages; zero weights cost nothing."""
    total = stages[0] - stages[0]
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            total = plus(total, weight, stage)
    return total


def plus(a: Tensor, weight: float, b: Tensor) -> Tensor:
    """Return a + weight * b.

    Eagerly one addition with a factor: in forward mode a product with a plain number takes thirty
    times as long. Compiled code fuses either, and there torch 2.13 crashes in second derivatives of
    such an addition, where a tangent is zero.
    """
    if torch.compiler.is_compiling():
        return a + weight * b
    return torch.add(a, b, alpha=weight)

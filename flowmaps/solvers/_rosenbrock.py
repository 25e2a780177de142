"""The step that all Rosenbrock methods share."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, SquareMatrix, State
from flowmaps.solvers._linearize import linearize
from flowmaps.solvers._method import Step, Stepper
from flowmaps.solvers._rosenbrock_tableau import FloatRosenbrockTableau, RosenbrockTableau
from flowmaps.solvers._runge_kutta import combine, plus

__all__ = ["Rosenbrock"]


class Rosenbrock(Stepper):
    """A Rosenbrock method, for stiff equations; a subclass is a tableau with its orders.

    Every step linearises the field, by n + 1 derivatives for n components, and solves one
    linear system a stage with one factorisation. Where the matrix 1 - gamma h J of a sample is
    singular, its step is NaN and no other sample notices. ``Step.stages`` are the field at the
    start and then the slopes v_i of the stages.

    Source:
        Hairer, Wanner (1996), Solving ODEs II, section IV.7.

    Example:
        >>> import torch, flowmaps as fm
        >>> class LinearlyImplicitEuler(fm.solvers.Rosenbrock):
        ...     order = 1
        ...     tableau = fm.solvers.RosenbrockTableau.parse("1", "0", "1", [""], [""], "1")
        >>> stiff, x = lambda t, x: -1e6 * x, torch.ones(1, 1)
        >>> euler = LinearlyImplicitEuler()
        >>> round(fm.solvers.solve(stiff, 0.0, 1.0, x, method=euler, steps=2).x.item(), 6)
        0.0
    """

    tableau: RosenbrockTableau
    coefficients: FloatRosenbrockTableau
    linearizations = 1

    def __init_subclass__(cls) -> None:
        cls.coefficients = cls.tableau.floats

    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h; see Stepper.step."""
        table = self.coefficients
        first = field(t, x) if first is None else first
        jacobian, rate = linearize(field, t, x)
        width, rate = per_sample(h, x), rate.reshape(x.shape)
        solved = solver(jacobian, table.gamma * width)
        slopes: list[Tensor] = []
        for node, gamma, a, c in zip(table.nodes, table.gammas, table.a, table.c, strict=True):
            value = field(plus(t, node, h), x + width * combine(a, slopes)) if slopes else first
            right = value + combine(c, slopes) if slopes else value
            slopes.append(solved(plus(right, gamma, width * rate) if gamma else right))
        end = x + width * combine(table.m, slopes)
        error = None if table.m_error is None else width * combine(table.m_error, slopes)
        return Step(end, error, (first, *slopes), None)

    def slopes(self, field: Field, t: Clock, h: Clock, x: State, step: Step, last: State) -> Tensor:
        """Return the interpolant of a step by the tableau's weights; see Stepper.slopes."""
        dense = self.coefficients.m_dense
        if dense is None:
            return super().slopes(field, t, h, x, step, last)
        return torch.stack([combine(row, step.stages[1:]) for row in zip(*dense, strict=True)])

    def evaluations(self, known_first: bool) -> int:
        """Count the field evaluations of one step, its linearisation apart."""
        return self.tableau.stages - known_first


def solver(jacobian: SquareMatrix, width: Tensor) -> Callable[[State], State]:
    """Return the function that solves (1 - width J) v = right; width (batch, 1, ..., 1).

    One factorisation serves all calls. Results are NaN where the matrix is singular.
    """
    n = jacobian.shape[-1]
    identity = torch.eye(n, dtype=jacobian.dtype, device=jacobian.device)
    matrix = identity - width.reshape(-1, 1, 1) * jacobian
    factors, pivots, info = torch.linalg.lu_factor_ex(matrix)
    regular = (info == 0)[:, None]

    def solved(right: State) -> State:
        flat = right.reshape(right.shape[0], n)
        found = torch.linalg.lu_solve(factors, pivots, flat[..., None])[..., 0]
        return torch.where(regular, found, torch.nan).reshape(right.shape)

    return solved

"""The three ways through an interval: equal steps, a searched grid, a foreign solver."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps._transforms import carries_derivative
from flowmaps._typing import Clock, Codes, State
from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers._adaptive import Problem, search
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._follow import Followed, follow, uniform
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._solution import NOT_FINITE, SUCCESS, Result, Statistics
from flowmaps.solvers._torchdiffeq import TorchDiffEq

__all__ = ["Driven", "by_backend", "by_fixed_steps", "by_search"]


@dataclass(frozen=True)
class Driven:
    """End states and times, codes and counts, and the recorded steps with their nodes (n_steps + 1, batch)."""

    x: State
    time: Clock
    code: Codes
    statistics: Statistics
    followed: Followed | None = None
    fractions: Tensor | None = None


def by_fixed_steps(
    method: Stepper,
    field: BoundField,
    s: Clock,
    t: Clock,
    x: State,
    first: State,
    steps: int,
    record: bool,
) -> Driven:
    """Take equal steps over each sample's own span; no host read; ``first`` is the field at (s, x)."""
    fractions = uniform(steps, s)
    followed = follow(method, field, fractions, s, t, x, first, record)
    known = method.reuses_last or record
    cost = 1 + steps * method.evaluations(known_first=True) + (steps - 1) * (not known)
    cost += steps * (record and not method.reuses_last)
    return Driven(
        followed.x, t, _finite_code(followed.x), _counts(s, steps, cost), followed, fractions
    )


def by_search(
    problem: Problem, s: Clock, t: Clock, x: State, first: State, record: bool
) -> Driven:
    """Search the grid without derivatives; follow it again if derivatives or interpolants are wanted.

    Raises:
        UnsupportedTransform: while being compiled: the number of steps depends on the data.
    """
    if torch.compiler.is_compiling():
        raise UnsupportedTransform(
            "adaptive steps depend on the data and do not compile; give steps=... for a compiled solve"
        )
    repeat = record or carries_derivative((s, t, x, first))
    found = search(problem, x, first, record=repeat)
    if not repeat:
        return Driven(found.x, found.time, found.code, found.statistics)
    assert found.fractions is not None
    followed = follow(problem.method, problem.field, found.fractions, s, t, x, first, record)
    return Driven(followed.x, found.time, found.code, found.statistics, followed, found.fractions)


def by_backend(
    method: TorchDiffEq, field: BoundField, s: Clock, t: Clock, x: State, rtol: float, atol: float
) -> Driven:
    """Let torchdiffeq integrate; its own failures become one code for the whole batch."""
    try:
        y, calls = method.integrate(field, s, t, x, rtol, atol)
    except AssertionError as error:
        if "underflow" not in str(error) and "non-finite" not in str(error):
            raise SolveError(f"torchdiffeq failed: {error}") from error
        code = torch.full_like(s, int(Result.BACKEND_FAILED)).long()
        return Driven(x, s, code, _counts(s, 0, 0))
    return Driven(y, t, _finite_code(y), _counts(s, 0, calls))


def _finite_code(x: State) -> Codes:
    finite = torch.isfinite(x.detach()).reshape(len(x), -1).all(1)
    return torch.where(finite, SUCCESS, NOT_FINITE)


def _counts(clock: Clock, steps: int, evaluations: int) -> Statistics:
    filled = torch.full_like(clock, steps, dtype=torch.long)
    cost = torch.full_like(clock, evaluations, dtype=torch.long)
    return Statistics(filled, filled, torch.zeros_like(filled), cost)

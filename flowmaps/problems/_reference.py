"""Reference trajectories of one sample at a time by scipy at tolerances of 1e-12."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import require_finite
from flowmaps.errors import SolveError
from flowmaps.problems._operations import operations
from flowmaps.problems._parameters import Parameters
from flowmaps.problems._symbolic import numeric_jacobian

if TYPE_CHECKING:
    from flowmaps.problems._problem import Problem

__all__ = ["TOLERANCE", "states_along", "trajectories"]

TOLERANCE = 1e-12
"""Relative and absolute tolerance of every reference."""

Function = Callable[[float, np.ndarray], np.ndarray]


def trajectories(
    problem: "Problem",
    s: Tensor,
    times: Tensor,
    x: Tensor,
    condition: Tensor | None,
    variational: bool = False,
) -> Tensor:
    """Return states, or Jacobians of the flow map, at several times for every sample.

    Args:
        problem: whose formula to solve.
        s: start times (batch,).
        times: (n_times, batch).
        x: states (batch, dim).
        condition: parameters (batch, n_parameters) or None.
        variational: whether to return Jacobians.

    Returns:
        Tensor (n_times, batch, dim), or (n_times, batch, dim, dim), in float64 on x's device.

    Raises:
        ValueError: if a value is not finite or a time outside ``problem.defined``.
        SolveError: if the solver cannot go on.
    """
    require_finite(x, "x")
    if condition is not None:
        require_finite(condition, "condition")
    _require_defined(problem, torch.cat([s[None], times]))
    batch, d = x.shape
    own = torch.tensor(list(problem.parameters.values()), dtype=torch.float64).expand(batch, -1)
    starts, clocks, grid, rows = (
        tensor.detach().cpu().double().numpy()
        for tensor in (x, s, times, own if condition is None else condition)
    )
    shape = (d, d) if variational else (d,)
    result = np.empty((len(grid), batch, *shape))
    jacobian = numeric_jacobian(problem) if variational or problem.stiff else None
    for k in range(batch):
        field, options = _task(problem, rows[k], jacobian, variational)
        start = np.concatenate([starts[k], np.eye(d).ravel()]) if variational else starts[k]
        states = states_along(field, float(clocks[k]), grid[:, k], start, options, k)
        result[:, k] = states[:, -np.prod(shape) :].reshape(-1, *shape)
    return torch.as_tensor(result, device=x.device)


def _require_defined(problem: "Problem", times: Tensor) -> None:
    lower, upper = problem.defined
    outside = ~((times >= lower) & (times <= upper) & torch.isfinite(times))
    if outside.any():
        raise ValueError(
            f"times of {problem.name} must be finite and in [{lower:g}, {upper:g}], "
            f"got {times[outside][0].item():g}"
        )


def _task(
    problem: "Problem",
    values: np.ndarray,
    jacobian: Callable[..., np.ndarray] | None,
    variational: bool,
) -> tuple[Function, dict[str, Any]]:
    """Return the right-hand side of one sample and scipy's options for it."""
    m, p, d = operations("numpy"), Parameters(problem.parameters, values), problem.dim

    def field(t: float, x: np.ndarray) -> np.ndarray:
        return np.array(problem.formula(m, t, list(x), p), dtype=np.float64)

    if jacobian is None:
        return field, {"method": "DOP853"}
    if not variational:
        return field, {"method": "Radau", "jac": lambda t, x: jacobian(t, x, values)}

    def variational_field(t: float, y: np.ndarray) -> np.ndarray:
        x, matrix = y[:d], y[d:].reshape(d, d)
        return np.concatenate([field(t, x), (jacobian(t, x, values) @ matrix).ravel()])

    return variational_field, {"method": "Radau" if problem.stiff else "DOP853"}


def states_along(
    field: Function,
    s: float,
    times: np.ndarray,
    x: np.ndarray,
    options: dict[str, Any],
    sample: int = 0,
) -> np.ndarray:
    """Return the states at the given times of the trajectory through x at time s.

    Each time is an end point of a solve, never interpolated; the times on either side of s are
    visited outwards, each solve starting where the one before ended.

    Args:
        field: (t, x) -> dx/dt, shape (d,).
        s: start time.
        times: (n_times,), in any order, on both sides of s.
        x: start state (d,).
        options: of ``scipy.integrate.solve_ivp``, its method first.
        sample: number of the sample, for error messages.

    Returns:
        Array (n_times, d).

    Raises:
        SolveError: if the solver cannot go on.
    """
    result = np.empty((len(times), len(x)))
    order = np.argsort(np.abs(times - s), kind="stable")
    for side in (times >= s, times < s):
        now, state = s, x
        for k in order[side[order]]:
            if times[k] != now:
                state = _solve(field, now, float(times[k]), state, options, sample)
            result[k], now = state, float(times[k])
    return result


def _solve(
    field: Function, s: float, t: float, x: np.ndarray, options: dict[str, Any], sample: int
) -> np.ndarray:
    from scipy.integrate import solve_ivp

    # Trial steps may overflow or divide by zero; the solver then rejects them.
    with np.errstate(all="ignore"):
        if not np.isfinite(field(s, x)).all():  # scipy would never return
            raise SolveError(
                f"the field is not finite at the start of sample {sample}: "
                f"time {s:g}, state {x.tolist()}"
            )
        solution = solve_ivp(field, (s, t), x, rtol=TOLERANCE, atol=TOLERANCE, **options)
    if not solution.success:
        raise SolveError(
            f"{options['method']} failed for sample {sample} at time {solution.t[-1]:g} on the way "
            f"from {s:g} to {t:g}: {solution.message} Does the solution exist that long?"
        )
    return solution.y[:, -1]

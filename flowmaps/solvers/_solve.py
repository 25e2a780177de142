"""The door of the solvers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_clock, check_condition, check_state, per_sample, require_finite
from flowmaps._transforms import is_transformed
from flowmaps._typing import Clock, Condition, Field, Time
from flowmaps.solvers._adaptive import Problem
from flowmaps.solvers._bind import BoundField, probe, ravel
from flowmaps.solvers._controllers import PI, Controller
from flowmaps.solvers._dense import DenseOutput, refuse_outside, time_rows
from flowmaps.solvers._drive import Driven, by_backend, by_fixed_steps, by_search
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._solution import SUCCESS, Solution, raise_failures
from flowmaps.solvers._torchdiffeq import TorchDiffEq
from flowmaps.solvers._tsit5 import Tsit5

__all__ = ["check_options", "solve"]


def solve(
    field: Field,
    s: Time,
    t: Time,
    x: Any,
    condition: Condition = None,
    *,
    method: Method | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    steps: int | None = None,
    controller: Controller | None = None,
    save_at: Time | list[float] | None = None,
    dense: bool = False,
    max_steps: int = 10_000,
    throw: bool = True,
    check_field: bool = True,
) -> Solution:
    """Solve dx/dt = field(t, x) from s to t, every sample with its own times, steps and outcome.

    Differentiable in x, s, t, condition and whatever the field holds, in forward and reverse mode: derivatives
    follow the accepted steps, whose fractions of the span are frozen.

    Args:
        field: ``b(t, x)`` or, with a condition, ``b(t, x, condition)``; t arrives as (batch,) in x's dtype.
        s, t: start and end, numbers or tensors of shape () or (batch,), in either order.
        x: state (batch, *event), float32 or float64, or a pytree of such tensors.
        condition: tensor or pytree with leading batch axis: everything that differs between samples.
        method: ``Tsit5()`` by default; ``Euler``, ``Midpoint`` and ``RK4`` need ``steps``.
        rtol, atol: tolerances of the local error, per component; an rtol below ten rounding units of x's dtype
            is raised to that.
        steps: number of equal steps over each sample's own span; switches error control off.
        controller: step-size controller, ``PI()`` by default.
        save_at: times (n_times,) or (n_times, batch) at which ``solution.x`` gives the states instead of at t.
        dense: keep the interpolant; ``solution(t_eval)`` then evaluates it.
        max_steps: bound on attempted steps of a sample.
        throw: raise SolveError if any sample fails; otherwise read ``solution.result``.
        check_field: probe on one and on two samples that the field treats every sample alone.

    Returns:
        A Solution: ``x``, ``result`` and ``statistics`` for every sample.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, options, or a field that is not per-sample.
        SolveError: for failed samples, when ``throw``.

    Example:
        >>> import torch, flowmaps as fm
        >>> solution = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), rtol=1e-6)
        >>> round(solution.x.item(), 4), fm.solvers.Result(solution.result.item()).name
        (0.3679, 'SUCCESS')
    """
    method = Tsit5() if method is None else method
    controller = PI() if controller is None else controller
    check_options(method, rtol, atol, steps, controller, max_steps)
    x, field, rebuild = ravel(x, field)
    x = _solvable(x)
    check_condition(condition, x)
    begin, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    rows = None if save_at is None else _rows(save_at, begin, end)
    bound = BoundField(field, condition)
    first = bound.first(begin, x)
    if check_field:
        probe(field, begin, end, x, condition)
    record = dense or rows is not None
    if isinstance(method, TorchDiffEq):
        driven = by_backend(method, bound, begin, end, x, rtol, atol)
    elif steps is not None:
        driven = by_fixed_steps(method, bound, begin, end, x, first, steps, record)
    else:
        rtol = max(rtol, 10 * torch.finfo(x.dtype).eps)
        ends = begin.detach(), end.detach()
        problem = Problem(bound, method, controller, *ends, rtol, atol, max_steps)
        driven = by_search(problem, begin, end, x, first, record)
    solution = _solution(driven, begin, end, rebuild, rows, dense)
    if throw and not torch.compiler.is_compiling():
        raise_failures(solution, begin, end)
    return solution


def _solution(
    driven: Driven,
    s: Clock,
    t: Clock,
    rebuild: Callable[[Tensor], Any],
    rows: Tensor | None,
    dense: bool,
) -> Solution:
    """Put the outcome together; samples without success read NaN, values and derivatives alike."""
    spoil = torch.where(driven.code == SUCCESS, 1.0, torch.nan)
    x, interpolant = driven.x * per_sample(spoil, driven.x), None
    if driven.followed is not None and driven.followed.states is not None:
        interpolant = DenseOutput(
            s, t, driven.fractions, driven.followed.states, driven.followed.coefficients, rebuild
        )
    if rows is not None:
        assert interpolant is not None
        span = t - s
        x = interpolant.at_fractions((rows - s) / torch.where(span == 0, 1.0, span))
        x = x * per_sample(spoil, x[0])
    return Solution(
        rebuild(x),
        driven.code,
        driven.statistics,
        driven.time,
        rebuild(driven.x),
        interpolant if dense else None,
    )


def _solvable(x: Tensor) -> Tensor:
    check_state(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"solvers compute in float32 or float64, got {x.dtype}; convert x with .float()")
    return x


def _rows(save_at: Time | list[float], s: Clock, t: Clock) -> Tensor:
    rows = time_rows(save_at, s, "save_at")
    span = t - s
    refuse_outside((rows - s) / torch.where(span == 0, 1.0, span), "save_at")
    return rows


def check_options(
    method: Method,
    rtol: float,
    atol: float,
    steps: int | None,
    controller: Controller,
    max_steps: int,
) -> None:
    """Raise TypeError or ValueError for options that cannot be meant."""
    if not isinstance(method, Method):
        raise TypeError(
            f"method must be a method object such as flowmaps.solvers.Tsit5(), got {method!r}"
        )
    if not isinstance(controller, Controller):
        raise TypeError(f"controller must be I() or PI(), got {controller!r}")
    if not rtol > 0 or not atol >= 0:
        raise ValueError(f"rtol must be positive and atol not negative, got rtol={rtol}, atol={atol}")
    for name, count in (("steps", steps), ("max_steps", max_steps)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")
    if isinstance(method, Stepper) and steps is None and method.error_order is None:
        raise ValueError(
            f"{type(method).__name__} has no error estimate; give steps=... or choose Tsit5() or Dopri5()"
        )
    if isinstance(method, TorchDiffEq) and steps is not None:
        raise ValueError("TorchDiffEq takes its steps from options={'step_size': ...}, not from steps=")

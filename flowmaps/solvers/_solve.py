"""The door of the solvers."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    brief,
    check_condition,
    check_state,
    finite_samples,
    per_sample,
    shaped_like,
)
from flowmaps._probing import probe_once
from flowmaps._transforms import carries_derivative, carries_tangent
from flowmaps._typing import Clock, Condition, Count, Mask, Time
from flowmaps.solvers._adjoint import adjoint_settings, along_by_adjoint, by_adjoint
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._bound_event import check_events
from flowmaps.solvers._captured import held
from flowmaps.solvers._coarse_times import warn_of_coarse_times
from flowmaps.solvers._compiled import Compilation
from flowmaps.solvers._controllers import PI, Controller
from flowmaps.solvers._dense import DenseOutput, Times, check_inside, time_rows
from flowmaps.solvers._drive import Driven, Start, by_backend, by_fixed_steps, by_search
from flowmaps.solvers._drive_events import by_events
from flowmaps.solvers._event import Event, as_events, occurrences
from flowmaps.solvers._global_error import driven_twice, extrapolated
from flowmaps.solvers._gradients import (
    ContinuousAdjoint,
    DiscreteGradient,
    Gradient,
    check_gradient,
)
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._numbers import half_precision, modulus
from flowmaps.solvers._options import (
    Tolerance,
    backend_of,
    check_options,
    check_outputs,
    refuse_half,
    refuse_lost_tangents,
    tolerance_like,
)
from flowmaps.solvers._ravel import ravel
from flowmaps.solvers._separable import check_separable
from flowmaps.solvers._solution import NOT_FINITE, SUCCESS, Solution, raise_failures, succeeded
from flowmaps.solvers._stops import by_stretches
from flowmaps.solvers._symplectic import Symplectic
from flowmaps.solvers._torchdiffeq import TorchDiffEq
from flowmaps.solvers._tsit5 import Tsit5
from flowmaps.solvers._watch import LookOut, Seen

__all__ = ["check_options", "solve"]


def solve(
    field: Callable[..., Any],
    s: Time,
    t: Time,
    x: Any,
    condition: Condition = None,
    *,
    method: Method | None = None,
    rtol: Tolerance = 1e-6,
    atol: Tolerance = 1e-6,
    steps: Count | None = None,
    controller: Controller | None = None,
    save_at: Times | None = None,
    dense: bool = False,
    events: Event | Sequence[Event] | None = None,
    global_error: bool = False,
    max_steps: Count = 10_000,
    throw: bool = True,
    check_field: bool = True,
    compile: bool | str = False,
    gradient: Gradient | None = None,
) -> Solution:
    """Solve dx/dt = field(t, x) from s to t, every sample with its own times, steps and outcome.

    Differentiable in x, s, t, condition, save_at and whatever the field holds, in forward and
    reverse mode: derivatives follow the accepted steps, whose fractions of the span are frozen,
    unless ``gradient`` says otherwise.

    With ``steps`` it compiles into one graph. Without, it runs eagerly inside a compiled function,
    between two graphs, and ``fullgraph=True`` refuses it.

    Args:
        field: ``b(t, x)`` or, with a condition, ``b(t, x, condition)``; t arrives as (batch,) in
            x's precision, float32 for half ones, and, unless a whole span is one float32 number, is
            never outside a sample's own span. It returns what is like x.
        s, t: start and end, numbers or tensors of shape () or (batch,), in either order.
        x: state (batch, *event), real or complex, or a pytree of such tensors of one precision. In
            bfloat16 and float16 the field alone computes, or returns float32; sums and times are
            float32 inside and the result is rounded once.
        condition: tensor or pytree with leading batch axis: all that differs between samples.
        method: ``Tsit5()`` by default; ``Dop853()`` for tight tolerances, ``Rodas5P()`` for stiff
            fields. Methods without an error estimate, such as ``RK4()``, need ``steps``.
        rtol, atol: tolerances of the local error, by the modulus where x is complex: numbers, or
            for every component numbers that broadcast against one sample's event (for a pytree, in
            its structure); an rtol below ten rounding units of x's dtype is raised to that, in
            bfloat16 and float16 to one, as only the field rounds so coarsely.
        steps: number of equal steps over each sample's own span; switches error control off.
        controller: step-size controller, ``PI()`` by default.
        save_at: times (n_times,) or (n_times, batch) at which ``solution.x`` gives the states
            instead of at t.
        dense: keep the interpolant; ``solution(t_eval)`` then evaluates it.
        events: an ``Event`` or several, zeros of functions g(t, x) on the way, terminal or recorded
            in ``solution.events``. Where one is terminal the sample ends there, with success:
            ``final_time`` is its time, ``x`` the state there; times of ``save_at`` behind it read
            NaN. Event times and states have first and second derivatives. Not under vmap.
        global_error: estimate the error of ``solution.x``, what all steps have added up to, as
            ``solution.global_error``: two half steps more for every accepted step.
        max_steps: bound on attempted steps of a sample.
        throw: raise SolveError if any sample fails; otherwise, and always in a compiled graph,
            failed samples are NaN, as are all gradients through them, those of shared parameters
            included. To leave them out of a gradient select from ``final_state`` instead, as in
            ``solution.final_state[solution.success]`` or by ``torch.where``.
        check_field: probe with one and with two samples, once for every field and kind of state,
            that the field treats every sample alone.
        compile: compile the adaptive march as one loop outside Python: True for inductor, "eager"
            to take the same way without generating code. The first solve of a field takes seconds,
            those after it a fraction of their time; one compilation serves all batches of more than
            one. Where the grid is recorded, for derivatives, ``dense`` and ``save_at``, its search
            is compiled attempt by attempt; under ``torch.func`` nothing is. A field, and a method
            or controller that is not of this package, is known by identity: one made anew is
            compiled anew, and what was compiled goes when it does.
        gradient: how derivatives are taken: ``DiscreteGradient()`` by default, sparing memory with
            ``checkpoint=True``; ``ContinuousAdjoint()`` for the adjoint equation.

    Returns:
        A Solution: ``x``, ``result`` and ``statistics`` for every sample.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, options, or a field that is not per-sample.
        SolveError: for failed samples, when ``throw``.
        UnsupportedTransform: where a derivative would be lost silently.

    Warns:
        UserWarning: if x is float32 and the field depends on times that float32 cannot resolve.

    Example:
        >>> import torch, flowmaps as fm
        >>> solution = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), rtol=1e-6)
        >>> round(solution.x.item(), 4), fm.solvers.Result(solution.result.item()).name
        (0.3679, 'SUCCESS')
    """
    by_equation = isinstance(gradient, ContinuousAdjoint)
    if torch.compiler.is_compiling() and (steps is None or by_equation or events is not None):
        from flowmaps.solvers._uncompiled import solve_uncompiled as uncompiled

        options = dict(method=method, rtol=rtol, atol=atol, controller=controller)
        outputs = dict(save_at=save_at, dense=dense, global_error=global_error, throw=throw)
        bounds = dict(max_steps=max_steps, compile=compile, steps=steps, gradient=gradient)
        bounds |= dict(check_field=check_field, events=events)
        return uncompiled(field, s, t, x, condition, **bounds, **options, **outputs)
    method = Tsit5() if method is None else method
    controller = PI() if controller is None else controller
    backend = backend_of(compile)
    steps, max_steps = check_options(method, rtol, atol, steps, controller, max_steps)
    if not callable(field):
        raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
    record, events = dense or save_at is not None, as_events(events)
    gradient = check_gradient(gradient, method, steps, dense, save_at is not None)
    check_outputs(method, gradient, record=record, events=bool(events), error=global_error)
    given, state = field, x
    x, field, rebuild = ravel(x, field)
    _check_solvable(x)
    half = half_precision(state)
    check_condition(condition, x)
    begin, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    rows = None if save_at is None else time_rows(save_at, begin, "save_at")
    if rows is not None:
        check_inside(rows, begin, end, "save_at")
    plain = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    holds = held(given) if plain else ()
    bound = BoundField(field, condition, between=(begin, end, x), holds=holds)
    # A sample at rest ends where it starts, whatever the field is there.
    carries = carries_derivative if torch.is_grad_enabled() else carries_tangent
    free = record or torch.compiler.is_compiling() or carries((begin, end))
    still = begin == end
    moving = x if free else torch.where(shaped_like(still, x), x.detach(), x)
    first = bound.first(begin, moving)
    refuse_lost_tangents((begin, end, x, condition, first))
    if check_field:
        probe_once(field, begin, end, x, condition, given, elsewhere=False, coarsest=half)
        if isinstance(method, Symplectic):
            check_separable(method, field, begin, end, x, condition, given, coarsest=half)
    warn_of_coarse_times(bound, begin, end, x, first)
    if events:
        refuse_half(half)
        check_events(events, bound, rebuild, begin, end, x, check_field)
    start = Start(bound, begin, end, moving, first)
    # Made where there is error control alone: a graph of equal steps is to hold no constants.
    tolerances = partial(_tolerances, rtol, atol, state, x)
    stops = ()
    if steps is not None and not events:
        assert isinstance(method, Stepper)
        stretch = partial(by_fixed_steps, method, steps)
    else:
        compiled = None
        if backend is not None:
            compiled = Compilation(given, _kind(state, condition), backend)
        search: dict[str, Any] = dict(compiled=compiled, modulus=modulus(state))
        if events:
            search |= dict(look_out=LookOut(events, rebuild, Seen()), steps=steps)
        else:
            search["keep_nodes"] = global_error
            # States at times alone need no interpolants, unless the times have derivatives.
            if rows is not None and not (dense or by_equation or controller.stops or carries(rows)):
                search["save_at"] = rows
        stretch = partial(_stretch, method, controller, tolerances(), max_steps, search)
        stops = () if isinstance(method, TorchDiffEq) or steps else tuple(controller.stops)
    drive = partial(_whole, stretch, stops)
    runs: Sequence[Driven]
    if isinstance(gradient, ContinuousAdjoint):
        settings = adjoint_settings(gradient, method, controller, tolerances(), max_steps, throw)
        solved = partial(by_adjoint, gradient, drive, settings, given)
        runs = [solved(start) if rows is None else along_by_adjoint(solved, start, rows)]
    else:
        assert isinstance(gradient, DiscreteGradient)
        if global_error and isinstance(method, Stepper):
            one = partial(stretch, record, gradient)
            runs = driven_twice(method, record, one, stops, start)
        else:
            runs = [drive(record, gradient, start)]
    # Where times have derivatives these are the field, if it is finite there.
    kept = still & finite_samples(first.detach()) if free else torch.zeros_like(still)
    runs = [_at_rest(run, still, kept, x) for run in runs]
    if half is not None:
        runs = [_held(run, half) for run in runs]
    solution = _solution(method, runs, begin, end, rebuild, rows, dense)
    if throw and not torch.compiler.is_compiling():
        raise_failures(solution, begin, end)
    return solution


def _tolerances(rtol: Tolerance, atol: Tolerance, state: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    return tolerance_like(rtol, state, x, "rtol"), tolerance_like(atol, state, x, "atol")


def _stretch(
    method: Method,
    controller: Controller,
    tolerances: tuple[Tensor, Tensor],
    max_steps: int,
    search: dict[str, Any],
    record: bool,
    gradient: DiscreteGradient,
    start: Start,
) -> Driven:
    """Solve by error control without a stop: ours, or torchdiffeq's."""
    if isinstance(method, TorchDiffEq):
        return by_backend(method, start, *tolerances, max_steps)
    assert isinstance(method, Stepper)
    facts = *tolerances, max_steps, record
    if "look_out" in search:
        return by_events(method, controller, *facts, start, **search)
    return by_search(method, controller, *facts, gradient, start, **search)


def _whole(
    stretch: Callable[..., Driven],
    stops: tuple[float, ...],
    record: bool,
    gradient: DiscreteGradient,
    start: Start,
) -> Driven:
    """Drive the whole way, from stop to stop where there are any."""
    drive = partial(stretch, record, gradient)
    return by_stretches(drive, start, stops) if stops else drive(start)


def _kind(state: Any, condition: Condition) -> Hashable:
    """Return the kinds of state and condition, one of which a compiled march serves."""
    leaves, structure = pytree.tree_flatten(state)
    kinds = tuple((leaf.shape[1:], leaf.dtype, leaf.device) for leaf in leaves)
    parts, given = pytree.tree_flatten(condition)
    there = tuple(part is not None for part in parts)
    return str(structure), kinds, str(given), there


def _at_rest(driven: Driven, still: Mask, kept: Mask, x: Tensor) -> Driven:
    """Put finite samples whose span is zero, but those that are kept, where they started."""
    fine = still & finite_samples(x.detach())
    rests = shaped_like(fine & ~kept, x)
    saved, recorded = driven.saved, driven.recorded
    if saved is not None:
        saved = torch.where(rests, x, saved)
    if recorded is not None:
        recorded = recorded._replace(slopes=torch.where(rests, 0.0, recorded.slopes))
    return replace(
        driven,
        x=torch.where(rests, x, driven.x),
        code=torch.where(fine, SUCCESS, driven.code),
        saved=saved,
        recorded=recorded,
    )


def _held(driven: Driven, dtype: torch.dtype) -> Driven:
    """Let samples fail whose states are too large for the dtype in which they are returned."""
    lost = succeeded(driven.code) & ~finite_samples(driven.x.detach().to(dtype))
    return replace(driven, code=torch.where(lost, NOT_FINITE, driven.code))


def _solution(
    method: Method,
    runs: Sequence[Driven],
    s: Clock,
    t: Clock,
    rebuild: Callable[[Tensor], Any],
    rows: Tensor | None,
    dense: bool,
) -> Solution:
    """Put the outcome together; a second run is that which tells the error of the first."""
    driven = runs[0]
    (x, interpolant), *fine = [_outcome(run, s, t, rebuild, rows) for run in runs]
    error = None
    if fine:
        assert isinstance(method, Stepper)
        order = method.order if rows is None else min(method.order, method.dense_order + 1)
        error = rebuild(extrapolated(x, fine[0][0], order))
    return Solution(
        rebuild(x),
        driven.code,
        driven.statistics,
        driven.time,
        rebuild(driven.x),
        interpolant if dense else None,
        error,
        tuple(occurrences(found, len(s), rebuild) for found in driven.found),
    )


def _outcome(
    driven: Driven,
    s: Clock,
    t: Clock,
    rebuild: Callable[[Tensor], Any],
    rows: Tensor | None,
) -> tuple[Tensor, DenseOutput | None]:
    """Return x at the end or at the rows, and the interpolant if the steps were recorded.

    Samples without success read NaN, values and derivatives alike.
    """
    recorded = driven.recorded
    spoil = per_sample(torch.where(succeeded(driven.code), 1.0, torch.nan), driven.x)
    if recorded is None:
        return (driven.x if driven.saved is None else driven.saved) * spoil, None
    interpolant = DenseOutput(s, t, recorded.fractions, recorded.states, recorded.slopes, rebuild)
    return (driven.x if rows is None else interpolant.at(rows, "save_at")) * spoil, interpolant


def _check_solvable(x: Tensor) -> None:
    check_state(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            "solvers take float32, float64, complex64, complex128, bfloat16 and float16, "
            f"got {x.dtype}; convert x with .float()"
        )

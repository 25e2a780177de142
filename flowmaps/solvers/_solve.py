"""The door of the solvers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Condition, Count, Time
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._dense import DenseOutput, Times
from flowmaps.solvers._drive import Driven
from flowmaps.solvers._entry import Entry, enter
from flowmaps.solvers._event import Event, occurrences
from flowmaps.solvers._global_error import extrapolated
from flowmaps.solvers._gradients import ContinuousAdjoint, Gradient
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._options import Options, as_options
from flowmaps.solvers._runs import run
from flowmaps.solvers._solution import Solution, raise_failures, succeeded
from flowmaps.solvers._tolerances import Tolerance

__all__ = ["solve"]


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
            ``solution.final_state[solution.success]`` or by ``torch.where``; with ``steps``, or
            with steps that are differentiated themselves, what samples share may be NaN even so.
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
    choice = dict(method=method, rtol=rtol, atol=atol, steps=steps, controller=controller)
    outputs = dict(save_at=save_at, dense=dense, events=events, global_error=global_error)
    ways = dict(max_steps=max_steps, throw=throw, check_field=check_field, compile=compile)
    given: dict[str, Any] = dict(**choice, **outputs, **ways, gradient=gradient)
    searches = steps is None or isinstance(gradient, ContinuousAdjoint) or events is not None
    # is_compiling is true while any other thread compiles, where this would never end.
    if torch.compiler.is_dynamo_compiling() and searches:
        from flowmaps.solvers._uncompiled import solve_uncompiled

        return solve_uncompiled(field, s, t, x, condition, **given)
    options = as_options(**given)
    entry = enter(field, s, t, x, condition, options)
    solution = _solution(entry, options, run(entry, options))
    if throw and not torch.compiler.is_compiling():
        raise_failures(solution, entry.start.s, entry.start.t)
    return solution


def _solution(entry: Entry, options: Options, runs: list[Driven]) -> Solution:
    """Put the outcome together; a second run is that which tells the error of the first."""
    driven, rebuild = runs[0], entry.rebuild
    (x, interpolant), *fine = [_outcome(entry, run) for run in runs]
    error = None
    if fine:
        assert isinstance(options.method, Stepper)
        order = options.method.order
        if entry.rows is not None:
            order = min(order, options.method.dense_order + 1)
        error = rebuild(extrapolated(x, fine[0][0], order))
    return Solution(
        rebuild(x),
        driven.code,
        driven.statistics,
        driven.time,
        rebuild(driven.x),
        interpolant if options.dense else None,
        error,
        tuple(occurrences(found, len(entry.x), rebuild) for found in driven.found),
    )


def _outcome(entry: Entry, driven: Driven) -> tuple[Tensor, DenseOutput | None]:
    """Return x at the end or at the rows, and the interpolant if the steps were recorded.

    Samples without success read NaN, values and derivatives alike.
    """
    recorded, start = driven.recorded, entry.start
    spoil = per_sample(torch.where(succeeded(driven.code), 1.0, torch.nan), driven.x)
    if recorded is None:
        return (driven.x if driven.saved is None else driven.saved) * spoil, None
    interpolant = DenseOutput(start.s, start.t, *recorded, entry.rebuild)
    x = driven.x if entry.rows is None else interpolant.at(entry.rows, "save_at")
    return x * spoil, interpolant

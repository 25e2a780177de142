"""Which way a solve goes: equal steps, a search, events or a foreign solver; once or twice."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from flowmaps._checks import finite_samples, shaped_like
from flowmaps._transforms import carries_derivative, carries_tangent
from flowmaps._typing import Mask
from flowmaps.solvers._adjoint import adjoint_control, along_by_adjoint, by_adjoint
from flowmaps.solvers._compiled import Compilation
from flowmaps.solvers._drive import Drive, Driven, Start, by_backend, by_fixed_steps, by_search
from flowmaps.solvers._drive_events import by_events
from flowmaps.solvers._entry import Entry
from flowmaps.solvers._error_control import ErrorControl
from flowmaps.solvers._global_error import driven_twice
from flowmaps.solvers._gradients import ContinuousAdjoint, DiscreteGradient
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._numbers import modulus
from flowmaps.solvers._options import Options
from flowmaps.solvers._solution import NOT_FINITE, SUCCESS, succeeded
from flowmaps.solvers._stops import by_stretches
from flowmaps.solvers._tolerances import tolerance_like
from flowmaps.solvers._torchdiffeq import TorchDiffEq
from flowmaps.solvers._watch import LookOut, Seen

__all__ = ["run"]


def run(entry: Entry, options: Options) -> list[Driven]:
    """Return the outcome; a second one, where it is asked for, tells the error of the first."""
    still, x, start = entry.still, entry.x, entry.start
    # Where times have derivatives, samples at rest have the field's, if it is finite there.
    kept = still & finite_samples(start.first.detach()) if entry.free else torch.zeros_like(still)
    runs = [_at_rest(driven, still, kept, x) for driven in _driven(entry, options)]
    return runs if entry.half is None else [_held(driven, entry.half) for driven in runs]


def _driven(entry: Entry, options: Options) -> Sequence[Driven]:
    method, gradient, start = options.method, options.gradient, entry.start
    stretch, stops = _stretch(entry, options), tuple(options.controller.stops)

    def whole(record: bool, gradient: DiscreteGradient, start: Start) -> Driven:
        """Drive the whole way, from stop to stop where there are any."""
        drive = partial(stretch, record, gradient)
        return by_stretches(drive, start, stops) if stops else drive(start)

    if isinstance(gradient, ContinuousAdjoint):
        control = adjoint_control(gradient, _control(entry, options))
        solved = partial(by_adjoint, gradient, whole, control, options.throw, entry.given)
        if entry.rows is None:
            return [solved(start)]
        return [along_by_adjoint(solved, start, entry.rows)]
    assert isinstance(gradient, DiscreteGradient)
    if options.global_error:
        assert isinstance(method, Stepper)
        one = partial(stretch, options.record, gradient)
        return driven_twice(method, options.record, one, stops, start)
    return [whole(options.record, gradient, start)]


def _stretch(entry: Entry, options: Options) -> Drive:
    """Return what drives a way without a stop."""
    method, steps = options.method, options.steps
    if isinstance(method, TorchDiffEq):
        tolerances = _tolerances(entry, options)
        return lambda _, __, start: by_backend(method, start, *tolerances, options.max_steps)
    assert isinstance(method, Stepper)
    if steps is not None and not options.events:
        return partial(by_fixed_steps, method, steps)
    control, compiled = _control(entry, options), None
    if options.backend is not None:
        compiled = Compilation(entry.given, entry.kind, options.backend)
    if options.events:
        look_out = LookOut(options.events, entry.rebuild, Seen())
        return partial(by_events, control, compiled, look_out=look_out, steps=steps)
    save_at = entry.rows if _keeps_states_alone(entry, options) else None
    extra = dict(save_at=save_at, keep_nodes=options.global_error)
    return partial(by_search, control, compiled, **extra)


def _keeps_states_alone(entry: Entry, options: Options) -> bool:
    """Tell whether states at times need no interpolants: where the times have no derivatives."""
    if options.dense or options.controller.stops or isinstance(options.gradient, ContinuousAdjoint):
        return False
    carries = carries_derivative if torch.is_grad_enabled() else carries_tangent
    return entry.rows is not None and not carries(entry.rows)


def _control(entry: Entry, options: Options) -> ErrorControl:
    """Return how steps are chosen; a graph of equal steps has no use for it, and its constants."""
    assert isinstance(options.method, Stepper)
    own = options.method, options.controller, *_tolerances(entry, options), options.max_steps
    return ErrorControl(*own, modulus(entry.state))


def _tolerances(entry: Entry, options: Options) -> tuple[torch.Tensor, torch.Tensor]:
    state, x = entry.state, entry.x
    rtol = tolerance_like(options.rtol, state, x, "rtol")
    return rtol, tolerance_like(options.atol, state, x, "atol")


def _at_rest(driven: Driven, still: Mask, kept: Mask, x: torch.Tensor) -> Driven:
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

"""Options of a solve, checked at the door, and calls whose derivatives would be lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, brief
from flowmaps._transforms import is_transformed
from flowmaps._typing import Count
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._controllers import PI, Controller
from flowmaps.solvers._event import Event, as_events
from flowmaps.solvers._gradients import DiscreteGradient, Gradient, check_gradient
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._tolerances import Tolerance, check_tolerances
from flowmaps.solvers._torchdiffeq import TorchDiffEq
from flowmaps.solvers._tsit5 import Tsit5

__all__ = ["Options", "as_options", "refuse_half", "refuse_lost_tangents"]

_MOST = 2**62
"""More steps than these are no bound, and no number for a tensor."""


@dataclass(frozen=True)
class Options:
    """The options of a solve, checked but for the times; see ``solve``."""

    method: Method
    rtol: Tolerance
    atol: Tolerance
    steps: int | None
    controller: Controller
    save_at: Any
    dense: bool
    events: tuple[Event, ...]
    global_error: bool
    max_steps: int
    throw: bool
    check_field: bool
    backend: str | None
    gradient: Gradient

    @property
    def record(self) -> bool:
        """Whether states are asked for along the way."""
        return self.dense or self.save_at is not None


def as_options(
    *,
    method: Method | None = None,
    rtol: Tolerance = 1e-6,
    atol: Tolerance = 1e-6,
    steps: Count | None = None,
    controller: Controller | None = None,
    save_at: Any = None,
    dense: bool = False,
    events: Event | Sequence[Event] | None = None,
    global_error: bool = False,
    max_steps: Count = 10_000,
    throw: bool = True,
    check_field: bool = True,
    compile: bool | str = False,
    gradient: Gradient | None = None,
) -> Options:
    """Return the options of a solve; raise TypeError or ValueError for what cannot be meant."""
    method = Tsit5() if method is None else method
    controller = PI() if controller is None else controller
    check_tolerances(rtol, atol)
    steps = None if steps is None else as_count(steps, "steps")
    _check_method(method, steps)
    _check_controller(controller, method, steps)
    gradient = check_gradient(gradient, method, steps, dense, save_at is not None)
    options = Options(
        method=method,
        rtol=rtol,
        atol=atol,
        steps=steps,
        controller=controller,
        save_at=save_at,
        dense=dense,
        events=as_events(events),
        global_error=global_error,
        max_steps=min(as_count(max_steps, "max_steps"), _MOST),
        throw=throw,
        check_field=check_field,
        backend=_backend(compile),
        gradient=gradient,
    )
    _check_outputs(options)
    return options


def _check_method(method: Any, steps: int | None) -> None:
    if not isinstance(method, Stepper | TorchDiffEq):
        raise TypeError(
            f"method must be a method object such as flowmaps.solvers.Tsit5(), got {brief(method)}"
        )
    if isinstance(method, TorchDiffEq):
        if steps is not None:
            raise ValueError(
                "TorchDiffEq takes its steps from options={'step_size': ...}, not from steps="
            )
    elif steps is None and method.error_order is None:
        raise ValueError(
            f"{type(method).__name__} has no error estimate to choose its steps by; "
            "give steps=... or choose Tsit5(), Dop853(), or Rodas5P() for stiff fields"
        )


def _check_controller(controller: Any, method: Method, steps: int | None) -> None:
    if not isinstance(controller, Controller):
        raise TypeError(
            "controller must be a controller such as flowmaps.solvers.PI(), "
            f"got {brief(controller)}"
        )
    if controller.stops and (steps is not None or isinstance(method, TorchDiffEq)):
        raise ValueError(
            "a controller's stops are for adaptive solves by methods of flowmaps.solvers; solve "
            "from stop to stop instead"
        )


def _check_outputs(options: Options) -> None:
    """Refuse what a method, or a way to take derivatives, cannot give."""
    method, gradient, error = options.method, options.gradient, options.global_error
    if (options.record or options.events or error) and not isinstance(method, Stepper):
        raise ValueError(
            f"{method!r} has no dense output for save_at, dense or events, nor a global error; "
            "choose a method of flowmaps.solvers such as Tsit5()"
        )
    discrete = isinstance(gradient, DiscreteGradient)
    if error and not discrete:
        raise ValueError("global_error needs the steps themselves: take DiscreteGradient(...)")
    if options.events and error:
        raise ValueError("global_error is not known for solves with events; leave one of them out")
    if options.events and (not discrete or gradient.step_sizes):
        raise ValueError(
            "events have derivatives by the accepted steps alone: take DiscreteGradient(), without "
            "step_sizes"
        )


def refuse_half(half: torch.dtype | None) -> None:
    """Refuse events of states in half precision, whose functions could not tell where they are."""
    if half is not None:
        raise ValueError(
            f"events are located to rounding, which {half} is too coarse for; give the state in "
            "float32 or float64"
        )


def _backend(compile: bool | str) -> str | None:
    """Return the name of the backend that the march is compiled by; None for none.

    Raises:
        TypeError, ValueError: if there is none.
    """
    wanted = f'compile must be True, False, "inductor" or "eager", got {compile!r}'
    if not isinstance(compile, bool | str):
        raise TypeError(wanted)
    if compile not in (True, False, "inductor", "eager"):
        raise ValueError(wanted)
    return ("inductor" if compile else None) if isinstance(compile, bool) else compile


def refuse_lost_tangents(tree: Any) -> None:
    """Refuse forward mode under inference mode, where torch drops the tangents without a word.

    Raises:
        UnsupportedTransform: inside ``forward_ad.dual_level`` and ``torch.inference_mode`` at once.
    """
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return
    leaves = [leaf for leaf in pytree.tree_leaves(tree) if leaf is not None]
    if forward_ad._current_level >= 0 and not any(map(is_transformed, leaves)):
        raise UnsupportedTransform(
            "forward mode loses its tangents under torch.inference_mode; use torch.no_grad instead"
        )

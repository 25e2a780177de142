"""Checks at the door: options that cannot be meant, calls whose derivatives would be lost."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, as_numbers, brief, fit_event
from flowmaps._transforms import any_item, is_transformed
from flowmaps._typing import Count
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._gradients import DiscreteGradient, Gradient
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._numbers import as_real, finest_rtol
from flowmaps.solvers._torchdiffeq import TorchDiffEq

__all__ = [
    "Tolerance",
    "backend_of",
    "check_options",
    "check_outputs",
    "refuse_half",
    "refuse_lost_tangents",
    "tolerance_like",
]

Tolerance = Any
"""A number, numbers for every component of a sample, or a pytree of them."""


_MOST = 2**62
"""More steps than these are no bound, and no number for a tensor."""


def check_options(
    method: Method,
    rtol: Tolerance,
    atol: Tolerance,
    steps: Count | None,
    controller: Controller,
    max_steps: Count,
) -> tuple[int | None, int]:
    """Return the counts; raise TypeError or ValueError for options that cannot be meant."""
    if not isinstance(method, Stepper | TorchDiffEq):
        raise TypeError(
            f"method must be a method object such as flowmaps.solvers.Tsit5(), got {brief(method)}"
        )
    if not isinstance(controller, Controller):
        raise TypeError(
            "controller must be a controller such as flowmaps.solvers.PI(), "
            f"got {brief(controller)}"
        )
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        _check_kind(tolerance, name)
    if not (_all(rtol, lambda a: 0 < a) and _all(atol, lambda a: 0 <= a)):
        raise ValueError(
            "rtol must be positive, atol not negative and both finite, "
            f"got rtol={brief(rtol)}, atol={brief(atol)}"
        )
    if controller.stops and (steps is not None or isinstance(method, TorchDiffEq)):
        raise ValueError(
            "a controller's stops are for adaptive solves by methods of flowmaps.solvers; solve "
            "from stop to stop instead"
        )
    steps = None if steps is None else as_count(steps, "steps")
    max_steps = min(as_count(max_steps, "max_steps"), _MOST)
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
    return steps, max_steps


def check_outputs(
    method: Method, gradient: Gradient, *, record: bool, events: bool, error: bool
) -> None:
    """Refuse what a method, or a way to take derivatives, cannot give.

    Args:
        method: of the solve.
        gradient: how derivatives are taken.
        record: whether dense output or states at times are asked for.
        events: whether there are any.
        error: whether the global error is asked for.

    Raises:
        ValueError: names what does not go together.
    """
    if (record or events or error) and not isinstance(method, Stepper):
        raise ValueError(
            f"{method!r} has no dense output for save_at, dense or events, nor a global error; "
            "choose a method of flowmaps.solvers such as Tsit5()"
        )
    discrete = isinstance(gradient, DiscreteGradient)
    if error and not discrete:
        raise ValueError("global_error needs the steps themselves: take DiscreteGradient(...)")
    if events and error:
        raise ValueError("global_error is not known for solves with events; leave one of them out")
    if events and (not discrete or gradient.step_sizes):
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


def backend_of(compile: bool | str) -> str | None:
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


def _check_kind(tolerance: Any, name: str) -> None:
    kinds = Real | Tensor | np.ndarray | list | tuple | dict
    if isinstance(tolerance, bool) or not isinstance(tolerance, kinds):
        raise TypeError(
            f"{name} must be a number, got {brief(tolerance)}; or numbers, one for every component"
        )


def _all(tolerance: Any, test: Callable[[Any], Any]) -> bool:
    """Tell whether every number of a tolerance is finite and passes the test."""
    if isinstance(tolerance, Real):
        return bool(test(tolerance) and tolerance < math.inf)
    if torch.compiler.is_compiling():  # where no value is looked at
        return True
    numbers = [as_numbers(leaf, "a tolerance") for leaf in pytree.tree_leaves(tolerance)]
    return not any(any_item(~(test(leaf) & (leaf < math.inf))) for leaf in numbers)


def tolerance_like(tolerance: Tolerance, given: Any, x: Tensor, name: str) -> Tensor:
    """Return a tolerance in x's real dtype, 0-d or ready to broadcast against a sample's event.

    Args:
        tolerance: checked before: a number, numbers that broadcast against one sample's event, or
            a pytree of such in the structure of the state.
        given: the state as the user gave it.
        x: the same as one real tensor (batch, *event).
        name: what to call it in errors.

    Raises:
        ValueError: if it does not broadcast, or has another structure.
    """
    if isinstance(tolerance, Real):
        found = torch.tensor(float(tolerance), dtype=x.dtype, device=x.device)
    elif isinstance(given, Tensor):
        found = _fitted(tolerance, given, name)
    else:
        leaves, structure = pytree.tree_flatten(given)
        try:
            parts = structure.flatten_up_to(tolerance)
        except ValueError as error:
            raise ValueError(
                f"{name} must be a number or have the structure of the state: {error}"
            ) from error
        pairs = zip(parts, leaves, strict=True)
        events = [_fitted(part, leaf, name).expand(as_real(leaf).shape[1:]) for part, leaf in pairs]
        found = torch.cat([event.flatten() for event in events])
    return found.clamp_min(finest_rtol(given)) if name == "rtol" else found


def _fitted(tolerance: Any, state: Tensor, name: str) -> Tensor:
    """Return numbers that broadcast against an event, ready for the event in its real form."""
    if not state.is_complex():
        return fit_event(as_numbers(tolerance, name), as_real(state), name)
    return fit_event(as_numbers(tolerance, name), state.real, name)[..., None]


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

"""Checks at the door: options that cannot be meant, calls whose derivatives would be lost."""

import math
from numbers import Real
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, brief
from flowmaps._transforms import is_transformed
from flowmaps._typing import Count
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._method import Method, Stepper
from flowmaps.solvers._torchdiffeq import TorchDiffEq

__all__ = ["check_options", "refuse_lost_tangents"]


def check_options(
    method: Method,
    rtol: float,
    atol: float,
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
        if isinstance(tolerance, bool) or not isinstance(tolerance, Real):
            raise TypeError(f"{name} must be a number, got {brief(tolerance)}")
    if not 0 < rtol < math.inf or not 0 <= atol < math.inf:
        raise ValueError(
            f"rtol must be positive, atol not negative and both finite, got {rtol=}, {atol=}"
        )
    steps = None if steps is None else as_count(steps, "steps")
    max_steps = as_count(max_steps, "max_steps")
    if isinstance(method, TorchDiffEq):
        if steps is not None:
            raise ValueError(
                "TorchDiffEq takes its steps from options={'step_size': ...}, not from steps="
            )
    elif steps is None and method.error_order is None:
        raise ValueError(
            f"{type(method).__name__} has no error estimate to choose its steps by; "
            "give steps=... or choose Tsit5() or Dopri5()"
        )
    return steps, max_steps


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

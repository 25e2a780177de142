"""Tolerances: what users may give, checked and brought to the state's dtype and shape."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_numbers, brief, fit_event
from flowmaps._transforms import any_item
from flowmaps.solvers._numbers import as_real, finest_rtol

__all__ = ["Tolerance", "check_tolerances", "tolerance_like"]

Tolerance = Any
"""A number, numbers for every component of a sample, or a pytree of them."""


def check_tolerances(rtol: Tolerance, atol: Tolerance) -> None:
    """Raise TypeError for what is no number, ValueError for numbers that cannot be meant."""
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        _check_kind(tolerance, name)
    if not (_all(rtol, lambda a: 0 < a) and _all(atol, lambda a: 0 <= a)):
        raise ValueError(
            "rtol must be positive, atol not negative and both finite, "
            f"got rtol={brief(rtol)}, atol={brief(atol)}"
        )


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

"""Adapters and combinators of fields: any callable ``b(t, x)`` or ``b(t, x, condition)``."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_numbers, brief, fit_event, is_number
from flowmaps._typing import Field

__all__ = ["per_sample", "reversed_time", "scalar_time", "scaled"]


def per_sample(function: Callable[..., Tensor]) -> Field:
    """Make a field from a function of one sample.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape (*event,),
            returning x's shape.

    Returns:
        The field on batches, by ``torch.func.vmap``.

    Raises:
        TypeError: if function is not callable.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.per_sample(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """
    _check_callable(function)

    def field(t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        if len(x) == 0:  # some operations fail under a vmap over nothing
            return torch.zeros_like(x)
        arguments = (t, x, *condition)
        axes = pytree.tree_map(lambda leaf: None if leaf is None else 0, arguments)
        return torch.func.vmap(function, in_dims=axes)(*arguments)

    return field


def scalar_time(function: Callable[..., Tensor]) -> Field:
    """Make a field from a function written for one time and a batch, as torchdiffeq's are.

    Every sample is evaluated at its own time as a batch of one, by ``torch.func.vmap``.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape
            (batch, *event).

    Raises:
        TypeError: if function is not callable.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scalar_time(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """
    _check_callable(function)

    def single(t: Tensor, *arguments: Any) -> Tensor:
        batches = pytree.tree_map(lambda a: None if a is None else a[None], arguments)
        return function(t, *batches)[0]

    return per_sample(single)


def reversed_time(field: Field, about: float = 0.0) -> Field:
    """Return the field of y(t) = x(2 about - t): -b(2 about - t, y).

    Args:
        field: b.
        about: the time that stays where it is.

    Raises:
        TypeError, ValueError: if field is not callable, or about no finite number.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.reversed_time(lambda t, x: t[:, None] * x, about=1.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """
    _check_callable(field)
    if not is_number(about) or not math.isfinite(about):
        raise ValueError(f"about must be a finite time, got {brief(about)}")

    def backward(t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        return -field(2 * about - t, x, *condition)

    return backward


def scaled(field: Field, state: float | Sequence[float] | Tensor = 1.0, time: float = 1.0) -> Field:
    """Return the field in other units: with y = x / state and r = t / time, dy/dr.

    That is time / state b(time r, state y).

    Args:
        field: b.
        state: unit of the state, a number, a list or a tensor that broadcasts against the event;
            not zero.
        time: unit of time, positive.

    Raises:
        TypeError, ValueError: if field is not callable, or a unit is none.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scaled(lambda t, x: -x, state=10.0, time=2.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """
    _check_callable(field)
    if not is_number(time) or not 0 < time < math.inf:
        raise ValueError(f"the unit of time must be a positive number, got {brief(time)}")
    fixed = as_numbers(state, "the unit of the state")
    if not torch.isfinite(fixed).all() or (fixed == 0).any():
        raise ValueError(
            f"the unit of the state must be finite and not zero, got {brief(fixed.tolist())}"
        )
    unit = state if isinstance(state, Tensor) else fixed  # a unit may be differentiated

    def in_units(t: Tensor, y: Tensor, *condition: Any) -> Tensor:
        size = fit_event(unit, y, "the unit of the state")
        return time / size * field(time * t, size * y, *condition)

    return in_units


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise TypeError(
            f"a field is a callable b(t, x) or b(t, x, condition), got {brief(function)}"
        )

"""Adapters and combinators of fields; any callable ``b(t, x)`` or ``b(t, x, condition)`` is a field."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import Field

__all__ = ["per_sample", "reversed_time", "scalar_time", "scaled"]


def per_sample(function: Callable[..., Tensor]) -> Field:
    """Make a field from a function of one sample.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape (*event,), returning x's shape.

    Returns:
        The field on batches, by ``torch.func.vmap``.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.per_sample(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """
    return torch.func.vmap(function)


def scalar_time(function: Callable[..., Tensor]) -> Field:
    """Make a field from a function written for one time and a batch, as torchdiffeq's are.

    Every sample is evaluated at its own time as a batch of one, by ``torch.func.vmap``.

    Args:
        function: ``f(t, x)`` or ``f(t, x, condition)`` with t of shape (), x of shape (batch, *event).

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scalar_time(lambda t, x: t * x)
        >>> field(torch.tensor([1.0, 2.0]), torch.ones(2, 1)).tolist()
        [[1.0], [2.0]]
    """

    def single(t: Tensor, *arguments: Tensor) -> Tensor:
        batches = pytree.tree_map(lambda a: a[None], arguments)
        return function(t, *batches)[0]

    return torch.func.vmap(single)


def reversed_time(field: Field, about: float = 0.0) -> Field:
    """Return the field of y(t) = x(2 about - t): -b(2 about - t, y).

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.reversed_time(lambda t, x: t[:, None] * x, about=1.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """

    def backward(t: Tensor, x: Tensor, *condition: Tensor) -> Tensor:
        return -field(2 * about - t, x, *condition)

    return backward


def scaled(field: Field, state: float | Tensor = 1.0, time: float = 1.0) -> Field:
    """Return the field in other units: y = x / state, r = t / time, so dy/dr = time / state b(time r, state y).

    Args:
        field: b.
        state: unit of the state, a number or a tensor that broadcasts against the event.
        time: unit of time, positive.

    Raises:
        ValueError: if time is not positive.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.scaled(lambda t, x: -x, state=10.0, time=2.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -2.0
    """
    if not time > 0:
        raise ValueError(f"the unit of time must be positive, got {time}")

    def in_units(t: Tensor, y: Tensor, *condition: Tensor) -> Tensor:
        unit = torch.as_tensor(state, dtype=y.dtype, device=y.device)
        return time / unit * field(time * t, unit * y, *condition)

    return in_units

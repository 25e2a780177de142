"""States of few components taken apart in a traced graph: one tensor (batch,) a component.

A compiler fuses operations on tensors of one shape. A step on states (batch, n) has two, those of
the states and those of the clocks, and fields that pick components and stack them again cut it into
pieces, each with its way through memory. Taken apart, the whole step is operations on (batch,): one
loop that a compiler vectorises over the samples.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter
from torch.utils import _pytree as pytree

__all__ = ["MOST", "Columns", "TakenApart", "apart", "together"]

MOST = 16
"""States of more components stay whole."""

aten = torch.ops.aten
_LIKE_POINTWISE = (
    torch.ops.prims.convert_element_type.default,
    aten._to_copy.default,
    aten.alias.default,
    aten.clone.default,
    aten.detach.default,
    aten.full_like.default,
)
_REDUCTIONS: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    aten.sum.dim_IntList: torch.add,
    aten.mean.dim: torch.add,
    aten.any.dim: torch.bitwise_or,
    aten.all.dim: torch.bitwise_and,
}
_RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)


class Columns(list[Tensor]):
    """A tensor (batch, n) as its n columns (batch,)."""


def apart(value: Tensor) -> Tensor | Columns:
    """Return a tensor (batch, n) of few columns as these, any other as it is."""
    few = value.ndim == 2 and 0 < value.shape[1] <= MOST
    return Columns(value.select(1, i) for i in range(value.shape[1])) if few else value


def together(value: Any) -> Any:
    """Return columns as the tensor (batch, n), also inside lists; anything else as it is."""
    if isinstance(value, Columns):
        return torch.stack(list(value), 1)
    if isinstance(value, list | tuple):
        return type(value)(together(part) for part in value)
    return value


class TakenApart(Interpreter):
    """Runs a graph of ATen operations on columns where it can, on whole tensors where it must."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation."""
        if not isinstance(target, torch._ops.OpOverload):
            return super().call_function(target, together(args), together_values(kwargs))
        if any(isinstance(leaf, Columns) for leaf in _leaves((args, kwargs))):
            found = _on_columns(target, args, kwargs)
        else:
            found = _into_columns(target, args)
        if found is not None:
            return found
        return super().call_function(target, together(args), together_values(kwargs))


def together_values(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments with columns put together."""
    return {name: together(value) for name, value in kwargs.items()}


def _into_columns(target: Any, args: Any) -> Columns | None:
    """Run what makes (batch, n) of tensors (batch,); None for anything else."""
    x = args[0] if args else None
    if isinstance(x, Tensor) and x.ndim == 1:
        unsqueezed = target is aten.unsqueeze.default and args[1] in (1, -1)
        reshaped = target in _RESHAPES and len(args[1]) == 2 and args[1][1] == 1
        return Columns([x]) if unsqueezed or reshaped else None
    stacked = target is aten.stack.default and len(args) > 1 and args[1] in (1, -1)
    if stacked and len(args[0]) <= MOST and all(part.ndim == 1 for part in args[0]):
        return Columns(args[0])
    return None


def _on_columns(target: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation one of whose arguments is columns; None if it needs them together."""
    if torch.Tag.pointwise in target.tags or target in _LIKE_POINTWISE:
        return _pointwise(target, args, kwargs)
    x = args[0]
    if target is aten.cat.default:
        along = len(args) > 1 and args[1] in (1, -1)
        parts = along and all(isinstance(part, Columns) for part in x)
        return Columns(column for part in x for column in part) if parts else None
    if not isinstance(x, Columns):
        return None
    if target is aten.select.int and args[1] in (1, -1):
        return x[args[2]]
    if target is aten.unbind.int and len(args) > 1 and args[1] in (1, -1):
        return list(x)
    if target is aten.slice.Tensor:
        return _sliced(x, *args[1:])
    if target in (aten.squeeze.dim, aten.squeeze.dims):
        return x[0] if len(x) == 1 and args[1] in (1, -1, [1], [-1]) else None
    if target in _RESHAPES or target is aten.expand.default:
        return _reshaped(target, x, args[1])
    return _reduced(target, x, *args[1:]) if target in _REDUCTIONS else None


def _pointwise(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Columns | None:
    """Run an operation on every column, arguments broadcast as whole tensors would be."""
    leaves, structure = pytree.tree_flatten(
        (args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Columns)
    )
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
    if any(tensor.ndim > 2 for tensor in tensors):
        return None
    widths = [len(leaf) for leaf in leaves if isinstance(leaf, Columns)]
    width = max(widths + [tensor.shape[-1] for tensor in tensors])
    if not isinstance(width, int) or width > MOST:
        return None
    spread = [_spread(leaf, width) for leaf in leaves]
    rows = [
        pytree.tree_unflatten([column[i] for column in spread], structure) for i in range(width)
    ]
    return Columns(target(*row_args, **row_kwargs) for row_args, row_kwargs in rows)


def _spread(value: Any, width: int) -> list[Any]:
    """Return what each of so many columns sees of an argument."""
    if isinstance(value, Columns):
        return list(value) if len(value) == width else list(value) * width
    if not isinstance(value, Tensor) or value.ndim == 0:
        return [value] * width
    last = value.ndim - 1
    return [value.select(last, i if value.shape[-1] == width else 0) for i in range(width)]


def _sliced(x: Columns, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if dim in (1, -1):
        return Columns(x[slice(start, end, step)])
    whole = start in (None, 0) and (end is None or end >= 2**62) and step == 1
    return x if whole else None


def _reshaped(target: Any, x: Columns, shape: Any) -> Any:
    """Return columns in a shape (batch,), (batch, 1) or (batch, n); None for other shapes."""
    if len(shape) == 1 and len(x) == 1:
        return x[0]
    if len(shape) != 2 or not isinstance(shape[1], int):
        return None
    if shape[1] in (len(x), -1):
        return x
    return Columns(x * shape[1]) if target is aten.expand.default and len(x) == 1 else None


def _reduced(target: Any, x: Columns, dims: Any = None, keepdim: bool = False) -> Any:
    """Return a sum, a mean, any or all over the columns; None if it is over other axes."""
    if dims not in (1, -1, [1], [-1]):
        return None
    total = reduce(_REDUCTIONS[target], x)
    if target is aten.mean.dim:
        total = total / len(x)
    return Columns([total]) if keepdim else total


def _leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Columns))

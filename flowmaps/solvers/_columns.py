"""States of few components taken apart in a traced graph: one tensor (batch,) a component.

A compiler fuses operations on tensors of one shape. A step on states (batch, n) has two, those of
the states and those of the clocks, and fields that pick components and stack them again cut it into
pieces, each with its way through memory. Taken apart, the whole step is operations on (batch,): one
loop that a compiler vectorises over the samples.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node
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
_LOGICAL = {aten.any.dim: torch.logical_or, aten.all.dim: torch.logical_and}
_SUMS = (aten.sum.dim_IntList, aten.mean.dim)
_ROUNDED = (torch.float16, torch.bfloat16)
"""Sums of these are rounded once, at the end."""
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
    """Runs a graph of ATen operations on columns where it can, on whole tensors where it must.

    It can where the columns have the dtype and the width that the graph says of the whole tensor.
    """

    def run_node(self, n: Node) -> Any:
        """Run one operation."""
        found = self._by_columns(n)
        return super().run_node(n) if found is None else found

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation on whole tensors."""
        return super().call_function(target, together(args), together_values(kwargs))

    def _by_columns(self, n: Node) -> Any:
        target, whole = n.target, n.meta.get("val")
        if not isinstance(target, torch._ops.OpOverload) or whole is None:
            return None
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if any(isinstance(leaf, Columns) for leaf in _leaves((args, kwargs))):
            found = _on_columns(target, args, kwargs, whole)
        else:
            found = None if kwargs else _into_columns(target, args)
        return found if _fits(found, whole) else None


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


def _fits(found: Any, whole: Any) -> bool:
    """Tell whether columns, one tensor (batch,) or many of them are what the whole would be."""
    if isinstance(found, list) and not isinstance(found, Columns):
        return len(found) == len(whole) and all(map(_fits, found, whole))
    if not isinstance(found, Tensor | Columns) or not isinstance(whole, Tensor):
        return False
    columns, shape = (found, [len(found)]) if isinstance(found, Columns) else ([found], [])
    same = all((column.ndim, column.dtype) == (1, whole.dtype) for column in columns)
    return same and whole.ndim > 0 and _fixed(whole.shape[1:]) == shape


def _fixed(lengths: Sequence[Any]) -> list[int | None]:
    """Return lengths of axes, None for those that are left open; to compare one would fix it."""
    return [length if isinstance(length, int) else None for length in lengths]


def _on_columns(target: Any, args: Any, kwargs: dict[str, Any], whole: Any) -> Any:
    """Run an operation one of whose arguments is columns; None if it needs them together.

    ``whole`` has the shape and the dtype of what it gives.
    """
    if torch.Tag.pointwise in target.tags or target in _LIKE_POINTWISE:
        return _pointwise(target, args, kwargs) if isinstance(whole, Tensor) else None
    x = args[0]
    if target in _LOGICAL or target in _SUMS:
        return _reduced(target, x, whole.dtype, *args[1:]) if isinstance(x, Columns) else None
    if kwargs:
        return None
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
    if target is aten.expand.default:
        return _expanded(x, args[1])
    return _reshaped(x, whole) if target in _RESHAPES else None


def _pointwise(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Columns | None:
    """Run an operation on every column, arguments broadcast as whole tensors would be."""
    leaves, structure = pytree.tree_flatten(
        (args, kwargs), is_leaf=lambda leaf: isinstance(leaf, Columns)
    )
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
    if any(tensor.ndim > 2 for tensor in tensors):
        return None
    widths = [len(leaf) for leaf in leaves if isinstance(leaf, Columns)]
    widths += [tensor.shape[-1] for tensor in tensors]
    if None in _fixed(widths) or (width := max(widths)) > MOST:
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
    places = range(width) if value.shape[-1] == width else [0] * width
    if value.ndim == 1:  # no numbers: these would not count where the dtypes differ
        return [value.narrow(0, i, 1) for i in places]
    return [value.select(1, i) for i in places]


def _sliced(x: Columns, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if dim in (1, -1):
        return Columns(x[slice(start, end, step)]) or None
    all_rows = end is None or (isinstance(end, int) and end >= 2**62)
    return x if start in (None, 0) and all_rows and step == 1 else None


def _expanded(x: Columns, shape: Any) -> Columns | None:
    """Return columns as often as (batch, n) has them, each with as many rows."""
    if len(shape) != 2:
        return None
    wide = x * shape[1] if len(x) == 1 and isinstance(shape[1], int) and shape[1] > 1 else x
    return Columns(column.expand(shape[0]) for column in wide)


def _reshaped(x: Columns, whole: Tensor) -> Any:
    """Return columns as (batch,) or as (batch, n) again; None for other shapes."""
    if whole.ndim == 1 and len(x) == 1:
        return x[0]
    return x if whole.ndim == 2 else None


def _reduced(
    target: Any, x: Columns, dtype: torch.dtype, dims: Any = None, keepdim: bool = False
) -> Any:
    """Return a sum, a mean, any or all over the columns; None if it is over other axes.

    Numbers are summed in the dtype of the sum, which for booleans and integers is a wider one.
    """
    if dims not in (1, -1, [1], [-1]) or dtype in _ROUNDED:
        return None
    if target in _LOGICAL:
        total = reduce(_LOGICAL[target], [column != 0 for column in x]).to(dtype)
    else:
        total = reduce(torch.add, [column.to(dtype) for column in x])
        total = total / len(x) if target is aten.mean.dim else total
    return Columns([total]) if keepdim else total


def _leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Columns))

"""What a field holds: the tensors that its values have gradients in, besides its arguments."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["adjoint_inputs", "captured", "held"]


def adjoint_inputs(first: Tensor, sources: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return all that the adjoint must differentiate in beside x: sources and captured leaves.

    Args:
        first: a value of the field, whose graph shows what the field has captured.
        sources: s, t, x and the leaves of the condition; the graph is not followed behind them.
    """
    s, t, x, *condition = sources
    known = [a for a in (s, t, *condition) if a is not None and a.requires_grad]
    return (*known, *captured(first, (*known, x)))


def captured(value: Tensor, known: Iterable[Tensor]) -> list[Tensor]:
    """Return the leaves in the graph of a value; the graph is not followed behind known tensors."""
    known = list(known)
    behind = {a.grad_fn for a in known if a.grad_fn is not None}
    leaves = {id(a) for a in known}
    found, seen, ahead = [], set(), [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen or node in behind:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in leaves:
            found.append(leaf)
        ahead.extend(parent for parent, _ in node.next_functions)
    return found


def held(field: Any) -> list[Tensor]:
    """Return the leaves with gradients that a field holds in sight, however deep.

    Modules hold parameters; functions their closures and defaults, methods their owners, partial
    functions and other callables their attributes. A value of the field shows only those that it
    depends on at that time.
    """
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    ahead = [field]
    while ahead:
        part = ahead.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor | nn.Module):
            tensors = part.parameters() if isinstance(part, nn.Module) else [part]
            found |= {id(a): a for a in tensors if a.requires_grad and a.is_leaf}
        elif callable(part):
            ahead += _parts(part)
    return list(found.values())


def _parts(function: Any) -> list[Any]:
    """Return what a callable that is no module is made of; types and their like hold nothing."""
    if isinstance(function, type):
        return []
    parts = [
        getattr(function, name, None) for name in ("__self__", "__defaults__", "__kwdefaults__")
    ]
    if isinstance(function, partial):
        parts += [function.func, function.args, function.keywords]
    parts.append(getattr(function, "__dict__", None))
    for cell in getattr(function, "__closure__", None) or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    return pytree.tree_leaves(parts)

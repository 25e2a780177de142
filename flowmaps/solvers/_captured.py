"""What a field holds: the tensors that its values have gradients in, besides its arguments."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import method_owner

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
    """Return the leaves with gradients that a module, a method's owner or a closure holds in sight.

    A value of the field shows only those that it depends on at that time.
    """
    cells = getattr(field, "__closure__", None) or ()
    parts = [field, method_owner(field)]
    for cell in cells:
        try:
            parts += pytree.tree_leaves(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    found: dict[int, Tensor] = {}
    for part in parts:
        part = method_owner(part) or part
        tensors = part.parameters() if isinstance(part, nn.Module) else [part]
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.requires_grad and tensor.is_leaf:
                found[id(tensor)] = tensor
    return list(found.values())

"""Conditions of some samples replaced by the one that says "none"."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import brief, is_number, shaped_like
from flowmaps._typing import Condition

__all__ = ["check_empty", "emptied", "forgotten", "mapped_leaves"]

SEQUENCES = (list, tuple)  # compiled code has no ``list | tuple``


def forgotten(condition: Condition, drop: Tensor, empty: Any) -> Condition:
    """Replace the condition of some samples by the one that says "none": condition dropout.

    A field trained so knows its value with and without a condition, as ``guided`` needs. Plain
    operations without branches on values: for compiled and vmapped code too.

    Args:
        condition: a tensor or a pytree (of dicts, lists, tuples) of tensors (batch, ...).
        drop: truth values (batch,); the rows to replace.
        empty: the condition that says "none": a number or a tensor of one sample's shape, or of one
            that broadcasts against it; for a pytree, a pytree of the same form. None in a leaf's
            place leaves that leaf as it is.

    Returns:
        The condition, with its dtypes, shapes and devices.

    Raises:
        TypeError: if drop is no tensor of truth values, or a leaf of the wrong kind.
        ValueError: if drop, a leaf or ``empty`` do not fit each other.

    Source:
        Ho and Salimans (2022), arXiv:2207.12598, algorithm 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> label, drop = torch.tensor([3, 1, 4]), torch.tensor([False, True, False])
        >>> fm.fields.forgotten(label, drop, empty=-1).tolist()
        [3, -1, 4]
    """
    check_empty(empty)
    if not isinstance(drop, Tensor) or drop.dtype != torch.bool:
        kind = drop.dtype if isinstance(drop, Tensor) else type(drop).__name__
        raise TypeError(f"drop must be a tensor of truth values (batch,), got {kind}")
    if drop.ndim != 1:
        raise ValueError(f"drop must have shape (batch,), got {tuple(drop.shape)}")

    def replaced(leaf: Tensor, none: Tensor) -> Tensor:
        if leaf.ndim == 0 or len(leaf) != len(drop):
            raise ValueError(
                f"condition must have one row for each of the {len(drop)} rows of drop, got a leaf "
                f"of shape {tuple(leaf.shape)}"
            )
        return torch.where(shaped_like(drop, leaf), none, leaf)

    return mapped_leaves(replaced, condition, empty)


def emptied(condition: Condition, empty: Any) -> Condition:
    """Return a condition of the same form that says "none" in every row."""
    return mapped_leaves(lambda leaf, none: none.expand_as(leaf), condition, empty)


def check_empty(empty: Any) -> None:
    """Raise TypeError or ValueError for what cannot be the condition that says "none"."""
    leaves = _leaves(empty)
    if all(leaf is None for leaf in leaves):
        raise ValueError(
            'empty must be the condition that says "none", a value or a pytree of values such as '
            f"the network's label for no class, got {brief(empty)}"
        )
    for leaf in leaves:
        if leaf is not None and not isinstance(leaf, Tensor) and not is_number(leaf):
            raise TypeError(
                f"a leaf of empty must be a number, a tensor or None, got {brief(leaf)}"
            )


def mapped_leaves(
    function: Callable[[Tensor, Tensor], Tensor], condition: Condition, empty: Any
) -> Condition:
    """Apply a function to leaves and their empty values, which it gets like the leaves.

    Lists and tuples are one form: a saved field comes back with lists.
    """
    if condition is None or empty is None:
        return condition
    if isinstance(condition, dict):
        if not isinstance(empty, dict) or condition.keys() != empty.keys():
            raise _other_form(condition, empty)
        return {
            name: mapped_leaves(function, leaf, empty[name]) for name, leaf in condition.items()
        }
    if isinstance(condition, SEQUENCES):
        if not isinstance(empty, SEQUENCES) or len(condition) != len(empty):
            raise _other_form(condition, empty)
        pairs = zip(condition, empty, strict=True)
        parts = [mapped_leaves(function, leaf, none) for leaf, none in pairs]
        named = hasattr(condition, "_fields")  # a named tuple takes its parts one by one
        return type(condition)(*parts) if named else type(condition)(parts)
    if isinstance(empty, (dict, *SEQUENCES)):
        raise _other_form(condition, empty)
    if not isinstance(condition, Tensor):
        raise TypeError(
            "condition must be a tensor or a pytree of tensors, got a leaf of type "
            f"{type(condition).__name__}"
        )
    return function(condition, _like(empty, condition))


def _like(empty: float | Tensor, leaf: Tensor) -> Tensor:
    """Return an empty value in a leaf's dtype and device."""
    exact = leaf.is_floating_point() or leaf.is_complex()
    fraction = isinstance(empty, float) and not empty.is_integer()
    if not exact and (fraction or isinstance(empty, Tensor) and empty.is_floating_point()):
        raise TypeError(
            f"empty is {brief(empty)} for a condition of {leaf.dtype}: give a whole number"
        )
    if not isinstance(empty, Tensor):
        return torch.full((), empty, dtype=leaf.dtype, device=leaf.device)
    event = leaf.shape[1:]
    pairs = zip(reversed(empty.shape), reversed(event), strict=False)
    if empty.ndim > len(event) or any(a not in (1, b) for a, b in pairs):
        raise ValueError(
            f"empty has shape {tuple(empty.shape)}, which does not broadcast against one sample's "
            f"condition of shape {tuple(event)}"
        )
    return empty.to(leaf)


def _other_form(condition: Condition, empty: Any) -> ValueError:
    return ValueError(
        f"empty must have the condition's form, {_form(condition)}, got {_form(empty)}; None in a "
        "leaf's place leaves that leaf as it is"
    )


def _form(tree: Any) -> str:
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(str, tree))}"
    if isinstance(tree, SEQUENCES):
        return f"a {type(tree).__name__} of {len(tree)}"
    return "a single leaf"


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if not isinstance(tree, SEQUENCES):
        return [tree]
    return [leaf for part in tree for leaf in _leaves(part)]

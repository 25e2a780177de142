"""States that are pytrees: one tensor inside the solvers, the user's own structure outside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import check_output
from flowmaps._typing import Field

__all__ = ["ravel"]


def ravel(x: Any, field: Callable[..., Any]) -> tuple[Tensor, Field, Callable[[Tensor], Any]]:
    """Turn a pytree state into one tensor (batch, n), with its field and the way back.

    One tensor stays as it is. The field of a pytree returns the same structure; the order of the
    keys of a dict does not matter.

    Raises:
        TypeError: if a leaf is not a tensor or the leaves differ in dtype.
        ValueError: if the leaves differ in batch or device.
    """
    if isinstance(x, Tensor):
        return x, field, lambda y: y
    leaves, structure = pytree.tree_flatten(x)
    _check_leaves(leaves)
    events = [leaf.shape[1:] for leaf in leaves]
    sizes = [event.numel() for event in events]

    def rebuild(y: Tensor) -> Any:
        parts = y.split(sizes, dim=-1)
        shaped = [p.reshape(*y.shape[:-1], *event) for p, event in zip(parts, events, strict=True)]
        return pytree.tree_unflatten(shaped, structure)

    def flat_field(t: Tensor, y: Tensor, *extra: Any) -> Tensor:
        state = rebuild(y)
        value = field(t, state, *extra)
        try:
            found = structure.flatten_up_to(value)
        except ValueError as error:
            raise TypeError(f"the field must return the state's structure, but: {error}") from error
        pairs = enumerate(zip(found, pytree.tree_leaves(state), strict=True))
        return _joined([check_output(a, b, f"the field, in leaf {i},") for i, (a, b) in pairs])

    return _joined(leaves), flat_field, rebuild


def _joined(leaves: list[Tensor]) -> Tensor:
    flat = [leaf.reshape(leaf.shape[0], leaf.shape[1:].numel()) for leaf in leaves]
    return torch.cat(flat, dim=1)


def _check_leaves(leaves: list[Any]) -> None:
    if not leaves:
        raise TypeError("a state must hold at least one tensor, got an empty pytree")
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or not leaf.ndim:
            got = "a 0-d tensor" if isinstance(leaf, Tensor) else type(leaf).__name__
            raise TypeError(
                "a state must be a tensor or a pytree of tensors with a leading batch axis, "
                f"got {got}; what does not change belongs into condition or the field"
            )
    for name, facts in (
        ("dtype", [leaf.dtype for leaf in leaves]),
        ("device", [leaf.device for leaf in leaves]),
        ("batch", [leaf.shape[0] for leaf in leaves]),
    ):
        if len(set(facts)) > 1:
            error = TypeError if name == "dtype" else ValueError
            raise error(f"the leaves of a state must share one {name}, got {facts}")

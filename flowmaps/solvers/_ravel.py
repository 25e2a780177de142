"""States of any kind: one real tensor inside the solvers, the user's own structure outside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import Field
from flowmaps.solvers._numbers import as_given, as_real, check_value

__all__ = ["ravel"]

Raveled = tuple[Tensor, Field, Callable[[Tensor], Any]]


def ravel(x: Any, field: Callable[..., Any]) -> Raveled:
    """Turn a state into one real tensor, with its field and the way back.

    A tensor in float32 or float64 stays as it is, a complex one gets an axis of two parts, one in
    half precision is widened; a pytree becomes (batch, n). The field of a pytree returns the same
    structure; the order of the keys of a dict does not matter.

    Raises:
        TypeError: if a leaf is not a tensor or the leaves differ in dtype.
        ValueError: if the leaves differ in batch or device.
    """
    if not isinstance(x, Tensor):
        return _raveled(x, field)
    dtype, real = x.dtype, as_real(x) if x.ndim else x.real  # 0-d ones are refused by shape
    if real.dtype == dtype:
        return x, field, lambda y: y

    def real_field(t: Tensor, y: Tensor, *extra: Any) -> Tensor:
        state = as_given(y, dtype)
        return check_value(field(t, state, *extra), state, "the field")

    return real, real_field, lambda y: as_given(y, dtype)


def _raveled(x: Any, field: Callable[..., Any]) -> Raveled:
    leaves, structure = pytree.tree_flatten(x)
    _check_leaves(leaves)
    dtypes = [leaf.dtype for leaf in leaves]
    leaves = [as_real(leaf) for leaf in leaves]
    events = [leaf.shape[1:] for leaf in leaves]
    sizes = [event.numel() for event in events]

    def rebuild(y: Tensor) -> Any:
        facts = zip(y.split(sizes, dim=-1), events, dtypes, strict=True)
        shaped = [as_given(p.reshape(*y.shape[:-1], *event), dtype) for p, event, dtype in facts]
        return pytree.tree_unflatten(shaped, structure)

    def flat_field(t: Tensor, y: Tensor, *extra: Any) -> Tensor:
        state = rebuild(y)
        value = field(t, state, *extra)
        try:
            found = structure.flatten_up_to(value)
        except ValueError as error:
            raise TypeError(f"the field must return the state's structure, but: {error}") from error
        pairs = enumerate(zip(found, pytree.tree_leaves(state), strict=True))
        return _joined([check_value(a, b, f"the field, in leaf {i},") for i, (a, b) in pairs])

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
    # Complex and real leaves of one precision may stand together.
    parts = [leaf.real.dtype if leaf.is_complex() else leaf.dtype for leaf in leaves]
    if len(set(parts)) > 1:
        got = [leaf.dtype for leaf in leaves]
        raise TypeError(f"the leaves of a state must share one dtype, got {got}")
    for name, facts in (
        ("device", [leaf.device for leaf in leaves]),
        ("batch", [leaf.shape[0] for leaf in leaves]),
    ):
        if len(set(facts)) > 1:
            raise ValueError(f"the leaves of a state must share one {name}, got {facts}")

"""Which torch.func transformations are running: the only module that touches their internals."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = [
    "any_item",
    "carries_derivative",
    "carries_tangent",
    "is_forward",
    "is_plain",
    "is_transformed",
    "is_transforming",
    "is_vmapped",
    "is_vmapping",
    "own_code",
    "peek",
]

_functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]


def own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function with a code object of its own, to be compiled.

    torch keeps what it has compiled, and counts it against a limit, with the code object: functions
    made in one place would compete.
    """
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def peek(tensor: Tensor) -> Tensor:
    """Return the plain tensor under every wrapper (a vmapped axis becomes an ordinary one)."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def any_item(mask: Tensor) -> bool:
    """Tell on the host whether any element is true, under vmap too (one synchronisation).

    On the meta device, which has shapes and no values, none is; nor while a CUDA graph is captured,
    which has none yet.
    """
    mask = peek(mask.detach())
    if mask.is_meta or (mask.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    return bool(mask.any().item())


def is_transformed(tensor: Tensor) -> bool:
    """Tell whether the tensor belongs to a running torch.func transformation."""
    return _functorch.is_functorch_wrapped_tensor(tensor)


def is_transforming() -> bool:
    """Tell whether any torch.func transformation is running, whatever it acts on."""
    return bool(_functorch.get_interpreter_stack())


def is_plain() -> bool:
    """Tell whether no transformation, forward mode or compilation is under way."""
    forward = forward_ad._current_level >= 0
    return not (torch.compiler.is_compiling() or forward or is_transforming())


def is_forward() -> bool:
    """Tell whether a ``forward_ad.dual_level`` is open and no torch.func transformation runs."""
    return forward_ad._current_level >= 0 and not is_transforming()


def is_vmapped(tensor: Tensor) -> bool:
    """Tell whether the tensor has an axis that a running vmap hides."""
    return _at_any_level(tensor, _functorch.is_batchedtensor)


def is_vmapping() -> bool:
    """Tell whether a vmap is running, whatever it maps over."""
    levels = _functorch.get_interpreter_stack() or []
    return any(level.key() == _functorch.TransformType.Vmap for level in levels)


def _forward_tangent(tensor: Tensor) -> bool:
    if forward_ad._current_level < 0 or is_transformed(tensor):  # vmap cannot unpack a dual tensor
        return False
    return forward_ad.unpack_dual(tensor).tangent is not None


def carries_tangent(tree: object) -> bool:
    """Tell whether any tensor in the tree may have a forward-mode tangent."""
    return any(_at_any_level(leaf, _tracked) for leaf in _tensors(tree))


def carries_derivative(tree: object) -> bool:
    """Tell whether any tensor in the tree may have a tangent or asks for a gradient, at any level.

    A tensor wrapped by a running ``torch.func.jvp`` or ``grad`` counts: tangents of outer levels
    cannot be seen from inside an inner one.
    """
    return any(
        _at_any_level(leaf, lambda a: a.requires_grad or _tracked(a)) for leaf in _tensors(tree)
    )


def _tracked(tensor: Tensor) -> bool:
    return _functorch.is_gradtrackingtensor(tensor) or _forward_tangent(tensor)


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _at_any_level(tensor: Tensor, test: Callable[[Tensor], bool]) -> bool:
    while True:
        if test(tensor):
            return True
        if not _functorch.is_functorch_wrapped_tensor(tensor):
            return False
        tensor = _functorch.get_unwrapped(tensor)

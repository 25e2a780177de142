"""States in numbers that the solvers do not compute in: complex ones, and those of half precision.

A complex component becomes its two parts, on an axis of its own at the end. Half precision becomes
float32: the field alone computes in it, and what a solve adds up is not rounded at every step.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import check_output

__all__ = ["as_given", "as_real", "check_value", "finest_rtol", "half_precision", "modulus"]

HALF = (torch.bfloat16, torch.float16)
COMPLEX = (torch.complex64, torch.complex128)


def as_real(leaf: Tensor) -> Tensor:
    """Return a tensor in float32 or float64, a complex one as (..., 2); other dtypes stay."""
    if leaf.dtype in HALF:
        return leaf.to(torch.float32)
    return torch.view_as_real(leaf.resolve_conj()) if leaf.dtype in COMPLEX else leaf


def as_given(real: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor of this dtype whose real form is given; the inverse of ``as_real``."""
    if dtype in COMPLEX:
        return torch.complex(real[..., 0], real[..., 1])
    return real.to(dtype) if dtype in HALF else real


def check_value(value: Any, state: Tensor, what: str) -> Tensor:
    """Return the real form of a field's value; for half precision float32 will do as well.

    Raises:
        TypeError, ValueError: if it is not like the state; names ``what``.
    """
    wide = isinstance(value, Tensor) and value.dtype == torch.float32 and state.dtype in HALF
    return as_real(check_output(value, state.float() if wide else state, what))


def modulus(state: Any) -> Callable[[Tensor], Tensor] | None:
    """Return what puts the modulus of a complex component in the place of both its parts.

    It acts on the real form of the state, raveled if that is a pytree. None if all are real.
    """
    leaves: list[Tensor] = pytree.tree_leaves(state)
    if not any(leaf.dtype in COMPLEX for leaf in leaves):
        return None
    if isinstance(state, Tensor):
        return _modulus
    sizes = [as_real(leaf).shape[1:].numel() for leaf in leaves]
    paired = [leaf.dtype in COMPLEX for leaf in leaves]

    def moduli(y: Tensor) -> Tensor:
        parts = zip(y.split(sizes, dim=1), paired, strict=True)
        return torch.cat([_paired(p) if pairs else p.abs() for p, pairs in parts], dim=1)

    return moduli


def _modulus(parts: Tensor) -> Tensor:
    real, imaginary = parts[..., :1], parts[..., 1:]
    zero = (real == 0) & (imaginary == 0)  # where it has no derivative
    found = torch.hypot(torch.where(zero, 1.0, real), imaginary)
    return torch.where(zero, 0.0, found).expand_as(parts)


def _paired(flat: Tensor) -> Tensor:
    return _modulus(flat.unflatten(1, (flat.shape[1] // 2, 2))).flatten(1)


def half_precision(state: Any) -> torch.dtype | None:
    """Return the dtype of a state in half precision, which all its leaves share; else None."""
    dtype = pytree.tree_leaves(state)[0].dtype
    return dtype if dtype in HALF else None


def finest_rtol(state: Any) -> float:
    """Return the least relative tolerance that makes sense beside what the field alone rounds.

    Zero but for half precision, where it is one rounding unit: below, steps follow the rounding
    errors of the stages; at the ten units of other dtypes, the steps' own errors are larger.
    """
    half = half_precision(state)
    return 0.0 if half is None else torch.finfo(half).eps

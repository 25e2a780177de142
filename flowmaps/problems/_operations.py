"""The operations in which formulas are written, for torch, NumPy, SymPy and mpmath alike."""

import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["Operations", "dot", "operations"]

_ELEMENTARY = ("sin", "cos", "exp", "log", "sqrt", "tanh")


class Operations(Protocol):
    """What a formula may use beside + - * / and whole powers.

    ``expm`` takes a square matrix as rows of entries and returns its exponential in the same form.
    """

    sin: Callable[[Any], Any]
    cos: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    expm: Callable[[Sequence[Sequence[Any]]], Sequence[Sequence[Any]]]


def operations(library: str) -> Operations:
    """Return the operations of one library.

    Args:
        library: ``"torch"`` (tensors and Python numbers mixed), ``"numpy"``, ``"sympy"`` or
            ``"mpmath"`` (at the working precision of ``mpmath.mp``).

    Raises:
        ValueError: for any other name.

    Example:
        >>> import flowmaps as fm
        >>> m = fm.problems.operations("numpy")
        >>> float(m.exp(0.0))
        1.0
    """
    if library == "torch":
        return _TORCH
    if library not in _OTHERS:
        raise ValueError(f'library must be "torch", "numpy", "sympy" or "mpmath", got {library!r}')
    return _OTHERS[library]()


def dot(a: Sequence[Any], b: Sequence[Any]) -> Any:
    """Return the sum of the products of two sequences of equal length, at least 1."""
    return reduce(operator.add, map(operator.mul, a, b))


def _namespace(library: Any, expm: Callable[..., Any]) -> Any:
    return SimpleNamespace(expm=expm, **{name: getattr(library, name) for name in _ELEMENTARY})


def _numpy() -> Operations:
    def expm(rows: Sequence[Sequence[Any]]) -> Any:
        import scipy.linalg

        return [list(row) for row in scipy.linalg.expm(np.array(rows, dtype=np.float64))]

    return _namespace(np, expm)


def _sympy() -> Operations:
    import sympy

    return _namespace(sympy, lambda rows: sympy.Matrix(rows).exp().tolist())


def _mpmath() -> Operations:
    import mpmath

    return _namespace(mpmath, lambda rows: mpmath.expm(mpmath.matrix(rows)).tolist())


def _on_either(name: str) -> Callable[[Any], Any]:
    # Parameters left at their defaults are Python numbers, which torch's functions refuse.
    on_tensor, on_number = getattr(torch, name), getattr(math, name)

    def function(value: Any) -> Any:
        return on_tensor(value) if isinstance(value, Tensor) else on_number(value)

    return function


def _torch_expm(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    matrices = torch.stack([torch.stack(list(row), dim=-1) for row in rows], dim=-2)
    return [row.unbind(-1) for row in _matrix_exponential(matrices).unbind(-2)]


def _matrix_exponential(matrices: Tensor) -> Tensor:
    """Return the exponentials of matrices (batch, d, d).

    A batch of one is doubled: ``torch.linalg.matrix_exp`` of one matrix can be wrong by 4e-11,
    where batches of two or more have relative errors of 1e-15 up to norm 1, 1e-14 up to norm 16,
    against mpmath.
    """
    if matrices.shape[0] == 1:
        return torch.linalg.matrix_exp(matrices.expand(2, -1, -1).contiguous())[:1]
    return torch.linalg.matrix_exp(matrices)


_TORCH: Any = SimpleNamespace(expm=_torch_expm, **{name: _on_either(name) for name in _ELEMENTARY})
_OTHERS: dict[str, Callable[[], Operations]] = {
    "numpy": _numpy,
    "sympy": _sympy,
    "mpmath": _mpmath,
}

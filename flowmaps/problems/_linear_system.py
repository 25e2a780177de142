"""Linear systems with constant coefficients."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_numbers
from flowmaps.domains import Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations, dot

__all__ = ["LinearSystem"]


@final
class LinearSystem(ExactProblem):
    """dx/dt = A x with X_{s,t}(x) = exp((t - s) A) x.

    The parameters are the entries of A by rows, ``a_1_1``, ``a_1_2``, ...; a condition gives every
    sample its own matrix.

    Args:
        matrix: A, square, as nested lists or a tensor (dim, dim); a damped rotation when left out.

    Raises:
        ValueError: if the matrix is not square or not finite.

    Source:
        Higham (2008), Functions of Matrices, section 2.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> shear = fm.problems.LinearSystem([[0.0, 1.0], [0.0, 0.0]])
        >>> shear.exact(0.0, 2.0, torch.tensor([[1.0, 3.0]])).tolist()
        [[7.0, 3.0]]
    """

    name = "linear_system"

    def __init__(self, matrix: Sequence[Sequence[float]] | Tensor = ((-0.1, -1.0), (1.0, -0.1))):
        entries = as_numbers(matrix, "matrix")
        if entries.ndim != 2 or entries.shape[0] != entries.shape[1] or not len(entries):
            raise ValueError(f"matrix must be square (dim, dim), got shape {tuple(entries.shape)}")
        rows = entries.tolist()
        if not torch.isfinite(entries).all():
            raise ValueError(f"matrix must be finite, got {rows}")
        super().__init__(
            parameters={
                _entry(i, j): value for i, row in enumerate(rows) for j, value in enumerate(row)
            },
            parameter_domain=Box(entries.flatten() - 0.5, entries.flatten() + 0.5),
            domain=Box([-2.0] * len(rows), [2.0] * len(rows)),
            times=(0.0, 5.0),
        )
        self._matrix = rows

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the problem."""
        return {"matrix": self._matrix}

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return A x."""
        return _apply(_matrix(p, len(x)), x)

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return exp((t - s) A) x."""
        scaled = [[(t - s) * entry for entry in row] for row in _matrix(p, len(x))]
        return _apply(m.expm(scaled), x)


def _entry(i: int, j: int) -> str:
    return f"a_{i + 1}_{j + 1}"


def _matrix(p: Any, d: int) -> Sequence[Sequence[Any]]:
    return [[getattr(p, _entry(i, j)) for j in range(d)] for i in range(d)]


def _apply(rows: Sequence[Sequence[Any]], x: Sequence[Any]) -> Sequence[Any]:
    return [dot(row, x) for row in rows]

"""Square matrices of the classes that flows tell apart."""

import math
from collections.abc import Callable, Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from flowmaps._checks import as_count, as_positive
from flowmaps._typing import Count
from flowmaps.testing.strategies._numbers import numbers

__all__ = ["matrices"]

_LEAST = 0.25
"""Of the pivots of a positive definite matrix, of a bound of one or more."""


def matrices(
    dim: Count,
    kind: str = "general",
    bound: float = 2.0,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Tensor]:
    """Return a strategy for matrices (dim, dim) of a kind, which shrink to zeros and ones.

    Args:
        dim: number of rows; even for Hamiltonian matrices.
        kind: "general"; "symmetric"; "positive definite", symmetric too; "skew", so that norms are
            conserved; "stable", whose eigenvalues have negative real parts, though solutions may
            grow at first; "Hamiltonian", J times a symmetric matrix for states (positions,
            momenta), so that the flow is symplectic.
        bound: largest spectral norm; what exceeds it is halved until it does not.
        dtype: of the matrix.

    Raises:
        TypeError, ValueError: if dim or bound is not positive, dim is odd for "Hamiltonian", or
            there is no such kind.

    Source:
        Stable matrices are (J - R) Q with J skew, R and Q positive definite, as all of them are:
        Gillis and Sharma (2017), On computing the distance to stability, Automatica 85.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> skew = fm.testing.strategies.matrices(2, kind="skew")
        >>> hypothesis.find(skew, lambda a: bool((a != 0).any()))
        tensor([[ 0.,  1.],
                [-1.,  0.]], dtype=torch.float64)
    """
    d = as_count(dim, "dim")
    as_positive(bound, "bound")
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    if kind == "Hamiltonian" and d % 2:
        raise ValueError(f"Hamiltonian matrices have an even dim, got {d}")
    return _KINDS[kind](d, float(bound)).map(lambda a: _within(a, bound).to(dtype))


def _within(a: Tensor, bound: float) -> Tensor:
    """Halve a matrix until its norm is within the bound: plain numbers stay short."""
    norm = torch.linalg.matrix_norm(a, ord=2).item()
    excess = norm / bound
    return a if excess <= 1 + 1e-12 else a / 2 ** math.ceil(math.log2(excess))


def _filled(d: int, places: Sequence[tuple[int, int]], values: Sequence[float]) -> Tensor:
    a = torch.zeros(d, d, dtype=torch.float64)
    for (i, j), value in zip(places, values, strict=True):
        a[i, j] = value
    return a


def _entries(d: int, bound: float, offset: int | None) -> st.SearchStrategy[Tensor]:
    """Return matrices with entries on and above a diagonal; everywhere for None."""
    places = [(i, j) for i in range(d) for j in range(d) if offset is None or j - i >= offset]
    values = st.tuples(*[numbers(-bound, bound)] * len(places))
    return values.map(lambda found: _filled(d, places, found))


def _general(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    return _entries(d, bound, None)


def _symmetric(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    return _entries(d, bound, 0).map(lambda a: a + a.triu(1).T)


def _skew(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    return _entries(d, bound, 1).map(lambda a: a - a.T)


def _positive_definite(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    """Return U^T D U of a unit upper triangle U and positive pivots D; shrinks to one."""
    pivots = st.tuples(*[numbers(min(_LEAST, bound / 4), bound)] * d)
    return st.builds(_from_pivots, _entries(d, 1.0, 1), pivots)


def _from_pivots(above: Tensor, pivots: Sequence[float]) -> Tensor:
    unit = above + torch.eye(len(above), dtype=torch.float64)
    a = unit.T @ torch.diag(torch.tensor(pivots, dtype=torch.float64)) @ unit
    return a.triu() + a.triu(1).T


def _stable(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    definite = _positive_definite(d, bound)
    return st.builds(lambda j, r, q: (j - r) @ q, _skew(d, bound), definite, definite)


def _hamiltonian(d: int, bound: float) -> st.SearchStrategy[Tensor]:
    half = d // 2

    def blocks(b: Tensor, c: Tensor, k: Tensor) -> Tensor:
        return torch.cat([torch.cat([b, c], 1), torch.cat([k, -b.T], 1)]) + 0.0

    return st.builds(
        blocks, _general(half, bound), _symmetric(half, bound), _symmetric(half, bound)
    )


_KINDS: dict[str, Callable[[int, float], st.SearchStrategy[Tensor]]] = {
    "general": _general,
    "symmetric": _symmetric,
    "positive definite": _positive_definite,
    "skew": _skew,
    "stable": _stable,
    "Hamiltonian": _hamiltonian,
}

"""What the B-series of one Runge-Kutta step says: its stability polynomial and its local error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmaps.theory._exact import Number, Vector, exact_matrix, exact_weights, is_explicit
from flowmaps.theory._order_conditions import dot, order_residuals
from flowmaps.theory._rooted_trees import RootedTree


def stability_polynomial(a: Sequence[Sequence[Any]], b: Sequence[Any]) -> Vector:
    """Coefficients of R(z): one step of x' = lambda x multiplies x by R(h lambda).

    R(z) = 1 + sum_k (b . A^(k-1) 1) z^k. A^(k-1) 1 belongs to the tree without branchings, so that
    the coefficients agree with 1 / k! up to the order of the method.

    Args:
        a: Runge-Kutta matrix of an explicit method, one row for each stage: row i has i entries or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b: one weight for each stage.

    Returns:
        Coefficients of 1, z, z^2, ..., without zeros at the end.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the method is implicit (R is then a quotient), or the shapes do not fit.

    Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II (1996), section IV.2.

    Example:
        >>> [str(entry) for entry in stability_polynomial(((), ("1/2",)), (0, 1))]
        ['1', '1', '1/2']
    """
    matrix = exact_matrix(a)
    weights = exact_weights(b, len(matrix))
    if not is_explicit(matrix):
        raise ValueError("got an implicit method, expected an explicit one; its R(z) is a quotient")
    powers: Vector = (1,) * len(matrix)
    coefficients: list[Number] = [1 + 0 * weights[0]]
    for _ in matrix:
        coefficients.append(dot(weights, powers))
        powers = tuple(dot(row, powers) for row in matrix)
    while len(coefficients) > 1 and coefficients[-1] == 0:
        coefficients.pop()
    return tuple(coefficients)


def local_error_coefficients(
    a: Sequence[Sequence[Any]], b: Sequence[Any], order: int
) -> dict[RootedTree, Number]:
    """B-series coefficients of the local error at one power of the step.

    One step from the exact state misses the exact flow by the sum over trees of
    h^|tau| F(tau) (Phi(tau) - 1 / gamma(tau)) / sigma(tau); F(tau) is the elementary differential.

    Args:
        a: Runge-Kutta matrix, one row for each stage, as in `order_residuals`.
        b: one weight for each stage.
        order: the number of vertices; for the principal error one more than the method's order.

    Returns:
        {tree: coefficient} for the trees with exactly that many vertices.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1.

    Source: Butcher (2016), chapter 3; Hairer, Norsett, Wanner (1993), section II.3.

    Example:
        >>> for tree, coefficient in local_error_coefficients(((),), (1,), order=2).items():
        ...     print(tree, coefficient)  # Euler: -h^2 / 2 x''
        [tau] -1/2
    """
    residuals = order_residuals(a, b, order)
    return {
        tree: residual / tree.symmetry
        for tree, residual in residuals.items()
        if tree.order == order
    }

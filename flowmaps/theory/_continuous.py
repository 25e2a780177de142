"""Order conditions of dense output: Phi(tau)(theta) = theta^|tau| / gamma(tau) for all theta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from flowmaps.theory._exact import Matrix, Number, Vector, exact_matrix, exact_vector
from flowmaps.theory._order_conditions import (
    check_order,
    check_tolerance,
    dot,
    stage_weights,
    vanishes,
)
from flowmaps.theory._rooted_trees import RootedTree


def continuous_order_residuals(
    a: Sequence[Sequence[Any]], b_dense: Sequence[Sequence[Any]], order: int
) -> dict[RootedTree, Vector]:
    """Residual polynomial of every continuous order condition up to an order.

    The dense output is x(theta) = x_0 + h sum_i b_i(theta) k_i for theta in [0, 1]. Its local error
    is of size h^(p+1) for every theta if and only if Phi(tau)(theta) = theta^|tau| / gamma(tau) for
    every tree with |tau| <= p.

    Args:
        a: Runge-Kutta matrix, one row for each stage: row i has i entries (below the diagonal) or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b_dense: one polynomial for each stage, by rising powers of theta beginning with the first:
            b_i(theta) = b_dense[i][0] theta + b_dense[i][1] theta^2 + ...
        order: largest number of vertices.

    Returns:
        {tree: coefficients of theta, theta^2, ... in Phi(tau)(theta) - theta^|tau| / gamma(tau)}.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1.

    Source: Hairer, Norsett, Wanner (1993), section II.6.

    Example:
        >>> hermite = ((1, "-1/2"), (0, "1/2"))  # Heun's method, b(theta) quadratic
        >>> for tree, defect in continuous_order_residuals(((), (1,)), hermite, order=3).items():
        ...     print(tree, *defect)
        tau 0 0
        [tau] 0 0
        [tau^2] 0 1/2 -1/3
        [[tau]] 0 0 -1/6
    """
    matrix = exact_matrix(a)
    powers = _powers(b_dense, len(matrix))
    found: dict[RootedTree, Vector] = {}
    for level in islice(stage_weights(matrix), check_order(order)):
        found |= {tree: _defect(tree, psi, powers) for tree, psi in level.items()}
    return found


def continuous_order_of(
    a: Sequence[Sequence[Any]],
    b_dense: Sequence[Sequence[Any]],
    *,
    tolerance: float | None = None,
) -> int:
    """Largest order p of which every continuous order condition holds as a polynomial identity.

    Args:
        a: Runge-Kutta matrix, one row for each stage: row i has i entries (below the diagonal) or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b_dense: one polynomial for each stage, by rising powers of theta beginning with the first.
        tolerance: None asks for exact equality; a positive number is the largest coefficient
            allowed in a residual, for tableaux published as decimals.

    Returns:
        The order, at most the degree of the polynomials; 0 if sum_i b_i(theta) is not theta.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the shapes do not fit, or tolerance is not positive.

    Source: Hairer, Norsett, Wanner (1993), section II.6.

    Example:
        >>> continuous_order_of(((), (1,)), ((1, "-1/2"), (0, "1/2")))
        2
    """
    check_tolerance(tolerance)
    matrix = exact_matrix(a)
    powers = _powers(b_dense, len(matrix))
    order = 0
    for order, level in enumerate(islice(stage_weights(matrix), len(powers)), start=1):
        defects = (_defect(tree, psi, powers) for tree, psi in level.items())
        if not all(vanishes(entry, tolerance) for defect in defects for entry in defect):
            return order - 1
    return order


def _powers(b_dense: Sequence[Sequence[Any]], stages: int) -> Matrix:
    """The weights that stand before theta, theta^2, ...: the transpose, (degree, stages)."""
    if isinstance(b_dense, str) or not isinstance(b_dense, Iterable):
        raise TypeError(f"got b_dense = {b_dense!r}, expected a sequence of polynomials")
    rows = [exact_vector(row, f"row {i} of b_dense") for i, row in enumerate(b_dense)]
    if len(rows) != stages:
        raise ValueError(
            f"got {len(rows)} polynomials in b_dense, expected {stages}, one for each row of a"
        )
    degrees = sorted({len(row) for row in rows})
    if len(degrees) > 1 or degrees[0] == 0:
        raise ValueError(
            f"got polynomials of degrees {degrees} in b_dense, expected one degree of at least 1; "
            "fill up with zeros and leave out the constant term, which is zero"
        )
    return tuple(zip(*rows, strict=True))


def _defect(tree: RootedTree, psi: Vector, powers: Matrix) -> Vector:
    """Coefficients of Phi(tau)(theta) - theta^|tau| / gamma(tau)."""
    coefficients: list[Number] = [dot(weights, psi) for weights in powers]
    coefficients += [0 * coefficients[0]] * (tree.order - len(coefficients))
    # (gamma Phi - 1) / gamma needs only whole numbers, so it works in any arithmetic.
    coefficients[tree.order - 1] = (coefficients[tree.order - 1] * tree.density - 1) / tree.density
    return tuple(coefficients)

"""Order conditions of Runge-Kutta methods, exactly: Phi(tau) = 1 / gamma(tau) for |tau| <= p."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

from flowmaps.theory._exact import (
    Matrix,
    Number,
    Vector,
    exact_matrix,
    exact_vector,
    exact_weights,
    is_explicit,
)
from flowmaps.theory._rooted_trees import RootedTree, rooted_trees


def stage_weights(matrix: Matrix) -> Iterator[dict[RootedTree, Vector]]:
    """Internal weights psi_i(tau) of every stage, one dictionary for each order 1, 2, ...

    psi(tau) is the product over the branches of A psi(branch), entry by entry; Phi(tau) is
    b . psi(tau).
    """
    lifted: dict[RootedTree, Vector] = {}
    stages = range(len(matrix))
    for order in count(1):
        weights = {
            tree: tuple(math.prod(lifted[child][i] for child in tree.children) for i in stages)
            for tree in rooted_trees(order)
        }
        lifted |= {tree: tuple(dot(row, psi) for row in matrix) for tree, psi in weights.items()}
        yield weights


def dot(left: Sequence[Number], right: Sequence[Number]) -> Number:
    """Scalar product in the arithmetic of the entries."""
    return sum(x * y for x, y in zip(left, right, strict=True))


def check_order(order: int) -> int:
    """Return order if it is a whole number of at least 1, else raise TypeError or ValueError."""
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"got order {order!r}, expected a whole number; pass an int of at least 1")
    if order < 1:
        raise ValueError(f"got order {order}, expected at least 1")
    return order


def check_tolerance(tolerance: float | None) -> None:
    """Refuse a tolerance that is neither None nor positive."""
    if tolerance is not None and not tolerance > 0:
        raise ValueError(
            f"got tolerance {tolerance!r}, expected a positive number; None is exact equality"
        )


def vanishes(residual: Number, tolerance: float | None) -> bool:
    """Whether a residual is zero: exactly for None, else to within the tolerance."""
    return bool(residual == 0 if tolerance is None else abs(residual) <= tolerance)


def elementary_weights(
    a: Sequence[Sequence[Any]], b: Sequence[Any], order: int
) -> dict[RootedTree, Number]:
    """Elementary weights Phi(tau) of a Runge-Kutta method for every tree up to an order.

    Args:
        a: Runge-Kutta matrix, one row for each stage: row i has i entries (below the diagonal) or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b: one weight for each stage.
        order: largest number of vertices.

    Returns:
        {tree: Phi(tau)}, Fractions unless the entries bring an arithmetic of their own.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1.

    Source: Hairer, Norsett, Wanner (1993), section II.2; Butcher (2016), chapter 3.

    Example:
        >>> for tree, weight in elementary_weights(((), ("1/2",)), (0, 1), order=3).items():
        ...     print(tree, weight)
        tau 1
        [tau] 1/2
        [tau^2] 1/4
        [[tau]] 0
    """
    matrix = exact_matrix(a)
    weights = exact_weights(b, len(matrix))
    found: dict[RootedTree, Number] = {}
    for level in islice(stage_weights(matrix), check_order(order)):
        found |= {tree: dot(weights, psi) for tree, psi in level.items()}
    return found


def order_residuals(
    a: Sequence[Sequence[Any]], b: Sequence[Any], order: int
) -> dict[RootedTree, Number]:
    """Residual of every order condition up to an order: Phi(tau) - 1 / gamma(tau).

    The method has order p if and only if all residuals with |tau| <= p are zero (and c_i is the sum
    of row i of a; see `row_sum_residuals`).

    Args:
        a: Runge-Kutta matrix, one row for each stage: row i has i entries (below the diagonal) or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b: one weight for each stage; for embedded weights pass b - b_error.
        order: largest number of vertices.

    Returns:
        {tree: residual}, Fractions unless the entries bring an arithmetic of their own.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1.

    Source: Hairer, Norsett, Wanner (1993), section II.2; Butcher (2016), chapter 3.

    Example:
        >>> for tree, residual in order_residuals(((), ("1/2",)), (0, 1), order=3).items():
        ...     print(tree, residual)
        tau 0
        [tau] 0
        [tau^2] -1/12
        [[tau]] -1/6
    """
    return _residuals(elementary_weights(a, b, order))


def _residuals(weights: Mapping[RootedTree, Number]) -> dict[RootedTree, Number]:
    # (gamma Phi - 1) / gamma needs only whole numbers, so it works in any arithmetic.
    return {tree: (weight * tree.density - 1) / tree.density for tree, weight in weights.items()}


def order_of(
    a: Sequence[Sequence[Any]],
    b: Sequence[Any],
    *,
    tolerance: float | None = None,
    max_order: int | None = None,
) -> int:
    """Largest order p of which every order condition holds.

    Args:
        a: Runge-Kutta matrix, one row for each stage: row i has i entries (below the diagonal) or
            one for each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        b: one weight for each stage; for embedded weights pass b - b_error.
        tolerance: None asks for exact equality; a positive number is the largest |Phi - 1 / gamma|
            allowed, for tableaux published as decimals.
        max_order: where to stop looking; None is the number of stages for an explicit method and
            twice that for an implicit one, which no method exceeds.

    Returns:
        The order; 0 if not even the weights sum to one.

    Raises:
        TypeError: if an entry is not a number, or max_order not whole.
        ValueError: if the shapes do not fit, tolerance is not positive or max_order is below 1.

    Source: Hairer, Norsett, Wanner (1993), section II.2; Butcher (2016), chapter 3.

    Example:
        >>> order_of(((), ("1/2",), (0, "1/2"), (0, 0, 1)), ("1/6", "1/3", "1/3", "1/6"))
        4
    """
    check_tolerance(tolerance)
    matrix = exact_matrix(a)
    weights = exact_weights(b, len(matrix))
    ceiling = len(matrix) if is_explicit(matrix) else 2 * len(matrix)
    levels = islice(stage_weights(matrix), ceiling if max_order is None else check_order(max_order))
    order = 0
    for order, level in enumerate(levels, start=1):
        residuals = _residuals({tree: dot(weights, psi) for tree, psi in level.items()})
        if not all(vanishes(residual, tolerance) for residual in residuals.values()):
            return order - 1
    return order


def row_sum_residuals(c: Sequence[Any], a: Sequence[Sequence[Any]]) -> Vector:
    """Consistency of the nodes: c_i - sum_j a_ij for every stage.

    The order conditions are written for autonomous equations; with these residuals at zero they
    hold for dx/dt = b(t, x) as well.

    Args:
        c: one node for each stage.
        a: Runge-Kutta matrix, one row for each stage: row i has i entries or one for each stage.

    Returns:
        (stages,) residuals.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the shapes do not fit.

    Source: Hairer, Norsett, Wanner (1993), section II.1.

    Example:
        >>> [str(residual) for residual in row_sum_residuals((0, "1/3"), ((), ("1/2",)))]
        ['0', '-1/6']
    """
    matrix = exact_matrix(a)
    nodes = exact_vector(c, "c")
    if len(nodes) != len(matrix):
        raise ValueError(
            f"got {len(nodes)} nodes in c, expected {len(matrix)}, one for each row of a"
        )
    return tuple(node - sum(row) for node, row in zip(nodes, matrix, strict=True))


def is_first_same_as_last(a: Sequence[Sequence[Any]], b: Sequence[Any]) -> bool:
    """Whether the last stage is the first of the next step: row 1 of a is zero, the last is b.

    Args:
        a: Runge-Kutta matrix of an explicit method, one row for each stage.
        b: one weight for each stage.

    Returns:
        True if the field at the end of the step costs nothing; False for a method of one stage.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the shapes do not fit.

    Source: Hairer, Norsett, Wanner (1993), section II.5.

    Example:
        >>> is_first_same_as_last(((), (1,)), (1, 0)), is_first_same_as_last(((), ("1/2",)), (0, 1))
        (True, False)
    """
    matrix = exact_matrix(a)
    weights = exact_weights(b, len(matrix))
    starts = not any(matrix[0])
    ends = all(x == y for x, y in zip(matrix[-1], weights, strict=True))
    return len(matrix) > 1 and starts and ends

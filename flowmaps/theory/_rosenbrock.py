"""Order conditions and stability of Rosenbrock methods, exactly.

A step of dx/dt = b(x) is k_i = b(x + h sum_j alpha_ij k_j) + h J sum_j gamma_ij k_j, with J the
Jacobian of b at x, and ends at x + h sum_i b_i k_i; alpha is strictly lower triangular, gamma lower
triangular with its diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

from flowmaps.theory._exact import Matrix, Number, Vector, exact_matrix, exact_weights, is_explicit
from flowmaps.theory._order_conditions import check_order, check_tolerance, dot, vanishes
from flowmaps.theory._rooted_trees import RootedTree, rooted_trees

Rows = Sequence[Sequence[Any]]


def rosenbrock_order_residuals(
    alpha: Rows, gamma: Rows, b: Sequence[Any], order: int
) -> dict[RootedTree, Number]:
    """Residual of every order condition up to an order: Phi(tau) - 1 / gamma(tau).

    In Phi a vertex with one branch stands for beta = alpha + gamma, one with more for alpha.

    Args:
        alpha: strictly lower triangular, one row for each stage: row i has i entries or one for
            each stage. Numbers, or text such as "1/3" and "0.161", are taken exactly.
        gamma: lower triangular with its diagonal, one entry for each stage in each row.
        b: one weight for each stage.
        order: largest number of vertices.

    Returns:
        {tree: residual}, Fractions unless the entries bring an arithmetic of their own.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1.

    Source: Hairer, Wanner (1996), Solving ODEs II, section IV.7, theorem 7.4 and table 7.1.

    Example:
        >>> residuals = rosenbrock_order_residuals(((),), (("1/2",),), (1,), order=3)
        >>> for tree, residual in residuals.items():  # the linearly implicit midpoint rule
        ...     print(tree, residual)
        tau 0
        [tau] 0
        [tau^2] -1/3
        [[tau]] 1/12
    """
    alpha, beta, b = _read(alpha, gamma, b)
    found: dict[RootedTree, Number] = {}
    for level in islice(_stage_weights(alpha, beta), check_order(order)):
        found |= {tree: _residual(tree, dot(b, psi)) for tree, psi in level.items()}
    return found


def rosenbrock_order_of(
    alpha: Rows, gamma: Rows, b: Sequence[Any], *, tolerance: float | None = None
) -> int:
    """Largest order p, at most stages + 1, of which every order condition holds.

    Args:
        alpha, gamma, b: as in `rosenbrock_order_residuals`.
        tolerance: None asks for exact equality; a positive number is the largest |Phi - 1 / gamma|
            allowed, for tableaux published as decimals.

    Returns:
        The order; 0 if not even the weights sum to one.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the shapes do not fit, or tolerance is not positive.

    Source: Hairer, Wanner (1996), Solving ODEs II, section IV.7.

    Example:
        >>> rosenbrock_order_of(((),), (("1/2",),), (1,))
        2
    """
    check_tolerance(tolerance)
    alpha, beta, b = _read(alpha, gamma, b)
    order = 0
    for order, level in enumerate(islice(_stage_weights(alpha, beta), len(b) + 1), start=1):
        residuals = (_residual(tree, dot(b, psi)) for tree, psi in level.items())
        if not all(vanishes(residual, tolerance) for residual in residuals):
            return order - 1
    return order


def rosenbrock_dense_residuals(
    alpha: Rows, gamma: Rows, b_dense: Rows, order: int
) -> dict[RootedTree, Vector]:
    """Residual polynomials of the conditions Phi(tau)(theta) = theta^|tau| / gamma(tau).

    Args:
        alpha, gamma: as in `rosenbrock_order_residuals`.
        b_dense: one polynomial for each stage, all of one degree, by rising powers of theta
            beginning with the first.
        order: largest number of vertices, at most the degree.

    Returns:
        {tree: coefficients of theta, theta^2, ... in Phi(tau)(theta) - theta^|tau| / gamma(tau)}.

    Raises:
        TypeError: if an entry is not a number, or order not whole.
        ValueError: if the shapes do not fit, or order is below 1 or above the degree.

    Source: Hairer, Wanner (1996), Solving ODEs II, section IV.7; Hairer, Norsett, Wanner (1993),
        section II.6.

    Example:
        >>> rosenbrock_dense_residuals(((),), (("1/2",),), ((1, 0),), order=1)
        {<RootedTree tau>: (Fraction(0, 1), Fraction(0, 1))}
    """
    powers = [_read(alpha, gamma, row) for row in zip(*b_dense, strict=True)]
    if check_order(order) > len(powers):
        raise ValueError(f"got order {order}, expected at most the degree {len(powers)}")
    alpha, beta, _ = powers[0]
    found: dict[RootedTree, Vector] = {}
    for level in islice(_stage_weights(alpha, beta), order):
        for tree, psi in level.items():
            row = [dot(weights, psi) for *_, weights in powers]
            row[tree.order - 1] = _residual(tree, row[tree.order - 1])
            found[tree] = tuple(row)
    return found


def rosenbrock_stability(
    alpha: Rows, gamma: Rows, b: Sequence[Any]
) -> tuple[tuple[Number, ...], tuple[Number, ...]]:
    """Numerator and denominator of R(z): a step of x' = lambda x multiplies x by R(h lambda).

    R(z) = 1 + z b . (I - z beta)^-1 1 with beta = alpha + gamma; the denominator is the product of
    1 - z gamma_ii, and both have one degree for each stage. A numerator whose last coefficient is
    zero makes R vanish at infinity.

    Args:
        alpha, gamma, b: as in `rosenbrock_order_residuals`.

    Returns:
        Coefficients of 1, z, z^2, ... of the numerator and of the denominator.

    Raises:
        TypeError: if an entry is not a number.
        ValueError: if the shapes do not fit.

    Source: Hairer, Wanner (1996), Solving ODEs II, section IV.7, equation 7.14.

    Example:
        >>> numerator, denominator = rosenbrock_stability(((),), ((1,),), (1,))
        >>> [str(entry) for entry in (*numerator, *denominator)]  # 1 / (1 - z)
        ['1', '0', '1', '-1']
    """
    _, beta, b = _read(alpha, gamma, b)
    powers: Vector = (1 + 0 * b[0],) * len(b)
    series, denominator = [powers[0]], [powers[0]]
    for i, row in enumerate(beta):
        series.append(dot(b, powers))
        powers = tuple(dot(other, powers) for other in beta)
        shifted = [0, *denominator]
        denominator = [x + -row[i] * y for x, y in zip([*denominator, 0], shifted, strict=True)]
    degrees = range(len(series))
    numerator = [sum(series[j] * denominator[k - j] for j in range(k + 1)) for k in degrees]
    return tuple(numerator), tuple(denominator)


def _read(alpha: Rows, gamma: Rows, b: Sequence[Any]) -> tuple[Matrix, Matrix, Vector]:
    """Return alpha, beta = alpha + gamma and the weights."""
    explicit, implicit = exact_matrix(alpha, "alpha"), exact_matrix(gamma, "gamma")
    if not is_explicit(explicit):
        raise ValueError("got entries of alpha on or above its diagonal, expected zeros there")
    if len(implicit) != len(explicit):
        raise ValueError(
            f"got {len(implicit)} rows of gamma, expected {len(explicit)}, as many as alpha has"
        )
    if any(entry != 0 for i, row in enumerate(implicit) for entry in row[i + 1 :]):
        raise ValueError("got entries of gamma above its diagonal, expected zeros there")
    pairs = zip(explicit, implicit, strict=True)
    beta = tuple(tuple(x + y for x, y in zip(*rows, strict=True)) for rows in pairs)
    return explicit, beta, exact_weights(b, len(explicit))


def _stage_weights(alpha: Matrix, beta: Matrix) -> Iterator[dict[RootedTree, Vector]]:
    """Internal weights psi_i(tau) of every stage, one dictionary for each order 1, 2, ..."""
    known: dict[RootedTree, Vector] = {}

    def weight(tree: RootedTree, i: int) -> Number:
        row = beta[i] if len(tree.children) == 1 else alpha[i]
        return math.prod(dot(row, known[child]) for child in tree.children)

    for order in count(1):
        level = {
            tree: tuple(weight(tree, i) for i in range(len(alpha))) for tree in rooted_trees(order)
        }
        known |= level
        yield level


def _residual(tree: RootedTree, weight: Number) -> Number:
    # (gamma Phi - 1) / gamma needs only whole numbers, so it works in any arithmetic.
    return (weight * tree.density - 1) / tree.density

"""Order conditions of Rosenbrock methods, on methods whose orders the literature proves."""

from fractions import Fraction
from typing import Any

import mpmath
import pytest
import torch

import flowmaps as fm
from flowmaps.solvers import Rodas5P, RosenbrockTableau
from flowmaps.theory import (
    order_residuals,
    rooted_trees,
    rosenbrock_dense_residuals,
    rosenbrock_order_of,
    rosenbrock_order_residuals,
    rosenbrock_stability,
)

Numbers = tuple[Fraction, ...]

# Shampine (1982), Implementation of Rosenbrock methods, ACM Trans. Math. Softw. 8, 93-113: 4(3),
# with the weights of its error estimate.
SHAMPINE = RosenbrockTableau.parse(
    gamma="1/2",
    nodes="0 1 3/5 3/5",
    gammas="1/2 -3/2 121/50 29/250",
    a=["", "2", "48/25 6/25", "48/25 6/25 0"],
    c=["", "-8", "372/25 12/5", "-112/125 -54/125 -2/5"],
    m="19/9 1/2 25/108 125/108",
    m_error="17/54 7/36 0 125/108",
)
PUBLISHED = {"Shampine": (SHAMPINE, 4, 3, None), "Rodas5P": (Rodas5P.tableau, 5, 4, 2e-14)}
each_published = pytest.mark.parametrize(
    ("table", "order", "error_order", "tolerance"), PUBLISHED.values(), ids=list(PUBLISHED)
)
SHIPPED = {
    name: entry
    for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
    if isinstance(entry, type)
    and issubclass(entry, fm.solvers.Rosenbrock)
    and entry is not fm.solvers.Rosenbrock
}


def classical(table: RosenbrockTableau) -> tuple[Any, Any, Numbers]:
    return table.alpha_matrix, table.gamma_matrix, table.weights(table.m)


def embedded(table: RosenbrockTableau) -> Numbers:
    assert table.m_error is not None
    return table.weights(tuple(m - e for m, e in zip(table.m, table.m_error, strict=True)))


def ros2(gamma: Any) -> tuple[Any, Any, Any]:
    """Verwer et al. (1999), SIAM J. Sci. Comput. 20, 1456: order 2 for every gamma."""
    return ((), (1,)), ((gamma, 0), (-2 * gamma, gamma)), ("1/2", "1/2")


# ---------------------------------------------------------------------------- the conditions


def test_there_is_one_condition_for_each_tree() -> None:
    found = rosenbrock_order_residuals(*ros2(Fraction(1, 4)), order=6)
    assert [sum(tree.order == p for tree in found) for p in range(1, 7)] == [1, 1, 2, 4, 9, 20]
    assert list(found) == [tree for p in range(1, 7) for tree in rooted_trees(p)]


def test_without_a_jacobian_they_are_those_of_runge_kutta_methods() -> None:
    table = fm.solvers.Dopri5.tableau
    zero = tuple((Fraction(0),) * table.stages for _ in range(table.stages))
    found = rosenbrock_order_residuals(table.a, zero, table.b, 6)
    assert found == order_residuals(table.a, table.b, 6)


@pytest.mark.parametrize("gamma", [Fraction(1, 4), Fraction(1), Fraction(3, 7)])
def test_ros2_has_order_two_for_every_gamma(gamma) -> None:
    assert rosenbrock_order_of(*ros2(gamma)) == 2


def test_ros2_is_l_stable_for_one_minus_half_the_root_of_two() -> None:
    with mpmath.workdps(40):
        gamma = 1 - mpmath.sqrt(2) / 2
        numerator, _ = rosenbrock_stability(*ros2(gamma))
        assert abs(numerator[2]) < mpmath.mpf(10) ** -38
        assert rosenbrock_order_of(*ros2(gamma), tolerance=1e-35) == 2
    assert rosenbrock_stability(*ros2(Fraction(1, 4)))[0][2] != 0


def test_order_three_needs_the_gamma_of_calahan() -> None:
    # Calahan (1968), Proc. IEEE 56, 744: two stages, order 3, gamma = (3 + sqrt 3) / 6.
    with mpmath.workdps(40):
        root = mpmath.sqrt(3)
        gamma = (3 + root) / 6
        alpha, own = ((), (mpmath.mpf(2) / 3,)), ((gamma, 0), (-4 * gamma / 3, gamma))
        b = (mpmath.mpf(1) / 4, mpmath.mpf(3) / 4)
        assert rosenbrock_order_of(alpha, own, b, tolerance=1e-35) == 3
        assert rosenbrock_order_of(alpha, own, b, tolerance=1e-3) == 3


@each_published
def test_published_methods_have_their_orders_and_no_more(
    table, order, error_order, tolerance
) -> None:
    alpha, gamma, b = classical(table)
    assert rosenbrock_order_of(alpha, gamma, b, tolerance=tolerance) == order
    assert rosenbrock_order_of(alpha, gamma, embedded(table), tolerance=tolerance) == error_order
    for weights, p in ((b, order), (embedded(table), error_order)):
        beyond = rosenbrock_order_residuals(alpha, gamma, weights, p + 1)
        assert max(map(abs, beyond.values())) > 1e-3  # and not by rounding


@each_published
def test_times_and_their_weights_are_row_sums(table, order, error_order, tolerance) -> None:
    # Then the conditions hold for dx/dt = b(t, x) too: time is one more component.
    allowed = tolerance or 0
    for given, rows in ((table.nodes, table.alpha_matrix), (table.gammas, table.gamma_matrix)):
        assert max(abs(x - sum(row)) for x, row in zip(given, rows, strict=True)) <= allowed


@each_published
def test_a_changed_digit_is_noticed(table, order, error_order, tolerance) -> None:
    a = (*table.a[:2], (table.a[2][0] + Fraction(1, 10**10), *table.a[2][1:]), *table.a[3:])
    changed = RosenbrockTableau(table.gamma, table.nodes, table.gammas, a, table.c, table.m)
    residuals = rosenbrock_order_residuals(*classical(changed), order)
    assert max(map(abs, residuals.values())) > 1e-12


# ---------------------------------------------------------------------------- shipped methods


def test_every_shipped_method_is_proven() -> None:
    assert set(SHIPPED) == set(PUBLISHED) - {"Shampine"}


@pytest.mark.parametrize("method", SHIPPED.values(), ids=list(SHIPPED))
def test_shipped_methods_claim_what_is_proven(method) -> None:
    table, order, error_order, _ = PUBLISHED[method.__name__]
    assert method.tableau is table
    assert (method.order, method.error_order) == (order, error_order)


def test_rodas5p_is_stiffly_accurate_and_so_is_its_embedded_method() -> None:
    alpha, gamma, b = classical(Rodas5P.tableau)
    beta = [[x + y for x, y in zip(*rows, strict=True)] for rows in zip(alpha, gamma, strict=True)]
    for last, weights in ((beta[7], b), (beta[6], embedded(Rodas5P.tableau))):
        assert max(abs(x - y) for x, y in zip(last, weights, strict=True)) < 1e-25
    assert Rodas5P.tableau.nodes[5:] == (1, 1, 1)


@pytest.mark.parametrize("which", ["solution", "embedded"])
def test_rodas5p_is_l_stable_and_its_embedded_method_a_stable(which) -> None:
    alpha, gamma, b = classical(Rodas5P.tableau)
    weights = b if which == "solution" else embedded(Rodas5P.tableau)
    numerator, denominator = rosenbrock_stability(alpha, gamma, weights)
    at_infinity = numerator[-1] / denominator[-1]
    assert abs(at_infinity) < 1e-13
    z = 1j * torch.logspace(-3, 6, 20_001, dtype=torch.float64)
    top, bottom = (sum(float(p) * z**k for k, p in enumerate(q)) for q in (numerator, denominator))
    assert (torch.as_tensor(top) / torch.as_tensor(bottom)).abs().max() <= 1 + 1e-13
    # The poles 1 / gamma lie on the right, so that |R| <= 1 on the axis is enough.
    assert Rodas5P.tableau.gamma > 0


def test_its_dense_output_has_order_four() -> None:
    table = Rodas5P.tableau
    alpha, gamma, b = classical(table)
    assert table.m_dense is not None
    b_dense = list(
        zip(*(table.weights(row) for row in zip(*table.m_dense, strict=True)), strict=True)
    )
    found = rosenbrock_dense_residuals(alpha, gamma, b_dense, Rodas5P.dense_order)
    assert max(abs(entry) for row in found.values() for entry in row) < 1e-12
    assert max(abs(sum(row) - weight) for row, weight in zip(b_dense, b, strict=True)) < 1e-25
    quintic = [(*row, Fraction(0)) for row in b_dense]
    beyond = rosenbrock_dense_residuals(alpha, gamma, quintic, 5)
    assert max(abs(entry) for row in beyond.values() for entry in row) > 1e-3


def test_the_step_is_the_tableau() -> None:
    # On dx/dt = lambda x one step multiplies by R(h lambda), and its error estimate by R - R_hat.
    alpha, gamma, b = classical(Rodas5P.tableau)
    z = torch.tensor([-1e6, -30.0, -1.5, -0.25, 0.5, 2.0], dtype=torch.float64)
    h, x = z / 0.7, torch.ones(6, 1, dtype=torch.float64)
    step = Rodas5P().step(lambda _, state: 0.7 * state, torch.zeros_like(h), h, x)
    values = []
    for weights in (b, embedded(Rodas5P.tableau)):
        parts = rosenbrock_stability(alpha, gamma, weights)
        exact = [
            [sum(p * Fraction(y.item()) ** k for k, p in enumerate(q)) for q in parts] for y in z
        ]
        values.append(torch.tensor([float(top / bottom) for top, bottom in exact]))
    assert step.error is not None
    torch.testing.assert_close(step.x[:, 0], values[0], rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(step.error[:, 0], values[0] - values[1], rtol=1e-11, atol=1e-10)


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("alpha", "gamma", "message"),
    [
        (((1,),), ((1,),), "alpha on or above its diagonal"),
        (((), (1,)), ((1, 1), (0, 1)), "gamma above its diagonal"),
        (((), (1,)), ((1,),), "got 1 rows of gamma, expected 2"),
        ((), ((1,),), "without rows"),
        (((), ("x",)), ((1, 0), (0, 1)), "expected a finite number"),
    ],
)
def test_methods_that_cannot_be_are_refused(alpha, gamma, message) -> None:
    with pytest.raises(ValueError, match=message):
        rosenbrock_order_of(alpha, gamma, (1,) * len(alpha))


def test_orders_and_weights_that_cannot_be_are_refused() -> None:
    alpha, gamma, b = ros2(Fraction(1, 2))
    with pytest.raises(ValueError, match="at least 1"):
        rosenbrock_order_residuals(alpha, gamma, b, 0)
    with pytest.raises(ValueError, match="got 1 weights"):
        rosenbrock_order_residuals(alpha, gamma, (1,), 1)
    with pytest.raises(ValueError, match="positive"):
        rosenbrock_order_of(alpha, gamma, b, tolerance=-1.0)
    with pytest.raises(ValueError, match="at most the degree 1"):
        rosenbrock_dense_residuals(alpha, gamma, ((1,), (0,)), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": "0"}, "gamma must be positive, got 0"),
        ({"a": ["", "1 2"]}, r"a of 2 stages needs rows of 0, 1, ..., 1 entries, got \[0, 2\]"),
        ({"c": [""]}, r"c of 2 stages .* got \[0\]"),
        ({"m": "1"}, "m needs 2 entries, one a stage, got 1"),
        ({"gammas": "1 2 3"}, "gammas needs 2 entries"),
        ({"m_error": "1"}, "m_error needs 2 entries"),
        ({"m_dense": ["1"]}, "m_dense needs 2 entries"),
    ],
    ids=str,
)
def test_tableaux_that_cannot_be_are_refused(changes, message) -> None:
    entries: dict[str, Any] = {
        "gamma": "1/4",
        "nodes": "0 1",
        "gammas": "1/4 -1/4",
        "a": ["", "4"],
        "c": ["", "-8"],
        "m": "3/2 1/2",
    }
    with pytest.raises(ValueError, match=message):
        RosenbrockTableau.parse(**(entries | changes))

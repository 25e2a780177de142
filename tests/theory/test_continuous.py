"""Continuous order conditions of published dense outputs, as exact polynomial identities."""

from fractions import Fraction
from typing import Any

import pytest

from flowmaps.theory import (
    continuous_order_of,
    continuous_order_residuals,
    order_of,
    order_residuals,
    rooted_trees,
)

Rows = tuple[tuple[Fraction, ...], ...]

RK4_A: Any = ((), ("1/2",), (0, "1/2"), (0, 0, 1))
# Hairer, Norsett, Wanner (1993), section II.6: order 3 without further stages.
RK4_DENSE: Any = (
    (1, "-3/2", "2/3"),
    (0, 1, "-2/3"),
    (0, 1, "-2/3"),
    (0, "-1/2", "2/3"),
)
DOPRI5_A: Any = (
    (),
    ("1/5",),
    ("3/40", "9/40"),
    ("44/45", "-56/15", "32/9"),
    ("19372/6561", "-25360/2187", "64448/6561", "-212/729"),
    ("9017/3168", "-355/33", "46732/5247", "49/176", "-5103/18656"),
    ("35/384", 0, "500/1113", "125/192", "-2187/6784", "11/84"),
)
DOPRI5_B = tuple(Fraction(x) for x in (*DOPRI5_A[-1], 0))
# Shampine (1986), weights d_i of the quartic term.
SHAMPINE = (
    "-12715105075/11282082432 0 87487479700/32700410799 -10690763975/1880347072 "
    "701980252875/199316789632 -1453857185/822651844 69997945/29380423"
)


def hermite(b: tuple[Fraction, ...], first: int, last: int) -> Rows:
    """Cubic Hermite interpolation of both ends as dense weights of theta, theta^2, theta^3."""
    rows = []
    for i, weight in enumerate(b):
        starts, ends = Fraction(i == first), Fraction(i == last)
        rows.append((starts, 3 * weight - 2 * starts - ends, -2 * weight + starts + ends))
    return tuple(rows)


def quartic(b: tuple[Fraction, ...], bubbles: tuple[Fraction, ...]) -> Rows:
    """Hermite interpolation plus d_i theta^2 (1 - theta)^2."""
    cubic = hermite(b, 0, len(b) - 1)
    return tuple(
        (row[0], row[1] + d, row[2] - 2 * d, d) for row, d in zip(cubic, bubbles, strict=True)
    )


DOPRI5_DENSE = quartic(DOPRI5_B, tuple(Fraction(x) for x in SHAMPINE.split()))


def test_dormand_prince_dense_output_has_order_four_exactly() -> None:
    assert continuous_order_of(DOPRI5_A, DOPRI5_DENSE) == 4
    residuals = continuous_order_residuals(DOPRI5_A, DOPRI5_DENSE, 5)
    assert {value for tree, row in residuals.items() if tree.order <= 4 for value in row} == {0}
    assert any(value for tree, row in residuals.items() if tree.order == 5 for value in row)


def test_dense_weights_at_the_end_are_the_weights() -> None:
    assert tuple(sum(row) for row in DOPRI5_DENSE) == DOPRI5_B


def test_hermite_interpolation_of_dormand_prince_has_order_three() -> None:
    assert continuous_order_of(DOPRI5_A, hermite(DOPRI5_B, 0, 6)) == 3


def test_dense_output_of_rk4_has_order_three() -> None:
    assert continuous_order_of(RK4_A, RK4_DENSE) == 3
    assert order_of(RK4_A, [sum(Fraction(x) for x in row) for row in RK4_DENSE]) == 4


def test_residual_polynomials_take_the_values_of_the_discrete_conditions() -> None:
    # For every theta the weights b(theta) / theta belong to a step of length theta h.
    residuals = continuous_order_residuals(DOPRI5_A, DOPRI5_DENSE, 5)
    for theta in (Fraction(1, 3), Fraction(1), Fraction(7, 5)):
        weights = [
            sum(x * theta ** (k + 1) for k, x in enumerate(row)) / theta for row in DOPRI5_DENSE
        ]
        scaled = [[Fraction(x) / theta for x in row] for row in DOPRI5_A]
        assert order_of(scaled, weights) >= 4
        for tree in rooted_trees(5):
            value = sum(x * theta ** (k + 1) for k, x in enumerate(residuals[tree]))
            assert value == order_residuals(scaled, weights, 5)[tree] * theta**5


def test_linear_interpolation_has_order_one_and_wrong_slopes_none() -> None:
    assert continuous_order_of(((),), ((1,),)) == 1
    assert continuous_order_of(((), (1,)), (("1/2",), ("1/2",))) == 1
    assert continuous_order_of(((),), (("1/2",),)) == 0
    assert continuous_order_of(((),), ((1, "1/7"),)) == 0


def test_decimal_weights_need_a_tolerance() -> None:
    rounded = [[float(x) for x in row] for row in DOPRI5_DENSE]
    assert continuous_order_of(DOPRI5_A, rounded) < 4
    assert continuous_order_of(DOPRI5_A, rounded, tolerance=1e-13) == 4


def test_residuals_list_a_coefficient_for_every_power() -> None:
    residuals = continuous_order_residuals(((),), ((1,),), 3)
    assert [len(row) for row in residuals.values()] == [1, 2, 3, 3]
    assert [row[-1] for row in residuals.values()] == [
        0,
        Fraction(-1, 2),
        Fraction(-1, 3),
        Fraction(-1, 6),
    ]


@pytest.mark.parametrize(
    ("dense", "error", "message"),
    [
        (((1,),), ValueError, "got 1 polynomials in b_dense, expected 2"),
        (((1,), (1, 2)), ValueError, r"got polynomials of degrees \[1, 2\] in b_dense"),
        (((), ()), ValueError, "expected one degree of at least 1"),
        ((1, 2), TypeError, "got row 0 of b_dense = 1, expected a sequence"),
        (1, TypeError, "got b_dense = 1, expected a sequence of polynomials"),
        ((("x",), (1,)), ValueError, "got 'x' as a coefficient"),
    ],
)
def test_bad_dense_weights_are_refused(dense: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        continuous_order_of(((), (1,)), dense)
    with pytest.raises(error, match=message):
        continuous_order_residuals(((), (1,)), dense, 2)


def test_bad_orders_and_tolerances_are_refused() -> None:
    with pytest.raises(ValueError, match="got order 0, expected at least 1"):
        continuous_order_residuals(((),), ((1,),), 0)
    with pytest.raises(ValueError, match="expected a positive number; None is exact equality"):
        continuous_order_of(((),), ((1,),), tolerance=0.0)

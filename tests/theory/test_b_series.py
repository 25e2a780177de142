"""The B-series of Runge-Kutta methods against truncated power series, in exact rationals."""

from fractions import Fraction
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.theory import (
    RootedTree,
    elementary_weights,
    local_error_coefficients,
    order_of,
    rooted_trees,
    stability_polynomial,
)

LENGTH = 6  # power series in the step h are kept up to h^(LENGTH - 1)
START = Fraction(1, 2)
FIELD = (Fraction(2), Fraction(-1), Fraction(3), Fraction(1, 2), Fraction(-1, 3), Fraction(1))

Series = list[Fraction]

RK4 = (((), ("1/2",), (0, "1/2"), (0, 0, 1)), ("1/6", "1/3", "1/3", "1/6"))
DOPRI5_A = (
    (),
    ("1/5",),
    ("3/40", "9/40"),
    ("44/45", "-56/15", "32/9"),
    ("19372/6561", "-25360/2187", "64448/6561", "-212/729"),
    ("9017/3168", "-355/33", "46732/5247", "49/176", "-5103/18656"),
    ("35/384", 0, "500/1113", "125/192", "-2187/6784", "11/84"),
)
DOPRI5_B = (*DOPRI5_A[-1], 0)


def times(left: Series, right: Series) -> Series:
    found = [Fraction(0)] * LENGTH
    for i, x in enumerate(left):
        for j, y in enumerate(right[: LENGTH - i]):
            found[i + j] += x * y
    return found


def plus(left: Series, right: Series, factor: Fraction = Fraction(1)) -> Series:
    return [x + factor * y for x, y in zip(left, right, strict=True)]


def constant(value: Fraction) -> Series:
    return [value] + [Fraction(0)] * (LENGTH - 1)


def field(x: Series) -> Series:
    """The polynomial field, by Horner's rule."""
    value = constant(Fraction(0))
    for coefficient in reversed(FIELD):
        value = plus(times(value, x), constant(coefficient))
    return value


def shift(series: Series) -> Series:
    """Multiply by h."""
    return [Fraction(0), *series[:-1]]


def flow() -> Series:
    """The exact solution from START after h: Picard's iteration gains one power at a time."""
    x = constant(START)
    for _ in range(LENGTH):
        slope = field(x)
        x = [START, *(slope[k] / (k + 1) for k in range(LENGTH - 1))]
    return x


def step(a: list[list[Fraction]], b: list[Fraction]) -> Series:
    """One explicit Runge-Kutta step from START, as a power series in h."""
    slopes: list[Series] = []
    for row in [*a, b]:
        x = constant(START)
        for weight, slope in zip(row, slopes, strict=True):
            x = plus(x, shift(slope), weight)
        slopes.append(field(x))
    return x


def derivative(times_taken: int) -> Fraction:
    """A derivative of the field at START."""
    powers = range(times_taken, len(FIELD))
    return sum(
        (
            FIELD[k] * factorial(k) / factorial(k - times_taken) * START ** (k - times_taken)
            for k in powers
        ),
        Fraction(0),
    )


def differential(tree: RootedTree) -> Fraction:
    """The elementary differential F(tau)(START) = f^(m) F(child_1) ... F(child_m)."""
    value = derivative(len(tree.children))
    for child in tree.children:
        value *= differential(child)
    return value


def test_the_exact_flow_has_the_b_series_of_the_trees() -> None:
    for order in range(1, LENGTH):
        series = sum(differential(t) / (t.symmetry * t.density) for t in rooted_trees(order))
        assert flow()[order] == series


entries = st.builds(Fraction, st.integers(-3, 3), st.integers(1, 4))


@given(st.lists(entries, min_size=10, max_size=10))
def test_every_explicit_method_has_the_b_series_of_its_elementary_weights(
    numbers: list[Fraction],
) -> None:
    a, b = [numbers[0:0], numbers[0:1], numbers[1:3], numbers[3:6]], numbers[6:10]
    found = [START] + [Fraction(0)] * (LENGTH - 1)
    for tree, weight in elementary_weights(a, b, LENGTH - 1).items():
        found[tree.order] += weight * differential(tree) / tree.symmetry
    assert step(a, b) == found


def test_local_error_coefficients_give_the_local_error_of_rk4() -> None:
    a = [[Fraction(x) for x in row] for row in RK4[0]]
    b = [Fraction(x) for x in RK4[1]]
    errors = plus(step(a, b), flow(), Fraction(-1))
    coefficients = local_error_coefficients(*RK4, order=5)
    assert errors[:5] == [0] * 5
    assert errors[5] == sum(value * differential(tree) for tree, value in coefficients.items())
    assert errors[5] != 0


def test_local_error_coefficients_vanish_up_to_the_order() -> None:
    assert set(local_error_coefficients(*RK4, order=4).values()) == {0}
    assert list(local_error_coefficients(*RK4, order=5)) == list(rooted_trees(5))


# ---------------------------------------------------------------------------- stability


def test_stability_polynomials_of_published_methods() -> None:
    assert stability_polynomial(((),), (1,)) == (1, 1)
    assert stability_polynomial(((), ("1/2",)), (0, 1)) == (1, 1, Fraction(1, 2))
    assert stability_polynomial(*RK4) == tuple(Fraction(1, factorial(k)) for k in range(5))
    # Hairer, Wanner (1996), section IV.2: the sixth order term of Dormand-Prince is z^6 / 600.
    exponential = [Fraction(1, factorial(k)) for k in range(6)]
    assert stability_polynomial(DOPRI5_A, DOPRI5_B) == (*exponential, Fraction(1, 600))


@given(st.lists(entries, min_size=10, max_size=10), entries)
def test_the_stability_polynomial_is_one_step_of_a_linear_equation(
    numbers: list[Fraction], z: Fraction
) -> None:
    a, b = [numbers[0:0], numbers[0:1], numbers[1:3], numbers[3:6]], numbers[6:10]
    slopes: list[Fraction] = []
    for row in [*a, b]:
        x = 1 + sum((w * k for w, k in zip(row, slopes, strict=True)), Fraction(0))
        slopes.append(z * x)
    assert sum(r * z**k for k, r in enumerate(stability_polynomial(a, b))) == x


def test_the_stability_polynomial_agrees_with_exp_up_to_the_order() -> None:
    order = order_of(DOPRI5_A, DOPRI5_B)
    polynomial = stability_polynomial(DOPRI5_A, DOPRI5_B)
    agrees = [value == Fraction(1, factorial(k)) for k, value in enumerate(polynomial)]
    assert agrees == [True] * (order + 1) + [False]


def test_a_method_without_weights_multiplies_by_one() -> None:
    assert stability_polynomial(((), (1,)), (0, 0)) == (1,)


def test_implicit_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="got an implicit method, expected an explicit one"):
        stability_polynomial((("1/2",),), (1,))

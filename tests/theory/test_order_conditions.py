"""Order conditions: proven for tableaux typed from the papers, held against brute force."""

from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import mpmath
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.theory import (
    RootedTree,
    elementary_weights,
    is_explicit,
    is_first_same_as_last,
    order_of,
    order_residuals,
    rooted_trees,
    row_sum_residuals,
)

Numbers = tuple[Fraction, ...]


class Published(NamedTuple):
    c: Numbers
    a: tuple[Numbers, ...]
    b: Numbers
    order: int
    embedded: Numbers = ()
    embedded_order: int = 0


def numbers(text: str) -> Numbers:
    return tuple(Fraction(word) for word in text.split())


def tableau(c: str, a: str, b: str, order: int, embedded: str = "", below: int = 0) -> Published:
    rows = tuple(numbers(row) for row in a.split(";"))
    return Published(numbers(c), rows, numbers(b), order, numbers(embedded), below)


EXPLICIT = {
    "Euler (1768)": tableau("0", "", "1", 1),
    "midpoint, Runge (1895)": tableau("0 1/2", "; 1/2", "0 1", 2),
    "Heun 2 (1900)": tableau("0 1", "; 1", "1/2 1/2", 2, "1 0", 1),
    "Heun 3 (1900)": tableau("0 1/3 2/3", "; 1/3; 0 2/3", "1/4 0 3/4", 3),
    "Kutta 3 (1901)": tableau("0 1/2 1", "; 1/2; -1 2", "1/6 2/3 1/6", 3),
    "RK4, Kutta (1901)": tableau("0 1/2 1/2 1", "; 1/2; 0 1/2; 0 0 1", "1/6 1/3 1/3 1/6", 4),
    "3/8 rule, Kutta (1901)": tableau("0 1/3 2/3 1", "; 1/3; -1/3 1; 1 -1 1", "1/8 3/8 3/8 1/8", 4),
    "Ralston 2 (1962)": tableau("0 2/3", "; 2/3", "1/4 3/4", 2),
    "Butcher 6 (1964)": tableau(
        "0 1/3 2/3 1/3 1/2 1/2 1",
        "; 1/3; 0 2/3; 1/12 1/3 -1/12; -1/16 9/8 -3/16 -3/8; 0 9/8 -3/8 -3/4 1/2;"
        "9/44 -9/11 63/44 18/11 0 -16/11",
        "11/120 0 27/40 27/40 -4/15 -4/15 11/120",
        6,
    ),
    "Fehlberg 4(5) (1969)": tableau(
        "0 1/4 3/8 12/13 1 1/2",
        "; 1/4; 3/32 9/32; 1932/2197 -7200/2197 7296/2197; 439/216 -8 3680/513 -845/4104;"
        "-8/27 2 -3544/2565 1859/4104 -11/40",
        "25/216 0 1408/2565 2197/4104 -1/5 0",
        4,
        "16/135 0 6656/12825 28561/56430 -9/50 2/55",
        5,
    ),
    "Dormand-Prince 5(4) (1980)": tableau(
        "0 1/5 3/10 4/5 8/9 1 1",
        "; 1/5; 3/40 9/40; 44/45 -56/15 32/9; 19372/6561 -25360/2187 64448/6561 -212/729;"
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656;"
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
        "35/384 0 500/1113 125/192 -2187/6784 11/84 0",
        5,
        "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40",
        4,
    ),
    "Bogacki-Shampine 3(2) (1989)": tableau(
        "0 1/2 3/4 1", "; 1/2; 0 3/4; 2/9 1/3 4/9", "2/9 1/3 4/9 0", 3, "7/24 1/4 1/3 1/8", 2
    ),
}
IMPLICIT = {
    "implicit Euler": tableau("1", "1", "1", 1),
    "implicit midpoint": tableau("1/2", "1/2", "1", 2),
    "trapezoidal rule": tableau("0 1", "0 0; 1/2 1/2", "1/2 1/2", 2),
    "Radau IA 2": tableau("0 2/3", "1/4 -1/4; 1/4 5/12", "1/4 3/4", 3),
    "Radau IIA 2": tableau("1/3 1", "5/12 -1/12; 3/4 1/4", "3/4 1/4", 3),
    "Lobatto IIIA 3": tableau("0 1/2 1", "0 0 0; 5/24 1/3 -1/24; 1/6 2/3 1/6", "1/6 2/3 1/6", 4),
}
ALL = EXPLICIT | IMPLICIT
EMBEDDED = {name: method for name, method in ALL.items() if method.embedded}

every_method = pytest.mark.parametrize("method", ALL.values(), ids=list(ALL))


def levels(method: Published, weights: Numbers, order: int) -> list[bool]:
    """Whether all conditions of order 1, 2, ... hold."""
    residuals = order_residuals(method.a, weights, order)
    return [
        all(value == 0 for tree, value in residuals.items() if tree.order == level)
        for level in range(1, order + 1)
    ]


# ---------------------------------------------------------------------------- published methods


@every_method
def test_conditions_hold_to_the_order_and_fail_beyond(method: Published) -> None:
    assert levels(method, method.b, method.order + 1) == [True] * method.order + [False]
    assert order_of(method.a, method.b) == method.order


@pytest.mark.parametrize("method", EMBEDDED.values(), ids=list(EMBEDDED))
def test_embedded_weights_have_their_order_exactly(method: Published) -> None:
    order = method.embedded_order
    assert levels(method, method.embedded, order + 1) == [True] * order + [False]
    assert order_of(method.a, method.embedded) == order


@every_method
def test_nodes_are_row_sums(method: Published) -> None:
    assert set(row_sum_residuals(method.c, method.a)) == {0}


@every_method
def test_residuals_are_fractions(method: Published) -> None:
    residuals = order_residuals(method.a, method.b, 3)
    assert {type(value) for value in residuals.values()} == {Fraction}
    assert list(residuals) == [tree for order in (1, 2, 3) for tree in rooted_trees(order)]


def test_explicit_and_implicit_are_told_apart() -> None:
    assert all(is_explicit(method.a) for method in EXPLICIT.values())
    assert not any(is_explicit(method.a) for method in IMPLICIT.values())


def test_methods_whose_last_stage_opens_the_next_step() -> None:
    radau_iia = (("5/12", "-1/12"), ("3/4", "1/4")), ("3/4", "1/4")
    assert not is_first_same_as_last(*radau_iia)  # which starts at 1/3
    found = {name for name, method in EXPLICIT.items() if is_first_same_as_last(method.a, method.b)}
    assert found == {"Dormand-Prince 5(4) (1980)", "Bogacki-Shampine 3(2) (1989)"}


@every_method
def test_one_wrong_digit_is_found(method: Published) -> None:
    wrong = (method.b[0] + Fraction(1, 10**12), *method.b[1:])
    assert order_of(method.a, wrong) == 0
    assert order_of(method.a, wrong, tolerance=1e-9) >= method.order


def test_a_wrong_stage_is_found_at_the_order_it_spoils() -> None:
    method = EXPLICIT["RK4, Kutta (1901)"]
    last = (Fraction(0), Fraction(1, 10), Fraction(9, 10))  # row sum kept, coupling changed
    a = (*method.a[:3], last)
    assert set(row_sum_residuals(method.c, a)) == {0}
    wrong = {str(tree) for tree, value in order_residuals(a, method.b, 4).items() if value != 0}
    assert wrong == {"[[[tau]]]"}  # c_2 = c_3 hides the change from all other conditions
    assert order_of(a, method.b) == 3


# ---------------------------------------------------------------------------- brute force


def edges(tree: RootedTree, root: int = 0) -> list[tuple[int, int]]:
    """Edges (lower, upper) of a tree, vertices numbered from the root in preorder."""
    found = []
    vertex = root + 1
    for child in tree.children:
        found += [(root, vertex), *edges(child, vertex)]
        vertex += child.order
    return found


def by_definition(a: tuple[Numbers, ...], b: Numbers, tree: RootedTree) -> Fraction:
    """Phi(tau) as the sum over all stages at all vertices of b and one a for each edge."""
    total = Fraction(0)
    for stage in product(range(len(b)), repeat=tree.order):
        term = b[stage[0]]
        for lower, upper in edges(tree):
            term *= a[stage[lower]][stage[upper]]
        total += term
    return total


entries = st.builds(Fraction, st.integers(-3, 3), st.integers(1, 4))


@given(st.lists(entries, min_size=9, max_size=9), st.lists(entries, min_size=3, max_size=3))
def test_elementary_weights_follow_their_definition(
    flat: list[Fraction], b: list[Fraction]
) -> None:
    a = tuple(tuple(flat[3 * i : 3 * i + 3]) for i in range(3))
    found = elementary_weights(a, b, 4)
    assert found == {tree: by_definition(a, tuple(b), tree) for tree in found}


def test_the_eight_conditions_of_order_four_as_kutta_wrote_them() -> None:
    method = EXPLICIT["3/8 rule, Kutta (1901)"]
    c, b = method.c, method.b
    a = [row + (Fraction(0),) * (4 - i) for i, row in enumerate(method.a)]
    ac = [sum(x * y for x, y in zip(row, c, strict=True)) for row in a]
    acc = [sum(x * y * y for x, y in zip(row, c, strict=True)) for row in a]
    aac = [sum(x * y for x, y in zip(row, ac, strict=True)) for row in a]
    by_hand = {
        "tau": sum(b),
        "[tau]": sum(b[i] * c[i] for i in range(4)),
        "[tau^2]": sum(b[i] * c[i] ** 2 for i in range(4)),
        "[[tau]]": sum(b[i] * ac[i] for i in range(4)),
        "[tau^3]": sum(b[i] * c[i] ** 3 for i in range(4)),
        "[tau, [tau]]": sum(b[i] * c[i] * ac[i] for i in range(4)),
        "[[tau^2]]": sum(b[i] * acc[i] for i in range(4)),
        "[[[tau]]]": sum(b[i] * aac[i] for i in range(4)),
    }
    assert {str(tree): w for tree, w in elementary_weights(method.a, b, 4).items()} == by_hand


# ---------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("kind", [str, Decimal, float, Fraction], ids=lambda kind: kind.__name__)
def test_finite_decimals_are_exact_in_every_form(kind: Any) -> None:
    a = ((), (kind("0.5"),), (kind("0"), kind("0.75")))
    b = (kind("0.25"), kind("0.5"), kind("0.25"))
    assert {type(value) for value in order_residuals(a, b, 3).values()} == {Fraction}
    assert order_of(((), (kind("0.5"),)), (0, 1)) == 2


def test_rounded_floats_need_a_tolerance() -> None:
    method = EXPLICIT["RK4, Kutta (1901)"]
    b = tuple(float(weight) for weight in method.b)
    assert order_of(method.a, b) == 0
    assert order_of(method.a, b, tolerance=1e-15) == 4


def test_mpmath_numbers_keep_their_precision() -> None:
    with mpmath.workdps(50):
        root = mpmath.sqrt(3)
        half, quarter = mpmath.mpf(1) / 2, mpmath.mpf(1) / 4
        gauss = ((quarter, quarter - root / 6), (quarter + root / 6, quarter))
        assert order_of(gauss, (half, half), tolerance=1e-48) == 4
        assert order_of(gauss, (half, Fraction(1, 2)), tolerance=1e-48) == 4
        assert max(abs(r) for r in order_residuals(gauss, (half, half), 5).values()) > 1e-3


def test_a_family_of_methods_is_proven_symbolically() -> None:
    alpha = sympy.Symbol("alpha", nonzero=True)
    weights = (1 - 1 / (2 * alpha), 1 / (2 * alpha))
    residuals = order_residuals(((), (alpha,)), weights, 3)
    simplified = {str(tree): sympy.simplify(value) for tree, value in residuals.items()}
    assert simplified["tau"] == simplified["[tau]"] == 0
    assert simplified["[tau^2]"] == alpha / 2 - sympy.Rational(1, 3)  # zero for Ralston's 2/3
    assert simplified["[[tau]]"] == -sympy.Rational(1, 6)


def test_the_search_stops_where_it_is_told() -> None:
    method = EXPLICIT["Dormand-Prince 5(4) (1980)"]
    assert order_of(method.a, method.b, max_order=3) == 3
    assert order_of(((),), (0,)) == 0


# ---------------------------------------------------------------------------- bad input

RK4 = EXPLICIT["RK4, Kutta (1901)"]


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        ((), (), ValueError, "got a without rows"),
        (((), (1,)), (1,), ValueError, "got 1 weights in b, expected 2"),
        (((1,),), (1, 0), ValueError, "got 2 weights in b, expected 1"),
        (((), (1, 2, 3)), (0, 1), ValueError, "got row 1 of a with 3 entries, expected 1"),
        (((1,), (1, 2)), (0, 1), ValueError, "got row 0 of a with 1 entries, expected 0"),
        (RK4.a[1:], RK4.b, ValueError, "the first row of an explicit method is the empty"),
        (((), ("one",)), (0, 1), ValueError, "got 'one' as a coefficient"),
        (((), ("1/0",)), (0, 1), ValueError, "got '1/0' as a coefficient"),
        (((), (float("nan"),)), (0, 1), ValueError, "got nan as a coefficient"),
        (((), (float("inf"),)), (0, 1), ValueError, "got inf as a coefficient"),
        (((), (True,)), (0, 1), TypeError, "got True as a coefficient"),
        (((), (None,)), (0, 1), TypeError, "got None as a coefficient"),
        (((), ((1,),)), (0, 1), TypeError, "as a coefficient"),
        ("1/2", (1,), TypeError, "got a = '1/2', expected a sequence of rows"),
        (("", "1/2"), (0, 1), TypeError, "got row 0 of a = '', expected a sequence"),
        (0.5, (1,), TypeError, "got a = 0.5, expected a sequence of rows"),
        (((), 0.5), (0, 1), TypeError, "got row 1 of a = 0.5, expected a sequence"),
        (((),), "1", TypeError, "got b = '1', expected a sequence"),
        (((),), 1, TypeError, "got b = 1, expected a sequence"),
    ],
)
def test_bad_tableaux_are_refused(a: Any, b: Any, error: type[Exception], message: str) -> None:
    for function in (lambda: order_of(a, b), lambda: order_residuals(a, b, 2)):
        with pytest.raises(error, match=message):
            function()


@pytest.mark.parametrize("tolerance", [0, -1e-3, float("nan")])
def test_bad_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="expected a positive number; None is exact equality"):
        order_of(RK4.a, RK4.b, tolerance=tolerance)


def test_bad_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="got order 0, expected at least 1"):
        order_residuals(RK4.a, RK4.b, 0)
    with pytest.raises(TypeError, match="got order 2.5, expected a whole number"):
        order_residuals(RK4.a, RK4.b, 2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="got order -1, expected at least 1"):
        order_of(RK4.a, RK4.b, max_order=-1)


def test_nodes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 nodes in c, expected 4"):
        row_sum_residuals((0,), RK4.a)

"""Every Runge-Kutta tableau that the solvers ship has the orders it claims: proven, not observed.

A new explicit method is found here by itself; if its coefficients are rounded decimals, it is named
in ROUNDED.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

import flowmaps as fm
from flowmaps.theory import (
    continuous_order_of,
    continuous_order_residuals,
    is_explicit,
    is_first_same_as_last,
    order_of,
    order_residuals,
    row_sum_residuals,
    stability_polynomial,
)

Row = tuple[Fraction, ...]
Rows = tuple[Row, ...]
Method = type[fm.solvers.ExplicitRungeKutta]

ROUNDED = {"Tsit5", "Dop853"}  # coefficients published as decimals; all others are exact
METHODS: dict[str, Method] = {
    name: entry
    for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
    if isinstance(entry, type)
    and issubclass(entry, fm.solvers.ExplicitRungeKutta)
    and entry is not fm.solvers.ExplicitRungeKutta
}
# Two error estimates act as one of order 2 * 5 - 3; each has its own.
ESTIMATES = {"Dop853": (5, 3)}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


# Of Dop853 those that are quotients: (stage, numerator, denominator).
NODES = (5, 1, 3), (6, 1, 4), (7, 4, 13), (8, 127, 195), (9, 3, 5), (10, 6, 7), (11, 1, 1)


def decimals(value: Fraction) -> int:
    """Number of decimals after the point that a printed decimal has."""
    return next(count for count in range(1000) if 10**count % value.denominator == 0)


def tolerance(method: Method) -> float | None:
    """Two digits more than the last one printed; None asks for equality."""
    if method.__name__ not in ROUNDED:
        return None
    table = method.tableau
    rows = (*table.rows_of_dense, table.b, *(table.b_dense or ()))
    printed = [entry for row in rows for entry in row]
    rounded = [count for count in map(decimals, printed) if count > 15]
    return 10.0 ** (2 - min(rounded))


def embedded(method: Method) -> tuple[Fraction, ...]:
    return less(method.tableau.b, method.tableau.b_error)


def less(b: Row, error: Row | None) -> Row:
    assert error is not None
    return tuple(weight - e for weight, e in zip(b, error, strict=True))


def with_end(table: fm.solvers.ButcherTableau) -> tuple[Rows, Rows]:
    """The method with the new state's field as a last stage, and its cubic Hermite weights."""
    stages = (*table.b, Fraction(0))
    dense = [(Fraction(0), 3 * weight, -2 * weight) for weight in stages]
    dense[0] = (Fraction(1), dense[0][1] - 2, dense[0][2] + 1)
    dense[-1] = (Fraction(0), dense[-1][1] - 1, dense[-1][2] + 1)
    return (*table.a, table.b), tuple(dense)


# ---------------------------------------------------------------------------- every method


def test_the_promised_methods_are_shipped() -> None:
    assert {"Euler", "Midpoint", "Heun", "Ralston"} <= set(METHODS)
    assert {"Bosh3", "SSPRK3", "RK4", "Tsit5", "Dopri5", "Dop853"} <= set(METHODS)


@every_method
def test_the_order_conditions_hold_to_the_order_and_fail_beyond(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method)
    assert order_of(table.a, table.b, tolerance=allowed) == method.order
    beyond = order_residuals(table.a, table.b, method.order + 1)
    assert max(abs(value) for value in beyond.values()) > 1e-5  # and not by rounding


@every_method
def test_the_embedded_weights_have_their_order_and_no_more(method: Method) -> None:
    table = method.tableau
    assert (table.b_error is None) == (method.error_order is None)
    if method.error_order is None:
        return
    orders = ESTIMATES.get(method.__name__, (method.error_order,))
    found = [error for error in (table.b_error, table.b_coarse_error) if error is not None]
    for order, error in zip(orders, found, strict=True):
        weights = less(table.b, error)
        assert order_of(table.a, weights, tolerance=tolerance(method)) == order
        beyond = order_residuals(table.a, weights, order + 1)
        assert max(abs(value) for value in beyond.values()) > 1e-5


def test_two_estimates_have_the_order_of_their_quotient() -> None:
    # e^2 / sqrt(e^2 + c^2 / 100) with e of size h^6 and c of size h^4 is of size h^8.
    fine, coarse = ESTIMATES["Dop853"]
    assert 2 * (fine + 1) - (coarse + 1) == fm.solvers.Dop853.error_order + 1


@every_method
def test_nodes_are_row_sums(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method) or 0
    assert is_explicit(table.a)
    c = (*table.c, Fraction(1), *table.c_dense) if table.c_dense else table.c
    assert max(map(abs, row_sum_residuals(c, table.rows_of_dense))) <= allowed


@every_method
def test_first_same_as_last_is_told_rightly(method: Method) -> None:
    table = method.tableau
    assert table.first_same_as_last == is_first_same_as_last(table.a, table.b)
    assert table.first_same_as_last == (method.__name__ in {"Tsit5", "Dopri5", "Bosh3"})


@every_method
def test_dense_weights_have_their_order(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method)
    if table.b_dense is None:
        # Cubic Hermite between the ends: its own order 3, or the method's if that is less.
        a, dense = with_end(table)
        assert continuous_order_of(a, dense) == min(method.order, method.dense_order)
        return
    a = table.rows_of_dense
    assert continuous_order_of(a, table.b_dense, tolerance=allowed) == method.dense_order
    beyond = continuous_order_residuals(a, table.b_dense, method.dense_order + 1)
    assert max(abs(value) for row in beyond.values() for value in row) > 1e-5


@every_method
def test_dense_output_joins_with_its_slope(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method) or 0
    a, dense = (table.rows_of_dense, table.b_dense) if table.b_dense else with_end(table)
    end = len(a) - 1 - len(table.a_dense)  # the stage that is the field at the new state
    weights = (*table.b, *[Fraction(0)] * (len(a) - table.stages))
    first = [i == 0 for i in range(len(a))]
    last = [i == end for i in range(len(a))]
    assert max(abs(sum(row) - b) for row, b in zip(dense, weights, strict=True)) <= allowed
    assert [row[0] for row in dense] == first
    slopes = [sum(k * value for k, value in enumerate(row, start=1)) for row in dense]
    assert max(abs(slope - one) for slope, one in zip(slopes, last, strict=True)) <= 9 * allowed


@every_method
def test_the_floats_that_compute_are_the_tableau_rounded(method: Method) -> None:
    table = method.tableau.floats
    # Entries up to 43 (550 in dense weights) carry half a unit in their last place each.
    assert order_of(table.a, table.b, tolerance=1e-13) == method.order
    largest = max([1.0, *(abs(entry) for row in table.a for entry in row)])
    assert max(map(abs, row_sum_residuals(table.c, table.a))) <= 2.3e-16 * largest
    if table.b_dense is not None:
        a = (*table.a, table.b, *table.a_dense) if table.a_dense else table.a
        order = continuous_order_of(a, table.b_dense, tolerance=1e-12)
        assert order == method.dense_order


@every_method
def test_the_step_is_the_tableau(method: Method) -> None:
    # On dx/dt = lambda x one step multiplies by R(h lambda), and its error estimate by R - R_hat.
    table, z = method.tableau, torch.tensor([-1.5, -0.25, 0.5, 2.0], dtype=torch.float64)
    h, x = z / 0.7, torch.ones(4, 1, dtype=torch.float64)
    step = method().step(lambda _, state: 0.7 * state, torch.zeros_like(h), h, x)
    polynomial = stability_polynomial(table.a, table.b)
    torch.testing.assert_close(step.x[:, 0], evaluate(polynomial, z), rtol=1e-13, atol=1e-14)
    if table.b_error is None:
        assert step.error is None
        return
    estimates = {table.b_error: step.error, table.b_coarse_error: step.coarse_error}
    for weights, estimate in estimates.items():
        assert (weights is None) == (estimate is None)
        if weights is None or estimate is None:
            continue
        hat = stability_polynomial(table.a, less(table.b, weights))
        expected = evaluate(polynomial, z) - evaluate(hat, z)
        torch.testing.assert_close(estimate[:, 0], expected, rtol=1e-11, atol=1e-14)


@every_method
def test_the_interpolant_is_the_tableau(method: Method) -> None:
    # Every stage is a number of its own, whatever the state, so that each weight counts.
    table = method.tableau
    if table.b_dense is None:
        return
    values = torch.randn(len(table.b_dense), 1, 1, dtype=torch.float64)
    drawn = iter(values)
    field = lambda t, x: next(drawn)  # noqa: E731
    t, h, x = torch.zeros(1).double(), torch.ones(1).double(), torch.zeros(1, 1).double()
    step = method().step(field, t, h, x)
    last = field(t, x) if step.last is None else step.last
    found = method().slopes(field, t, h, x, step, last)
    weights = torch.tensor(table.floats.b_dense, dtype=torch.float64)
    torch.testing.assert_close(found[:, 0, 0], weights.T @ values[:, 0, 0], rtol=1e-12, atol=1e-12)
    assert method.dense_evaluations == len(table.a_dense)
    assert next(drawn, None) is None


def evaluate(polynomial: tuple[Fraction, ...], z: torch.Tensor) -> torch.Tensor:
    return sum((float(value) * z**k for k, value in enumerate(polynomial)), torch.zeros_like(z))


# ---------------------------------------------------------------------------- known facts


def test_stability_polynomials() -> None:
    exact = {name: METHODS[name] for name in METHODS if name not in ROUNDED}
    found = {name: stability_polynomial(m.tableau.a, m.tableau.b) for name, m in exact.items()}
    assert found["Euler"] == (1, 1)
    assert found["Midpoint"] == found["Heun"] == (1, 1, Fraction(1, 2))
    assert found["RK4"] == (1, 1, Fraction(1, 2), Fraction(1, 6), Fraction(1, 24))
    # Hairer, Wanner (1996), section IV.2.
    assert found["Dopri5"][5:] == (Fraction(1, 120), Fraction(1, 600))


def test_tsit5_has_the_free_parameters_of_its_paper() -> None:
    # Tsitouras (2011): order 5 leaves these open, so that the conditions cannot prove them.
    table = fm.solvers.Tsit5.tableau
    assert table.c[1:4] == (Fraction(161, 1000), Fraction(327, 1000), Fraction(9, 10))
    assert table.b[1] == Fraction(1, 100)
    assert table.b_error is not None and table.b_dense is not None
    assert abs(table.b_error[6] + Fraction(1, 66)) < 1e-40
    assert table.b_dense[6] == (0, Fraction(3, 2), -4, Fraction(5, 2))
    assert table.b_dense[1] == (0, *map(Fraction, ("0.1317", "-0.2234", "0.1017")))


def test_tsit5_agrees_with_the_sixteen_digits_of_its_paper() -> None:
    table = fm.solvers.Tsit5.tableau
    printed = {
        table.c[4]: 0.9800255409045097,
        table.a[2][1]: 0.3354806554923570,
        table.a[3][1]: -6.359448489975075,
        table.a[3][2]: 4.362295432869581,
        table.a[4][1]: -11.74888356406283,
        table.a[4][2]: 7.495539342889836,
        table.a[4][3]: -0.09249506636175525,
        table.a[5][1]: -12.92096931784711,
        table.a[5][2]: 8.159367898576159,
        table.a[5][3]: -0.07158497328140100,
        table.a[5][4]: -0.02826905039406838,
        table.b[0]: 0.09646076681806523,
        table.b[2]: 0.4798896504144996,
        table.b[3]: 1.379008574103742,
        table.b[4]: -3.290069515436081,
        table.b[5]: 2.324710524099774,
    }
    assert max(abs(float(exact) - value) for exact, value in printed.items()) < 5e-15


def test_dop853_has_the_nodes_of_its_paper() -> None:
    # (12 - 2 sqrt 6) / 135, (6 - sqrt 6) / 45, (6 -+ sqrt 6) / 30, then quotients.
    c = fm.solvers.Dop853.tableau.c
    assert max(abs(c[i] - Fraction(n, d)) for i, n, d in NODES) < Fraction(1, 10**30)
    assert abs(c[3] + c[4] - Fraction(2, 5)) < Fraction(1, 10**29)
    assert abs(c[3] * c[4] - Fraction(1, 30)) < Fraction(1, 10**29)
    assert max(abs(2 * c[2] - Fraction(4, 3) * c[3]), abs(3 * c[1] - 2 * c[2])) < 1e-29


def test_dop853_agrees_with_another_copy_of_its_coefficients() -> None:
    other = pytest.importorskip("scipy.integrate._ivp.dop853_coefficients")
    table = fm.solvers.Dop853.tableau.floats
    c = (*table.c, 1.0, *table.c_dense)
    rows = (*table.a, table.b, *table.a_dense)
    a = [[*row, *[0.0] * (16 - len(row))] for row in rows]
    assert table.b_error is not None and table.b_coarse_error is not None
    for found, expected in (
        (c, other.C),
        (a, other.A),
        ((*table.b_error, 0.0), other.E5),
        ((*table.b_coarse_error, 0.0), other.E3),
        (fm.solvers.Dop853.nested, other.D),
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-16)


def test_embedded_weights_are_the_published_ones() -> None:
    # Any multiple of b - b_hat has the same order, so that the conditions prove no sign or size.
    assert embedded(fm.solvers.Heun) == (1, 0)  # Euler's method
    dormand_prince = "5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40"
    assert embedded(fm.solvers.Dopri5) == tuple(map(Fraction, dormand_prince.split()))
    tsitouras = (  # b_hat - b
        "-0.001780011052225771 -0.0008164344596567469 0.007880878010261996 "
        "-0.1447110071732629 0.5823571654525552 -0.4580821059291869 0.01515151515151515"
    )
    estimate = fm.solvers.Tsit5.tableau.b_error
    assert estimate is not None
    for weight, printed in zip(estimate, tsitouras.split(), strict=True):
        assert float(-weight) == pytest.approx(float(printed), rel=1e-14)

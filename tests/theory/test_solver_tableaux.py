"""Every Runge-Kutta tableau that the solvers ship has the orders it claims: proven, not observed.

A new explicit method is found here by itself; if its coefficients are rounded decimals, it is named
in ROUNDED.
"""

from fractions import Fraction

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

Rows = tuple[tuple[Fraction, ...], ...]
Method = type[fm.solvers.ExplicitRungeKutta]

ROUNDED = {"Tsit5"}  # coefficients published as decimals; all others are exact
METHODS: dict[str, Method] = {
    name: entry
    for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
    if isinstance(entry, type)
    and issubclass(entry, fm.solvers.ExplicitRungeKutta)
    and entry is not fm.solvers.ExplicitRungeKutta
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def decimals(value: Fraction) -> int:
    """Number of decimals after the point that a printed decimal has."""
    return next(count for count in range(1000) if 10**count % value.denominator == 0)


def tolerance(method: Method) -> float | None:
    """Two digits more than the last one printed; None asks for equality."""
    if method.__name__ not in ROUNDED:
        return None
    table = method.tableau
    printed = [entry for row in (*table.a, table.b, *(table.b_dense or ())) for entry in row]
    rounded = [count for count in map(decimals, printed) if count > 15]
    return 10.0 ** (2 - min(rounded))


def embedded(method: Method) -> tuple[Fraction, ...]:
    table = method.tableau
    assert table.b_error is not None
    return tuple(b - e for b, e in zip(table.b, table.b_error, strict=True))


def with_end(table: fm.solvers.ButcherTableau) -> tuple[Rows, Rows]:
    """The method with the new state's field as a last stage, and its cubic Hermite weights."""
    stages = (*table.b, Fraction(0))
    dense = [(Fraction(0), 3 * weight, -2 * weight) for weight in stages]
    dense[0] = (Fraction(1), dense[0][1] - 2, dense[0][2] + 1)
    dense[-1] = (Fraction(0), dense[-1][1] - 1, dense[-1][2] + 1)
    return (*table.a, table.b), tuple(dense)


# ---------------------------------------------------------------------------- every method


def test_the_promised_methods_are_shipped() -> None:
    assert {"Euler", "Midpoint", "Heun", "RK4", "Tsit5", "Dopri5"} <= set(METHODS)


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
    weights = embedded(method)
    assert order_of(table.a, weights, tolerance=tolerance(method)) == method.error_order
    beyond = order_residuals(table.a, weights, method.error_order + 1)
    assert max(abs(value) for value in beyond.values()) > 1e-5


@every_method
def test_nodes_are_row_sums(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method) or 0
    assert is_explicit(table.a)
    assert max(map(abs, row_sum_residuals(table.c, table.a))) <= allowed


@every_method
def test_first_same_as_last_is_told_rightly(method: Method) -> None:
    table = method.tableau
    assert table.first_same_as_last == is_first_same_as_last(table.a, table.b)
    assert table.first_same_as_last == (method.__name__ in {"Tsit5", "Dopri5"})


@every_method
def test_dense_weights_have_their_order(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method)
    if table.b_dense is None:
        # Cubic Hermite between the ends: its own order 3, or the method's if that is less.
        a, dense = with_end(table)
        assert continuous_order_of(a, dense) == min(method.order, method.dense_order)
        return
    assert continuous_order_of(table.a, table.b_dense, tolerance=allowed) == method.dense_order
    beyond = continuous_order_residuals(table.a, table.b_dense, method.dense_order + 1)
    assert max(abs(value) for row in beyond.values() for value in row) > 1e-5


@every_method
def test_dense_output_joins_with_its_slope(method: Method) -> None:
    table, allowed = method.tableau, tolerance(method) or 0
    a, dense = (table.a, table.b_dense) if table.b_dense else with_end(table)
    weights = table.b if table.b_dense else (*table.b, Fraction(0))
    first = [i == 0 for i in range(len(a))]
    last = [i == len(a) - 1 for i in range(len(a))]
    assert max(abs(sum(row) - b) for row, b in zip(dense, weights, strict=True)) <= allowed
    assert [row[0] for row in dense] == first
    slopes = [sum(k * value for k, value in enumerate(row, start=1)) for row in dense]
    assert max(abs(slope - one) for slope, one in zip(slopes, last, strict=True)) <= 9 * allowed


@every_method
def test_the_floats_that_compute_are_the_tableau_rounded(method: Method) -> None:
    table = method.tableau.floats
    # Entries up to 13 (90 in dense weights) carry half a unit in their last place each.
    assert order_of(table.a, table.b, tolerance=1e-13) == method.order
    assert max(map(abs, row_sum_residuals(table.c, table.a))) <= 1e-15
    if table.b_dense is not None:
        order = continuous_order_of(table.a, table.b_dense, tolerance=1e-12)
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
    assert step.error is not None
    estimate = evaluate(polynomial, z) - evaluate(
        stability_polynomial(table.a, embedded(method)), z
    )
    torch.testing.assert_close(step.error[:, 0], estimate, rtol=1e-11, atol=1e-14)


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

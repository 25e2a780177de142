"""Measured orders: the slope of the error over the step on flows known in closed form."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import flowmaps as fm
from flowmaps.solvers import Heun, Stepper, Symplectic, Yoshida4, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

# Every public method: one is measured by being exported.
METHODS: list[Stepper] = [
    entry()
    for entry in (getattr(fm.solvers, name) for name in fm.solvers.__all__)
    if isinstance(entry, type) and issubclass(entry, Stepper) and hasattr(entry, "order")
]
METHODS.append(Yoshida4(kinetic_time=True))
ADAPTIVE = [method for method in METHODS if method.error_order is not None and method.order > 2]


def driven(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A spring whose potential alone depends on time: q'' = cos 2t - q."""
    q, p = x.unbind(1)
    return torch.stack([p, torch.cos(2 * t) - q], dim=1)


def driven_flow(s: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What is beside q = -cos(2t) / 3 turns freely."""
    shift = lambda r: torch.stack([-torch.cos(2 * r) / 3, 2 * torch.sin(2 * r) / 3], 1)  # noqa: E731
    a, b = (x - shift(s)).unbind(1)
    c, d = torch.cos(t - s), torch.sin(t - s)
    return torch.stack([c * a + d * b, c * b - d * a], dim=1) + shift(t)


# Spans, and steps where the error is clean: fine enough for the leading term, coarse enough for
# rounding.
GRIDS = {
    1: ({"logistic": 1.0}, [80, 120, 180]),
    2: ({"logistic": 2.0, "riccati": 1.0}, [60, 90, 135]),
    3: ({"gaussian": 2.0, "swing": 2.0}, [60, 90, 135]),
    4: ({"gaussian": 2.0, "swing": 2.0}, [20, 30, 45]),
    5: ({"swing": 3.0}, [80, 120, 180]),
    6: ({"swing": 2.0}, [16, 24, 36]),
    7: ({"swing": 2.0}, [12, 18, 27]),
    8: ({"swing": 2.0}, [8, 12, 18]),
}
SEPARABLE = {
    1: ({"swing": 0.02, "driven": 0.05}, [80, 120, 180]),
    2: ({"swing": 0.5, "driven": 1.0}, [60, 90, 135]),
    4: ({"swing": 0.6, "driven": 1.0}, [20, 30, 45]),
}


def measured(method: Stepper) -> tuple[dict[str, float], list[int]]:
    """Flows with their spans, and the steps, that a method is measured by."""
    if not isinstance(method, Symplectic):
        return GRIDS[method.order]
    flows, grid = SEPARABLE[method.order]
    if repr(method) == "Yoshida4()":
        flows = {"driven": flows["driven"]}  # where dq/dt does not depend on time
    return flows, grid


CASES = [
    pytest.param(method, flow, *ends, id=f"{method!r}-{flow}-{name}")
    for method in METHODS
    for flow, span in measured(method)[0].items()
    for name, ends in (("forth", (0.0, span)), ("back", (span, 0.0)))
]


def slope(steps: list[int], errors: list[float]) -> float:
    """Order of the errors over the step, all of which must be clean."""
    assert 1e-12 <= min(errors) <= max(errors) <= 1e-3, errors
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def test_every_method_is_measured() -> None:
    shipped = {
        name
        for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
        if isinstance(entry, type) and issubclass(entry, Stepper)
    }
    bases = {"Stepper", "ExplicitRungeKutta", "Rosenbrock", "Symplectic"}
    assert shipped - {type(method).__name__ for method in METHODS} == bases


@pytest.mark.parametrize(("method", "flow", "s", "t"), CASES)
def test_errors_fall_with_the_orders(method, flow, s, t, exact_flows) -> None:
    spring = type(exact_flows["swing"])(driven, driven_flow, [[0.5, 0.3]])
    exact = spring if flow == "driven" else exact_flows[flow]
    x = torch.tensor(exact.start)
    (_, grid), ends, inside, rates = measured(method), [], [], []
    for steps in grid:
        # The same places in steps of every size, for the error inside a step depends on the place.
        places = torch.arange(steps)[:, None] + torch.tensor([0.25, 0.5, 0.75, 1.0])
        times = s + (t - s) * places.flatten() / steps
        solution = solve(exact.field, s, t, x, method=method, steps=steps, dense=True)
        path, velocity = jvp(solution, (times,), (torch.ones_like(times),))
        clocks, many = times.repeat_interleave(len(x)), x.repeat(len(times), 1)
        truth = exact.flow(torch.full_like(clocks, s), clocks, many)
        rate = exact.field(clocks, truth).reshape(path.shape)
        truth = truth.reshape(path.shape)
        ends.append((solution.x - truth[-1]).abs().max().item())
        inside.append((path - truth).abs().max().item())
        rates.append((velocity - rate).abs().max().item())
    # An interpolant of order q has local errors h^(q + 1), its derivative h^q.
    p, q = method.order, method.dense_order
    within = 0.2 if p <= 5 else 0.4
    assert slope(grid, ends) == pytest.approx(p, abs=within), ends
    assert slope(grid, inside) == pytest.approx(min(p, q + 1), abs=within), inside
    # The error of a triple jump itself may exceed that of its interpolant.
    most = p if isinstance(method, Symplectic) else min(p, q)
    assert min(p, q) - within <= slope(grid, rates) <= most + within, rates


@pytest.mark.parametrize("method", [m for m in METHODS if repr(m) != "Yoshida4()"], ids=repr)
def test_one_step_is_exact_for_powers_of_time_below_the_order(method) -> None:
    for degree in range(method.order):
        found = solve(
            lambda t, x, k=degree: (k + 1) * t[:, None] ** k + 0 * x,
            0.0,
            1.0,
            torch.zeros(1, 2),
            method=method,
            steps=1,
        )
        assert found.x[0].tolist() == pytest.approx([1.0, 1.0], abs=1e-14)


def tolerances(method: Stepper) -> list[float]:
    """Those that a method of its order is for."""
    return [10.0**-exponent for exponent in range(4, 11 if method.order > 3 else 7, 2)]


def slack(method: Stepper) -> float:
    """How far the error may exceed the tolerance: more steps, more errors that add up."""
    return 10.0 if method.order > 3 else 20.0


@pytest.mark.parametrize("method", ADAPTIVE, ids=repr)
@pytest.mark.parametrize("ends", [(0.1, 1.8), (1.8, 0.1)], ids=["forth", "back"])
def test_the_error_falls_with_the_tolerance(method, ends, exact) -> None:
    x = torch.tensor(exact.start)
    s, t = ends
    truth = exact.flow(torch.full((len(x),), s), torch.full((len(x),), t), x)
    for rtol in tolerances(method):
        found = solve(exact.field, s, t, x, method=method, rtol=rtol, atol=rtol)
        error = ((found.x - truth).abs() / (1 + truth.abs())).max().item()
        assert error < rtol * slack(method)


@pytest.mark.parametrize("method", ADAPTIVE, ids=repr)
@pytest.mark.parametrize("t", [6.0, -6.0], ids=["forth", "back"])
def test_the_error_stays_in_proportion_to_the_tolerance(method, t, pendulum) -> None:
    x, p = torch.tensor([[2.5, 0.3]]), torch.tensor([[2.0, 0.5]])
    truth = pendulum.solution(0.0, t, x[0], p[0])
    for rtol in tolerances(method):
        found = solve(pendulum.field, 0.0, t, x, p, method=method, rtol=rtol, atol=rtol)
        error = ((found.x - truth).abs() / (1 + truth.abs())).max().item()
        assert rtol / 100 < error < rtol * 10 * slack(method)


@pytest.mark.parametrize("method", [*ADAPTIVE, Heun()], ids=repr)
def test_the_work_grows_as_the_order_says(method, pendulum) -> None:
    x, p = torch.tensor([[2.5, 0.3]]), torch.tensor([[2.0, 0.5]])
    tolerances = (1e-4, 1e-6, 1e-8) if method.order > 2 else (1e-2, 1e-4)
    steps = [
        solve(pendulum.field, 0.0, 6.0, x, p, method=method, rtol=r, atol=r).statistics.accepted
        for r in tolerances
    ]
    for coarse, fine in pairwise(steps):  # the local error of the embedded method is kept constant
        expected = 100 ** (1 / (method.error_order + 1))
        assert (fine / coarse).item() == pytest.approx(expected, rel=0.25), steps

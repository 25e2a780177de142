"""Symplectic methods: orders, symplecticity, energies over long times, reversibility, counts."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import RK4, SemiImplicitEuler, StormerVerlet, Symplectic, Yoshida4, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

METHODS: list[Symplectic] = [SemiImplicitEuler(), StormerVerlet(), Yoshida4()]
every_method = pytest.mark.parametrize("method", METHODS, ids=repr)
symmetric = pytest.mark.parametrize("method", METHODS[1:], ids=repr)
GRIDS = {1: [160, 240, 360], 2: [60, 90, 135], 4: [40, 60, 90]}


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    q, p = x.chunk(2, dim=-1)
    return q, p


# ---------------------------------------------------------------------------- systems


def position(t: Tensor) -> Tensor:
    return 1.3 * torch.sin(t) - 0.1 * torch.sin(t) ** 3


def driven(t: Tensor, x: Tensor) -> Tensor:
    """T = p^2 / 2 + 0.3 p^4 / 4 and a quartic potential driven so that p = cos t is a solution."""
    q, p = halves(x)
    force = position(t) ** 3 - torch.sin(t)
    return torch.cat([p + 0.3 * p**3, -(q**3) + force[:, None]], dim=-1)


def truth(t: Tensor) -> Tensor:
    return torch.stack([position(t), torch.cos(t)], dim=-1)


def kanai(t: Tensor, x: Tensor) -> Tensor:
    """A damped pendulum of Caldirola and Kanai: both halves of H depend on time."""
    (q, p), growth = halves(x), torch.exp(0.5 * t)[:, None]
    return torch.cat([p / growth, -growth * torch.sin(q)], dim=-1)


def henon_heiles(t: Tensor, x: Tensor) -> Tensor:
    a, b, *p = x.unbind(-1)
    return torch.stack([*p, -a - 2 * a * b, -b - a**2 + b**2], dim=-1)


def henon_heiles_energy(x: Tensor) -> Tensor:
    a, b, c, d = x.unbind(-1)
    return (a**2 + b**2 + c**2 + d**2) / 2 + a**2 * b - b**3 / 3


def kepler(t: Tensor, x: Tensor) -> Tensor:
    q, p = halves(x)
    return torch.cat([p, -q / q.norm(dim=-1, keepdim=True) ** 3], dim=-1)


def kepler_energy(x: Tensor) -> Tensor:
    q, p = halves(x)
    return p.square().sum(-1) / 2 - 1 / q.norm(dim=-1)


def pendulum(t: Tensor, x: Tensor) -> Tensor:
    q, p = halves(x)
    return torch.cat([p, -torch.sin(q)], dim=-1)


def pendulum_energy(x: Tensor) -> Tensor:
    q, p = halves(x)
    return (p.square() / 2 + 1 - torch.cos(q)).sum(-1)


# ---------------------------------------------------------------------------- orders


def slope(steps: list[int], errors: list[float]) -> float:
    assert 1e-12 <= min(errors) <= max(errors) <= 0.03, errors
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@every_method
@pytest.mark.parametrize(("s", "t"), [(0.0, 2.5), (2.5, 0.0)], ids=["forth", "back"])
def test_errors_fall_with_the_orders_in_a_potential_that_depends_on_time(method, s, t) -> None:
    x = truth(torch.tensor([s]))
    ends, inside, rates = [], [], []
    for steps in GRIDS[method.order]:
        places = torch.arange(steps)[:, None] + torch.tensor([0.25, 0.5, 0.75, 1.0])
        times = s + (t - s) * places.flatten() / steps
        solution = solve(driven, s, t, x, method=method, steps=steps, dense=True)
        path, velocity = jvp(solution, (times,), (torch.ones_like(times),))
        exact = truth(times)
        ends.append((path[-1, 0] - exact[-1]).abs().max().item())
        inside.append((path[:, 0] - exact).abs().max().item())
        rates.append((velocity[:, 0] - driven(times, exact)).abs().max().item())
    p, q, grid = method.order, method.dense_order, GRIDS[method.order]
    assert slope(grid, ends) == pytest.approx(p, abs=0.2), ends
    assert slope(grid, inside) == pytest.approx(min(p, q + 1), abs=0.2), inside
    # At least q: the error of the triple jump itself exceeds that of the interpolant here.
    assert min(p, q) - 0.2 <= slope(grid, rates) <= p + 0.2, rates


def by_steps(method, field, t: float, x: Tensor, steps: int) -> Tensor:
    """The steps alone, which may ask for the field outside the span."""
    h = torch.full((len(x),), t / steps)
    for k in range(steps):
        x = method.step(field, k * h, h, x).x
    return x


@every_method
def test_the_orders_hold_where_both_halves_depend_on_time(method, dop853) -> None:
    x, t, grid = torch.tensor([[1.0, 0.3]]), 2.0, GRIDS[method.order]

    def rate(r: float, y: np.ndarray) -> np.ndarray:
        return np.array([y[1] * np.exp(-0.5 * r), -np.exp(0.5 * r) * np.sin(y[0])])

    exact = torch.from_numpy(dop853(rate, 0.0, t, x[0].numpy()))
    errors = [(by_steps(method, kanai, t, x, n) - exact).abs().max().item() for n in grid]
    assert slope(grid, errors) == pytest.approx(method.order, abs=0.2)


@pytest.mark.parametrize("method", [*METHODS[:2], Yoshida4(kinetic_time=True)], ids=repr)
@pytest.mark.parametrize("t", [2.0, -2.0])
def test_the_orders_hold_where_times_stay_in_the_span(method, t, dop853) -> None:
    x, grid = torch.tensor([[1.0, 0.3]]), GRIDS[method.order]

    def rate(r: float, y: np.ndarray) -> np.ndarray:
        return np.array([y[1] * np.exp(-0.5 * r), -np.exp(0.5 * r) * np.sin(y[0])])

    exact = torch.from_numpy(dop853(rate, 0.0, t, x[0].numpy()))
    ends = [solve(kanai, 0.0, t, x, method=method, steps=n).x for n in grid]
    errors = [(end - exact).abs().max().item() for end in ends]
    assert slope(grid, errors) == pytest.approx(method.order, abs=0.2)


def test_yoshida_with_times_at_the_middles_asks_inside_the_step() -> None:
    seen: list[float] = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        seen.append(t.item())
        return kanai(t, x)

    method, t, x = Yoshida4(kinetic_time=True), torch.zeros(1), torch.tensor([[1.0, 0.3]])
    end = method.step(field, t, t + 1, x).x
    assert len(seen) == 9 and 0.3 < min(seen) <= max(seen) < 0.7
    assert torch.allclose(method.step(field, t + 1, t - 1, end).x, x, rtol=0, atol=1e-14)
    there = Yoshida4().step(pendulum, t, t + 0.3, x).x  # the same where time does not matter
    assert torch.allclose(method.step(pendulum, t, t + 0.3, x).x, there, rtol=0, atol=1e-15)


@symmetric
def test_times_of_kicks_are_inside_the_step(method) -> None:
    seen: list[Tensor] = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        seen.append(t)
        return x

    method.step(field, torch.zeros(1), torch.ones(1), torch.ones(1, 2))
    assert all(0 < t.item() < 1 for t in seen[1::2])
    assert seen[0].item() == 0
    assert seen[-1].item() == pytest.approx(1)


def test_yoshida_is_three_verlet_steps() -> None:
    x, t, verlet = torch.tensor([[0.4, 0.7], [-1.0, 0.2]]), torch.tensor([0.3, 1.0]), None
    h, verlet = torch.tensor([0.2, -0.5]), StormerVerlet()
    jump = Yoshida4().step(kanai, t, h, x).x
    for fraction in Yoshida4.kicks:
        x = verlet.step(kanai, t, fraction * h, x).x
        t = t + fraction * h
    assert torch.allclose(jump, x, rtol=0, atol=1e-15)


# ---------------------------------------------------------------------------- geometry


@every_method
@pytest.mark.parametrize("mode", [torch.func.jacfwd, torch.func.jacrev])
def test_the_jacobian_is_symplectic_to_rounding(method, mode) -> None:
    t, h = torch.tensor([0.4]), torch.tensor([0.3])
    eye, zero = torch.eye(2), torch.zeros(2, 2)
    omega = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])

    def defect(method, field, steps: int) -> float:
        def run(x: Tensor) -> Tensor:
            y = x[None]
            for k in range(steps):
                y = method.step(field, t + k * h, h, y).x
            return y[0]

        jacobian = mode(run)(torch.tensor([0.5, -0.3, 0.2, 0.6]))
        error = (jacobian.mT @ omega @ jacobian - omega).abs().max()
        return (error / jacobian.square().sum()).item()

    for field in (henon_heiles, kepler, driven_twice, kanai):
        assert defect(method, field, 1) < 2e-15
        assert defect(method, field, 10) < 1e-12
    assert defect(RK4(), henon_heiles, 1) > 1e-6


def driven_twice(t: Tensor, x: Tensor) -> Tensor:
    """Two coordinates coupled by a potential that depends on time."""
    q, p = halves(x)
    pull = torch.cos(3 * t)[:, None] * torch.sin(q.sum(-1, keepdim=True))
    return torch.cat([p + p**3, -q - pull], dim=-1)


@symmetric
def test_a_step_back_undoes_a_step(method) -> None:
    x = torch.tensor([[0.3, -0.2, 0.1, 0.4], [1.0, 0.5, -0.2, 0.7]])
    t, h = torch.tensor([0.2, 1.0]), torch.tensor([0.3, -0.2])
    for field in (driven_twice, henon_heiles, kanai):
        there = method.step(field, t, h, x).x
        back = method.step(field, t + h, -h, there).x
        assert (there - x).abs().max() > 0.01
        assert torch.allclose(back, x, rtol=0, atol=1e-15)


@symmetric
def test_reversed_momenta_lead_back(method) -> None:
    mirror = torch.tensor([1.0, 1.0, -1.0, -1.0])
    x = torch.tensor([[0.3, -0.2, 0.1, 0.4]])
    there = solve(henon_heiles, 0.0, 20.0, x, method=method, steps=200).x
    back = solve(henon_heiles, 0.0, 20.0, mirror * there, method=method, steps=200).x
    assert torch.allclose(mirror * back, x, rtol=0, atol=1e-12)


def test_symplectic_euler_is_not_its_own_inverse() -> None:
    t, h, x = torch.zeros(1), torch.tensor([0.3]), torch.tensor([[0.3, 0.4]])
    there = SemiImplicitEuler().step(pendulum, t, h, x).x
    assert (SemiImplicitEuler().step(pendulum, t, -h, there).x - x).abs().max() > 1e-3


@every_method
def test_the_angular_momentum_of_a_planet_is_kept(method) -> None:
    x = torch.tensor([[0.7, 0.0, 0.0, 1.3]])
    path = solve(kepler, 0.0, 20.0, x, method=method, steps=1000, dense=True).dense.states
    a, b, c, d = path.unbind(-1)
    assert torch.allclose(a * d - b * c, torch.tensor(0.7 * 1.3), rtol=0, atol=1e-13)


def together(t: Tensor, x: Tensor) -> Tensor:
    """A pendulum, a planet and a Henon-Heiles system side by side: q and p have five entries."""
    q, p = halves(x)
    planet, (a, b) = q[:, 1:3], q[:, 3:].unbind(-1)
    attraction = -planet * planet.square().sum(-1, keepdim=True) ** -1.5
    forces = torch.stack([-torch.sin(q[:, 0]), -a - 2 * a * b, -b - a**2 + b**2], dim=-1)
    return torch.cat([p, forces[:, :1], attraction, forces[:, 1:]], dim=-1)


def energies(x: Tensor) -> Tensor:
    """Of the three systems, (..., 3)."""
    parts = [x[..., [0, 5]], x[..., [1, 2, 6, 7]], x[..., [3, 4, 8, 9]]]
    laws = pendulum_energy, kepler_energy, henon_heiles_energy
    return torch.stack([law(part) for law, part in zip(laws, parts, strict=True)], dim=-1)


SIDE_BY_SIDE = [[1.5, 0.8, 0.0, 0.0, 0.1, 0.0, 0.0, 1.2, 0.35, 0.0]]


def energy_errors(method, field, energy, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Largest relative errors of the energies in the first tenth of the steps, and in the last."""
    t, h, kept = torch.zeros(len(x)), torch.full((len(x),), 0.15), []
    with torch.inference_mode():
        before = energy(x)
        for k in range(steps):
            x = method.step(field, t, h, x).x
            if k < steps // 10 or k >= steps - steps // 10:
                kept.append(x)
        errors = (energy(torch.stack(kept)) / before - 1).abs()
    first, last = errors.chunk(2)
    return first.amax(0), last.amax(0)


def check_energies(methods: list[Symplectic], *case: Any) -> None:
    for method in methods:
        early, late = energy_errors(method, *case)
        assert (late < 1.1 * early).all(), (method, early, late)
        assert (early < {1: 0.4, 2: 0.05, 4: 0.005}[method.order]).all(), (method, early)
    early, late = energy_errors(RK4(), *case)
    assert (late > 4 * early).all(), (early, late)  # ten times the time, ten times the drift


def test_energies_stay_near_where_those_of_runge_kutta_drift() -> None:
    check_energies(METHODS, together, energies, torch.tensor(SIDE_BY_SIDE), 3_000)


@pytest.mark.slow
def test_energies_stay_near_for_a_hundred_thousand_steps() -> None:
    x = torch.tensor([[1.5, 0.0], [0.4, 1.0]])
    check_energies([StormerVerlet()], pendulum, pendulum_energy, x, 100_000)


# ---------------------------------------------------------------------------- states and counts


@every_method
def test_a_pair_is_as_good_as_halves(method) -> None:
    q, p = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    pair = lambda t, x: (x[1], -torch.sin(x[0]))  # noqa: E731
    ends = solve(pair, 0.0, 1.0, (q, p), method=method, steps=5).x
    joined = solve(pendulum, 0.0, 1.0, torch.cat([q, p], dim=-1), method=method, steps=5).x
    for end, half in zip(ends, halves(joined), strict=True):
        assert torch.equal(end, half)


@every_method
def test_an_odd_state_is_refused(method, refused) -> None:
    name = type(method).__name__
    for shape in ((2, 3), (2, 4, 1), (2,)):
        message = rf"{name} needs positions and then as many momenta.*got shape \({shape[0]},"
        refused(
            lambda shape=shape: solve(
                lambda t, x: x, 0.0, 1.0, torch.ones(shape), method=method, steps=1
            ),
            ValueError,
            message,
        )
    with pytest.raises(ValueError, match=r"give \(batch, \.\.\., 2 n\) or a pair \(q, p\)"):
        solve(
            lambda t, x: x, 0.0, 1.0, (torch.ones(2, 2), torch.ones(2, 1)), method=method, steps=1
        )


@every_method
def test_adaptive_steps_are_refused(method, refused) -> None:
    message = f"{type(method).__name__} has no error estimate to choose its steps by"
    refused(lambda: solve(pendulum, 0.0, 1.0, torch.ones(1, 2), method=method), ValueError, message)


@pytest.mark.parametrize("method", [*METHODS, Yoshida4(kinetic_time=True)], ids=repr)
@pytest.mark.parametrize("outputs", [{}, {"dense": True}, {"save_at": [0.5]}], ids=str)
def test_evaluations_are_the_calls_of_the_field(method, outputs) -> None:
    calls = 0

    def field(t: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return pendulum(t, x)

    x, t = torch.ones(1, 2), torch.zeros(1)
    found = solve(field, 0.0, 1.0, x, method=method, steps=3, check_field=False, **outputs)
    assert found.statistics.evaluations.tolist() == [calls]
    for first in (None, pendulum(t, x)):
        calls = 0
        step = method.step(field, t, t + 0.1, x, first)
        assert method.evaluations(first is not None) == calls
        if first is not None:
            assert step.stages[0] is first
    expected = {1: 2, 2: 3, 4: 9 if method.config() else 7}
    assert method.evaluations(False) == expected[method.order]


def test_they_serve_flow_maps() -> None:
    flow = fm.maps.SolverFlowMap(pendulum, method=Yoshida4(), steps=50)
    x = torch.tensor([[0.5, 0.2]])
    there = flow(0.0, 3.0, x)
    assert torch.allclose(flow(3.0, 0.0, there), x, atol=1e-13)
    _, rate = jvp(lambda t: flow(torch.zeros(1), t, x), (torch.tensor([3.0]),), (torch.ones(1),))
    assert torch.allclose(rate, pendulum(torch.zeros(1), there), atol=1e-12)

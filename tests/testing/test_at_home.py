"""Every problem with a reference, solver and kind of map of this library, verified by itself."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

solvers, maps = fm.solvers, fm.maps
ADAPTIVE = (solvers.Bosh3(), solvers.Dopri5(), solvers.Dop853(), solvers.Rodas5P())
FIXED = (
    (solvers.Euler(), 128, 0.1),
    (solvers.Midpoint(), 64, 1e-3),
    (solvers.Heun(), 64, 1e-3),
    (solvers.Ralston(), 64, 1e-3),
    (solvers.SSPRK3(), 32, 1e-4),
    (solvers.RK4(), 16, 1e-4),
)
QUICK = (
    "finite values",
    "determinism",
    "batch consistency",
    "identity",
    "semigroup",
    "inverse",
    "derivative honesty",
    "integral lagrangian",
    "tangent",
    "lagrangian",
    "eulerian",
)


@pytest.mark.parametrize("method", ADAPTIVE, ids=lambda method: type(method).__name__)
def test_an_adaptive_method_gives_a_flow_map(spin: SimpleNamespace, method: Any) -> None:
    flow_map = maps.SolverFlowMap(spin.field, method=method, rtol=1e-5, atol=1e-5)
    report = spin.verify(flow_map, points=16, only=QUICK)
    assert report.verdict == "flow map of the field", str(report)


@pytest.mark.parametrize(("method", "steps", "budget"), FIXED, ids=lambda a: type(a).__name__)
def test_enough_fixed_steps_give_a_flow_map(
    spin: SimpleNamespace, method: Any, steps: int, budget: float
) -> None:
    flow_map = maps.SolverFlowMap(spin.field, method=method, steps=steps)
    cheap = [name for name in QUICK if name != "derivative honesty" or steps < 20]
    report = spin.verify(flow_map, points=16, budget=budget, only=cheap)
    assert report.verdict == "flow map of the field", str(report)
    few = maps.SolverFlowMap(spin.field, method=method, steps=1)
    assert spin.verify(few, points=16, budget=budget, only=cheap).verdict != report.verdict


@pytest.mark.parametrize("name", ["van_der_pol", "lotka_volterra", "lorenz63", "damped_pendulum"])
def test_a_problem_without_closed_form_is_solved_by_its_flow_map(name: str) -> None:
    problem = fm.problems.get(name)
    low, high = problem.times
    report = fm.testing.verify(
        problem.flow_map(rtol=1e-6, atol=1e-6),
        problem.field,
        domain=problem.domain,
        times=(low, low + 0.05 * (high - low)),
        directions="forward",
        points=16,
        only=QUICK,
    )
    assert report.verdict == "flow map of the field", str(report)


def exact(spin: SimpleNamespace) -> maps.ExactFlowMap:
    return maps.ExactFlowMap(spin.flow_map, velocity=spin.field)


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x


def decayed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(s - t)[:, None]


def bent(spin: SimpleNamespace) -> tuple[Any, Any]:
    flow_map = maps.Conjugated(exact(spin), maps.FromFunctions(torch.sinh, torch.asinh))

    def field(t: Tensor, x: Tensor) -> Tensor:
        z = torch.asinh(x)
        return torch.cosh(z) * spin.field(t, z)

    return flow_map, field


KINDS: dict[str, Callable[[SimpleNamespace], tuple[Any, Any]]] = {
    "exact": lambda spin: (exact(spin), spin.field),
    "through a grid": lambda spin: (exact(spin).through([0.2, 0.7]), spin.field),
    "piecewise": lambda spin: (maps.Piecewise([exact(spin), exact(spin)], [0.5]), spin.field),
    "conjugated": bent,
    "autonomous": lambda spin: (
        maps.Autonomous(maps.ExactFlowMap(decayed, maps.TimeSet(-0.25, 0.25)), span=0.25),
        decay,
    ),
    "identity": lambda spin: (maps.Identity(), lambda t, x: 0 * x),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_map_keeps_what_it_is_made_of(spin: SimpleNamespace, kind: str) -> None:
    flow_map, field = KINDS[kind](spin)
    report = spin.verify(flow_map, field, points=128)
    # One-sided derivatives at a break, and times beyond a small map's own, are no findings.
    assert report.verdict == "flow map of the field", str(report)

"""Published numbers, conserved quantities and invariant sets."""

import math

import pytest
import sympy
import torch
from scipy.special import ellipk

import flowmaps as fm
from flowmaps.problems import operations

CONSERVING = ["harmonic_oscillator", "rotation", "lotka_volterra", "arenstorf_orbit", "robertson"]


@pytest.mark.parametrize("name", CONSERVING)
def test_invariants_are_constant_along_the_field_in_symbols(name: str) -> None:
    problem = fm.problems.get(name)
    z = problem.symbolic()
    for invariant in problem.invariants(operations("sympy"), z.t, z.x, z.p).values():
        along = [sympy.diff(invariant, c) * b for c, b in zip(z.x, z.field, strict=True)]
        assert sympy.simplify(sympy.diff(invariant, z.t) + sum(along)) == 0


def test_only_these_problems_conserve_something() -> None:
    for name in fm.problems.names():
        problem = fm.problems.get(name)
        x = problem.domain.sample(2)
        assert bool(problem.conserved(0.0, x)) == (name in CONSERVING)


@pytest.mark.parametrize("name", CONSERVING)
def test_invariants_are_constant_along_references(name: str) -> None:
    problem = fm.problems.get(name)
    generator = torch.Generator().manual_seed(0)
    x = problem.domain.sample(2, generator)
    condition = problem.parameter_domain.sample(2, generator)
    t = min(problem.times[1], 1.0)
    y = problem.reference(0.0, t, x, condition)
    before, after = problem.conserved(0.0, x, condition), problem.conserved(t, y, condition)
    for key, value in before.items():
        assert value.shape == (2,)
        assert torch.allclose(after[key], value, rtol=1e-9)
        assert not torch.allclose(value[:1], value[1:], rtol=1e-3)  # it tells states apart


def test_arenstorf_orbit_closes_after_its_published_period() -> None:
    problem = fm.problems.ArenstorfOrbit()
    start = torch.tensor([problem.initial_state])
    half, end = problem.reference_along(0.0, [problem.period / 2, problem.period], start)
    assert (end - start).abs().max() < 1e-8
    # The orbit is symmetric about the x axis: half way it crosses the axis at a right angle.
    assert abs(half[0, 1]) < 1e-8
    assert abs(half[0, 2]) < 1e-8
    assert abs(half[0, 0] - start[0, 0]) > 1


@pytest.mark.parametrize(
    ("time", "published"),
    [
        (0.4, (0.98517, 3.3864e-5, 1.4794e-2)),
        (4.0, (0.90552, 2.2405e-5, 9.4459e-2)),
        (40.0, (0.71583, 9.1855e-6, 0.28416)),
    ],
)
def test_robertson_values_are_the_published_ones(time: float, published: tuple) -> None:
    problem = fm.problems.Robertson()
    y = problem.reference(0.0, time, torch.tensor([problem.initial_state]))[0]
    assert torch.allclose(y, torch.tensor(published), rtol=5e-5)
    assert y.sum().item() == pytest.approx(1.0, abs=1e-13)


def test_van_der_pol_cycle_has_the_published_period_and_amplitude() -> None:
    """For mu = 1: period 6.6632868593231, amplitude 2.00861986087484."""
    problem = fm.problems.VanDerPol(stiffness=1.0)
    top = torch.tensor([[2.00861986087484, 0.0]])
    assert (problem.reference(0.0, 6.6632868593231, top) - top).abs().max() < 1e-11


@pytest.mark.parametrize("angle", [0.5, 3.0])
def test_undamped_pendulum_has_the_period_of_the_elliptic_integral(angle: float) -> None:
    problem = fm.problems.DampedPendulum(damping=0.0)
    period = 4 / math.sqrt(9.81) * ellipk(math.sin(angle / 2) ** 2)
    start = torch.tensor([[angle, 0.0]])
    assert (problem.reference(0.0, float(period), start) - start).abs().max() < 1e-9


def test_lorenz_fixed_points_and_eigenvalues_at_the_origin_are_the_known_ones() -> None:
    problem = fm.problems.Lorenz63(10.0, 28.0, 8 / 3)
    side = math.sqrt(8 / 3 * 27)
    points = torch.tensor([[0.0, 0.0, 0.0], [side, side, 27.0], [-side, -side, 27.0]])
    assert problem.field(0.0, points).abs().max() < 1e-13
    jacobian = torch.func.jacfwd(lambda z: problem.field(0.0, z[None])[0])(points[0])
    roots = [(-11 - math.sqrt(1201)) / 2, -8 / 3, (-11 + math.sqrt(1201)) / 2]
    assert torch.linalg.eigvals(jacobian).real.sort()[0].tolist() == pytest.approx(roots)


def test_small_predator_prey_oscillations_have_the_known_frequency() -> None:
    """About (death / conversion, growth / predation), with frequency sqrt(growth death)."""
    problem = fm.problems.LotkaVolterra(growth=1.2, predation=0.5, death=2.0, conversion=0.8)
    rest = torch.tensor([[2.0 / 0.8, 1.2 / 0.5]])
    assert problem.field(0.0, rest).abs().max() < 1e-14
    period = 2 * math.pi / math.sqrt(1.2 * 2.0)
    jacobian = problem.variational_reference(0.0, period, rest)
    assert torch.allclose(jacobian, torch.eye(2), atol=1e-9)


def test_pendulum_energy_falls_at_the_known_rate() -> None:
    """dE/dt = -damping velocity^2, along the field, by forward mode."""
    problem = fm.problems.DampedPendulum()
    x = problem.domain.sample(20)
    condition = problem.parameter_domain.sample(20)
    rate = torch.func.jvp(
        lambda z: problem.energy(z, condition), (x,), (problem.field(0.0, x, condition),)
    )[1]
    assert torch.allclose(rate, -condition[:, 0] * x[:, 1] ** 2, atol=1e-12)


@pytest.mark.parametrize("level", [2.0, 19.0, 24.3])
def test_energy_sets_are_forward_invariant(level: float) -> None:
    problem = fm.problems.DampedPendulum()
    region = problem.energy_set(level)
    x = region.sample(6, torch.Generator().manual_seed(1))
    path = problem.reference_along(0.0, [0.3, 1.0, 3.0], x)
    if level > 2 * 9.81:  # it may go over the top
        path = problem.wrapped(path.flatten(0, 1)).reshape(path.shape)
    assert path[:, :, 0].abs().max() <= math.pi
    assert all(region.contains(states).all() for states in path)
    assert not region.contains(torch.tensor([[0.0, 1.001 * math.sqrt(2 * level)]])).any()


def test_low_energy_sets_need_no_wrapping_and_fill_their_box_well() -> None:
    region = fm.problems.DampedPendulum().energy_set(5.0)
    reach = math.acos(1 - 5.0 / 9.81)
    assert region.box.upper.tolist() == pytest.approx([reach, math.sqrt(10.0)])
    assert region.contains(region.box.sample(4000)).double().mean() > 0.7


def test_default_energy_set_holds_the_domain() -> None:
    problem = fm.problems.DampedPendulum()
    region = problem.energy_set()
    corners = torch.tensor([[3.0, 3.0], [-3.0, 3.0], [3.0, -3.0], [-3.0, -3.0]])
    assert region.level == pytest.approx(problem.energy(corners).max().item())
    assert region.contains(problem.domain.sample(1000)).all()


def test_energy_sets_that_are_not_invariant_are_refused() -> None:
    with pytest.raises(ValueError, match="positive level"):
        fm.problems.DampedPendulum().energy_set(-1.0)
    with pytest.raises(ValueError, match="damping = -0.1"):
        fm.problems.DampedPendulum(damping=-0.1).energy_set(1.0)


def test_wrapping_takes_off_full_turns_only() -> None:
    problem = fm.problems.DampedPendulum()
    x = torch.tensor([[3.0, 1.0], [3.0 + 4 * math.pi, 1.0], [3.0 - 2 * math.pi, 1.0]])
    assert torch.allclose(problem.wrapped(x), x[:1].expand(3, -1))
    assert torch.allclose(torch.func.jacfwd(problem.wrapped)(x[:1]).squeeze(), torch.eye(2))

"""The zoo as a whole: names, facts every problem states, construction, flow maps."""

import copy
import math
import pickle

import pytest
import torch

import flowmaps as fm
from flowmaps.problems import ExactProblem, Problem

NAMES = fm.problems.names()
EACH = pytest.mark.parametrize("name", NAMES)


def test_the_zoo() -> None:
    assert NAMES == (
        "linear_system",
        "harmonic_oscillator",
        "damped_pendulum",
        "logistic_growth",
        "rotation",
        "scalar_separable",
        "gaussian_interpolant",
        "two_point_mixture",
        "van_der_pol",
        "lotka_volterra",
        "lorenz63",
        "arenstorf_orbit",
        "robertson",
    )


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="no problem 'lorenz'; known are linear_system, .* lorenz63"
    ):
        fm.problems.get("lorenz")


@EACH
def test_facts_fit_together(name: str) -> None:
    problem = fm.problems.get(name)
    assert problem.name == name
    assert problem.domain.dim == problem.dim
    assert not problem.components or len(problem.components) == problem.dim
    lower, upper = problem.times
    assert problem.defined[0] <= lower < upper <= problem.defined[1]
    own = torch.tensor([list(problem.parameters.values())])
    assert problem.parameter_domain.contains(own).all()
    assert torch.isfinite(problem.field(lower, problem.domain.sample(50))).all()
    assert "Source:" in (type(problem).__doc__ or "")


@EACH
def test_config_rebuilds(name: str) -> None:
    problem = fm.problems.get(name)
    again = type(problem)(**problem.config())
    assert again.parameters == problem.parameters
    x = problem.domain.sample(3)
    assert torch.equal(again.field(0.1, x), problem.field(0.1, x))


@EACH
def test_problems_can_be_copied_and_sent_to_workers(name: str) -> None:
    problem = fm.problems.get(name)
    x = problem.domain.sample(3)
    for other in (copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert torch.equal(other.field(0.1, x), problem.field(0.1, x))


def test_parameters_cannot_be_changed_behind_a_problem_s_back() -> None:
    with pytest.raises(TypeError):
        fm.problems.VanDerPol().parameters["stiffness"] = 2.0  # pyright: ignore[reportIndexIssue]


BAD = {
    "nan": (lambda: fm.problems.VanDerPol(math.nan), "finite.*look at \\['stiffness'\\]"),
    "zero frequency": (lambda: fm.problems.HarmonicOscillator(0.0), "not zero where they divide"),
    "zero capacity": (lambda: fm.problems.LogisticGrowth(capacity=0.0), "'capacity'"),
    "not square": (lambda: fm.problems.LinearSystem([[1.0, 2.0]]), r"square.*got shape \(1, 2\)"),
    "nan matrix": (lambda: fm.problems.LinearSystem([[math.nan]]), "matrix must be finite"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_constructions_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


class Decay(Problem):
    name = "decay"

    def formula(self, m, t, x, p):
        return (-p.rate * x[0],)


def test_parts_that_do_not_fit_are_refused() -> None:
    box = fm.domains.Box(0.0, 1.0)
    with pytest.raises(
        ValueError, match=r"must have 1 coordinates, one for each of \['rate'\], got 2"
    ):
        Decay({"rate": 1.0}, fm.domains.Box([0.0, 0.0], [1.0, 1.0]), box, (0.0, 1.0))
    with pytest.raises(ValueError, match="lower < upper"):
        Decay({"rate": 1.0}, box, box, (1.0, 1.0))


def test_a_new_problem_needs_a_formula_only() -> None:
    box = fm.domains.Box(0.0, 1.0)
    problem = Decay({"rate": 2.0}, box, box, (0.0, 1.0))
    x = torch.tensor([[0.5], [1.0]])
    expected = x * math.exp(-2.0)
    assert torch.allclose(problem.reference(0.0, 1.0, x), expected, rtol=1e-11)
    assert torch.allclose(problem.flow_map()(0.0, 1.0, x), expected, rtol=1e-9)
    assert torch.allclose(
        problem.variational_reference(0.0, 1.0, x).flatten(), torch.tensor(math.exp(-2.0))
    )


@EACH
def test_flow_maps_agree_with_references(name: str) -> None:
    problem = fm.problems.get(name)
    generator = torch.Generator().manual_seed(4)
    x, condition = (
        problem.domain.sample(2, generator),
        problem.parameter_domain.sample(2, generator),
    )
    s = problem.times[0]
    t = s + (1e-3 if name in ("arenstorf_orbit", "robertson") else 0.2)
    flow_map = problem.flow_map()
    exact = isinstance(problem, ExactProblem)
    assert isinstance(flow_map, fm.maps.ExactFlowMap if exact else fm.maps.SolverFlowMap)
    for given in (None, condition):
        ours, reference = flow_map(s, t, x, given), problem.reference(s, t, x, given)
        assert torch.allclose(ours, reference, rtol=1e-8, atol=1e-8)
        field = problem.field(s, x, given)
        assert torch.allclose(flow_map.velocity(s, x, given), field, rtol=1e-14)


def test_solver_options_reach_the_solver() -> None:
    problem, x = fm.problems.VanDerPol(), torch.ones(1, 2)
    coarse = problem.flow_map(method=fm.solvers.Euler(), steps=1)(0.0, 0.5, x)
    assert torch.allclose(coarse, x + 0.5 * problem.field(0.0, x))


def test_the_mixture_s_map_is_for_its_own_times() -> None:
    with pytest.raises(fm.errors.UntrainedTimes, match=r"\[0, 1\]"):
        fm.problems.TwoPointMixture().flow_map()(0.0, 1.5, torch.zeros(1, 1))

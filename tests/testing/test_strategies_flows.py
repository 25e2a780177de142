"""Flows that are said to be known are those of their fields; failures come down to plain numbers.

The oracle is scipy's DOP853 along the field, which knows nothing of the closed forms.
"""

import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

import flowmaps as fm
from flowmaps.testing import strategies

FLOWS = {
    "linear": strategies.linear_flows(3),
    "stable": strategies.linear_flows(2, "stable"),
    "Hamiltonian": strategies.linear_flows(4, "Hamiltonian", bound=1.0),
    "rotation": strategies.rotation_flows(times=(-1.0, 2.0)),
    "separable Hamiltonian": strategies.hamiltonian_flows(),
    "scalar": strategies.scalar_flows(times=(0.0, 2.0)),
    "Gaussian": strategies.gaussian_flows(2),
    "conjugated": strategies.conjugated_flows(strategies.flows(2)),
    "of one dimension": strategies.flows(1),
}


def integrated(flow: strategies.KnownFlow, s: float, t: float, x: Tensor) -> Tensor:
    def field(time, flat):
        return flow.field(time, torch.tensor(flat).reshape(x.shape)).flatten().numpy()

    solved = solve_ivp(field, (s, t), x.flatten().numpy(), "DOP853", rtol=1e-11, atol=1e-12)
    assert solved.success
    return torch.tensor(solved.y[:, -1]).reshape(x.shape)


@pytest.mark.parametrize("name", FLOWS)
@settings(max_examples=4)
@given(st.data())
def test_the_flow_map_is_the_flow_of_the_field(name, data):
    flow, s, u, t, x = data.draw(strategies.cases(FLOWS[name], batch=(1, 2)))
    assert flow.times[0] <= min(s, u, t) and max(s, u, t) <= flow.times[1]
    assert bool(flow.domain.contains(x).all())
    y = flow.flow_map(s, t, x)
    assert torch.allclose(y, integrated(flow, s, t, x), rtol=1e-7, atol=1e-8)
    assert torch.allclose(flow.flow_map(u, t, flow.flow_map(s, u, x)), y, rtol=1e-7, atol=1e-8)


@given(strategies.cases(strategies.flows(2), per_sample=True, batch=3, dtype=torch.float32))
def test_cases_have_the_dtype_and_times_of_their_own(case):
    flow, s, u, t, x = case
    assert s.shape == u.shape == t.shape == (3,)
    y = flow.flow_map(s, t, x)
    assert x.dtype == y.dtype == flow.field(s, x).dtype == torch.float32
    alone = flow.flow_map(s[1:2], t[1:2], x[1:2])
    assert torch.allclose(alone, y[1:2], rtol=1e-4, atol=1e-5)


@given(st.data(), st.integers(1, 4))
def test_diffeomorphisms_have_their_inverse(data, dim):
    phi = data.draw(strategies.diffeomorphisms(dim))
    x = data.draw(strategies.states(fm.domains.Box([-3.0] * dim, [3.0] * dim)))
    assert torch.allclose(phi.inverse(phi(x)), x, atol=1e-12)
    assert torch.allclose(phi(phi.inverse(x)), x, atol=1e-12)


@given(strategies.conjugated_flows(strategies.scalar_flows()), st.integers(0, 9))
def test_the_domain_in_other_coordinates_is_sampled_and_kept(flow, number):
    x = flow.domain.sample(20, torch.Generator().manual_seed(number), torch.float64)
    assert bool(flow.domain.contains(x).all())
    assert not bool(flow.domain.contains(x + 100).any())


def test_a_flow_prints_all_its_numbers():
    flow = strategies.KnownFlow(fm.problems.LinearSystem([[0.5]]), (0.0, 1.0))
    seen = flow.seen_by(fm.maps.Affine(1.0, 2.0)).seen_by(strategies.Squeeze(0.5))
    assert repr(seen) == (
        "KnownFlow(LinearSystem(matrix=[[0.5]]), times=(0.0, 1.0), "
        "coordinates=(Affine(shift=1.0, scale=2.0), Squeeze(rate=0.5),))"
    )
    x = torch.tensor([[0.3]])
    y = 1 + 2 * torch.sinh(0.5 * x) / 0.5
    back = ((torch.sinh(0.5 * x) / 0.5 - 1) / 2) * torch.exp(torch.tensor(0.5))
    assert y.shape == x.shape
    assert torch.allclose(seen.flow_map(0.0, 1.0, x), torch.asinh(0.5 * (1 + 2 * back)) / 0.5)


@settings(max_examples=10)
@given(st.data())
def test_falling_conserves_its_energy_and_has_the_reference_s_solution(data):
    rates = strategies.numbers(-1.0, 1.0)
    problem = strategies.Falling(*data.draw(st.tuples(rates, rates, rates)))
    x = data.draw(strategies.states(problem.domain, batch=2))
    y = problem.exact(0.0, 1.0, x)
    assert torch.allclose(y, problem.reference(0.0, 1.0, x), atol=1e-9)
    before, after = (problem.conserved(0.0, a)["energy"] for a in (x, y))
    assert torch.allclose(before, after, atol=1e-10)


# ---------------------------------------------------------------------------- networks


@given(st.data(), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2))
def test_networks_depend_on_what_was_drawn_alone(data, dtype, condition_dim):
    given = {"dim": 2, "width": 3, "condition_dim": condition_dim, "dtype": dtype}
    number = data.draw(st.integers(0, 99))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    first, second = (strategies.perceptron(number, **given) for _ in range(2))
    s, t, x = torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype), torch.ones(2, 2, dtype=dtype)
    condition = torch.ones(2, condition_dim, dtype=dtype) if condition_dim else None
    assert torch.equal(first(s, t, x, condition), second(s, t, x, condition))
    assert bool((first(s, t, x, condition) != 0).all())


def test_a_failing_network_is_printed_with_its_weights():
    @settings(database=None)
    @given(strategies.networks(width=1, weights="numbers"))
    def wrong(net):
        raise AssertionError

    with pytest.raises(AssertionError) as caught:
        wrong()
    assert "perceptron(" in "".join(caught.value.__notes__)


@settings(max_examples=5)
@given(strategies.neural_maps(parametrization=fm.maps.Endpoint(2.0), times=fm.maps.TimeSet(0, 1)))
def test_learned_maps_are_maps_of_small_networks(learned):
    assert isinstance(learned, fm.maps.NeuralFlowMap)
    assert learned(1.0, 0.5, torch.ones(2, 2)).shape == (2, 2)


# ---------------------------------------------------------------------------- shrinking

PLAIN = {-1.0, 0.0, 1.0}
WRONG = {
    "does nothing": lambda flow, s, t, x: x,
    "is a chord": lambda flow, s, t, x: x + (t - s) * flow.field(s, x),
    "ignores s": lambda flow, s, t, x: flow.flow_map(0.0, t, x),
    "swaps the times": lambda flow, s, t, x: flow.flow_map(t, s, x),
}


def shrunk(wrong, number: int) -> list[float]:
    """Return all numbers of the counterexample that Hypothesis ends at from a seed."""
    last: list[strategies.Case] = []

    @seed(number)
    @settings(
        database=None,
        derandomize=False,
        max_examples=300,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=tuple(HealthCheck),
    )
    @given(strategies.cases(strategies.linear_flows(2)))
    def agrees(case):
        flow, s, _, t, x = case
        if not torch.allclose(flow.flow_map(s, t, x), wrong(flow, s, t, x), atol=1e-9):
            last[:] = [case]
            raise AssertionError

    with pytest.raises(AssertionError):
        agrees()
    flow, s, _, t, x = last[0]
    return [a for row in flow.problem.config()["matrix"] for a in row] + [s, t, *x.flatten()]


def test_counterexamples_of_linear_flows_end_at_zeros_and_ones():
    ends = [set(map(float, shrunk(wrong, k))) for wrong in WRONG.values() for k in range(2)]
    assert sum(numbers <= PLAIN for numbers in ends) >= 0.9 * len(ends)


def test_the_package_is_imported_without_hypothesis():
    code = "import sys, flowmaps.testing; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


WITHOUT = """
import sys
sys.modules["hypothesis"] = None
import torch, flowmaps as fm
testing, box = fm.testing, fm.testing.Box([-1.0], [1.0])
for act in (
    lambda: testing.strategies,
    lambda: testing.flow_machine,
    lambda: testing.run_machine,
    lambda: __import__("flowmaps.testing.strategies._states"),
):
    try:
        act()
    except ModuleNotFoundError as error:
        assert 'pip install "flowmaps[testing]"' in str(error), error
        assert error.name == "hypothesis"
    else:
        raise AssertionError("no word on what to install")
report = testing.verify(
    lambda s, t, x: x * (1 + t - s)[:, None] + 1e-3 * torch.sin(9 * x) * (t - s)[:, None], None,
    box, (0.0, 1.0), points=64, derivatives="none",
)
assert report["semigroup"].counterexample is not None
assert testing.diagnose and testing.mutants.names()
"""


def test_without_hypothesis_it_is_said_what_to_install_and_verification_goes_on():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

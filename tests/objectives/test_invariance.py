"""Forward-invariant sets: what stays is told from what leaves, on states that built nothing."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor

import flowmaps as fm
from flowmaps.domains import Box, Points
from flowmaps.objectives import InvariantSet, forward_invariant

SQUARE = Box([-1.0, -1.0], [1.0, 1.0])
PENDULUM = fm.problems.DampedPendulum()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(matrix: list[list[float]]) -> fm.maps.FlowMap:
    """X = exp((t - s) A) x for the one span that is asked for."""

    def transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        step = torch.from_numpy(expm((t[0] - s[0]).item() * np.array(matrix))).to(x)
        return x @ step.T

    return fm.maps.ExactFlowMap(transport)


ROTATION = linear([[0.0, 1.0], [-1.0, 0.0]])
FOCUS = linear([[-0.1, 1.0], [-4.0, -0.1]])
SMALL: dict[str, Any] = {"n": 1500, "spans": 16}


def found(flow_map: Any, domain: fm.domains.Domain, span: float, **options: Any) -> InvariantSet:
    chosen = {**SMALL, "generator": seeded(), **options}
    return forward_invariant(flow_map, domain, span, **chosen)


def not_found(flow_map: Any, domain: fm.domains.Domain, span: float, **options: Any):
    with pytest.warns(UserWarning, match="no forward-invariant set was found"):
        return found(flow_map, domain, span, **options)


def near(x: Tensor, points: Points) -> Tensor:
    """Whether each x is within the radius of one of the points, by all distances."""
    units = points.data / points.scale
    return (torch.cdist(x / points.scale, units).min(1).values) <= points.radius * (1 + 1e-9)


# ---------------------------------------------------------------------------- what stays


def test_the_pendulum_leaves_its_box_but_not_the_set_that_is_built() -> None:
    """Angles wrapped; checked once more by other states, other times and another solver."""
    solve = fm.maps.SolverFlowMap(PENDULUM.field)
    flow = fm.maps.ExactFlowMap(lambda s, t, x: PENDULUM.wrapped(solve(s, t, x)))
    got = found(flow, PENDULUM.domain, 0.25)
    assert got.reached and got.rounds >= 1 and got.spans == 32
    assert 0.25 < got.leaving_before < 0.35 and got.leaving <= 0.01
    assert isinstance(got.domain, Points)
    start = PENDULUM.domain.sample(60, seeded(9))
    path = PENDULUM.reference_along(0.0, [0.25, 1.0, 3.0, 7.75], start)
    shares = [near(PENDULUM.wrapped(x), got.domain).double().mean().item() for x in path]
    assert min(shares) > 0.95
    # and it holds little more: what is in it has no more energy than the box, up to the radius
    assert PENDULUM.energy(got.domain.data).max() <= PENDULUM.energy_set().level + 1e-4


@pytest.mark.parametrize("level", [None, 15.0])
def test_a_set_that_is_not_left_is_returned_as_it_is(level: float | None) -> None:
    """The set of bounded energy; above the separatrix only once angles are wrapped."""
    given_set = PENDULUM.energy_set(level)
    solve = fm.maps.SolverFlowMap(PENDULUM.field)
    wrapped = fm.maps.ExactFlowMap(lambda s, t, x: PENDULUM.wrapped(solve(s, t, x)))
    got = found(wrapped if level is None else PENDULUM.field, given_set, 0.25, n=500)
    assert got.domain is given_set and got.rounds == 0
    assert got.leaving == got.leaving_before == 0.0 and got.reached


def test_the_limit_cycle_of_van_der_pol_is_kept() -> None:
    problem = fm.problems.VanDerPol()
    got = found(problem.field, problem.domain, 0.5)
    assert got.reached and got.leaving_before > 0.15
    cycle = problem.reference_along(0.0, [20.0, 21.0, 23.0], problem.domain.sample(30, seeded(1)))
    assert near(cycle.flatten(0, 1), got.domain).all()


def test_a_conservative_flow_does_not_creep_outwards() -> None:
    """A rotation of the square stays in its circumcircle: what is added lies on true orbits."""
    got = found(ROTATION, SQUARE, 0.5)
    assert got.reached and got.rounds >= 1
    assert got.domain.data.norm(dim=1).max() <= math.sqrt(2)
    assert got.domain.data.norm(dim=1).max() > 1.3


# ---------------------------------------------------------------------------- what leaves


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 0.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[0.05, 1.0], [-1.0, 0.05]],  # one percent in a span: slower than the tolerance
    ],
    ids=["node", "saddle", "slow focus"],
)
def test_an_unstable_field_is_found_out(matrix: list[list[float]]) -> None:
    got = not_found(linear(matrix), SQUARE, 0.25, rounds=2)
    assert not got.reached and got.leaving > 0.1 and got.rounds == 2
    assert "more than the 1.00% allowed" in str(got)


def test_a_drift_that_is_seen_only_later_is_found_out() -> None:
    """After one span 0.5 % have left, within the tolerance; followed further, more than that."""
    drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
    got = not_found(drift, Box([0.0], [1.0]), 0.005, n=20_000, spans=8, rounds=1)
    assert got.leaving_before == pytest.approx(0.005, abs=0.002)
    assert got.leaving == pytest.approx(0.04, abs=0.01)


def test_what_blows_up_leaves_and_is_never_added() -> None:
    """x' = x^2 from x > 0 is infinite at 1/x; the search ends there."""

    def transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        room = 1 - (t - s)[:, None] * x
        return torch.where(room > 0, x / room, torch.inf)

    for flow in (fm.maps.ExactFlowMap(transport), lambda t, x: x**2):
        got = not_found(flow, Box([-1.0], [1.0]), 0.5, n=300, spans=6)
        # lost after the seven spans followed: x > 2/7
        assert got.lost == pytest.approx(5 / 14, abs=0.1) and got.leaving >= got.lost
        assert "not finite" in str(got) and got.rounds == 0  # no set can hold what is lost
    # a few that are lost are counted, and within the tolerance
    rare = found(fm.maps.ExactFlowMap(transport), Box([-150.0], [0.5]), 0.5, spans=6)
    assert 0 < rare.lost <= rare.leaving <= 0.01


def test_a_solver_that_fails_is_data_too() -> None:
    """A map that raises SolveError where it fails, asked as one that answers NaN."""
    flow = fm.maps.SolverFlowMap(lambda t, x: x**2, max_steps=200)
    got = not_found(flow, Box([0.5], [1.0]), 0.7, n=50, spans=3)
    assert got.lost == 1.0


# ---------------------------------------------------------------------------- laws


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_units_do_not_matter(seed: int, first: float, second: float) -> None:
    """The same field in other units of its coordinates has the same set in them."""
    units = torch.tensor([2.0 ** round(first), 2.0 ** round(second)])
    scaled = fm.maps.ExactFlowMap(lambda s, t, x: FOCUS(s, t, x / units) * units)
    box = Box(-units, units)
    options = {"n": 300, "spans": 4}
    one = found(FOCUS, SQUARE, 0.25, generator=seeded(seed), **options)
    other = found(scaled, box, 0.25, generator=seeded(seed), **options)
    assert (one.leaving, one.leaving_before) == (other.leaving, other.leaving_before)
    torch.testing.assert_close(one.domain.data * units, other.domain.data)
    assert one.domain.radius == pytest.approx(other.domain.radius)


@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_the_share_reported_holds_for_other_states(seed: int) -> None:
    """Followed for as long, within what chance allows; the domain itself is covered as well."""
    got = found(FOCUS, SQUARE, 0.25, n=700, generator=seeded(seed))
    x, shares = SQUARE.sample(1000, seeded(seed + 1)), []
    assert got.domain.contains(x).double().mean() > 0.98
    for _ in range(got.spans):
        x = FOCUS(0.0, 0.25, x)
        shares.append((~near(x, got.domain)).double().mean().item())
    assert max(shares) <= got.leaving + 4 * math.sqrt(0.01 / 1000)


def test_a_generator_fixes_the_set() -> None:
    sets = [found(FOCUS, SQUARE, 0.25, generator=seeded(k), n=300) for k in (1, 1, 2)]
    assert torch.equal(sets[0].domain.data, sets[1].domain.data)
    assert not torch.equal(sets[0].domain.data[:9], sets[2].domain.data[:9])


def test_more_points_make_a_finer_set() -> None:
    radii = [found(FOCUS, SQUARE, 0.25, n=n).domain.radius for n in (500, 8000)]
    assert radii[0] / radii[1] == pytest.approx(4.0, rel=0.25)


def test_the_set_keeps_the_density_of_the_domain() -> None:
    """One point added for a cell: not thousands where trajectories meet."""
    flow = linear([[-1.0, 3.0], [-3.0, -1.0]])
    got = found(flow, Box([0.5, -0.1], [1.0, 0.1]), 0.25, spans=30)
    points = got.domain
    added = points.data[SMALL["n"] :] / points.scale
    crowd = (torch.cdist(added, added) <= points.radius).sum(1)
    assert got.reached and 1 <= crowd.max() <= 20


# ---------------------------------------------------------------------------- what is asked


def test_start_and_span_are_the_times_asked_for() -> None:
    asked = set()

    def transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        asked.update([(s[0].item(), t[0].item())])
        return x / 2

    found(fm.maps.ExactFlowMap(transport), SQUARE, 0.5, start=2.0, n=20)
    assert asked == {(2.0, 2.5)}


def test_a_state_keeps_its_condition() -> None:
    """Each turns at its own rate; were rates mixed, the condition would not be the state's."""

    def transport(s: Tensor, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        # a state's second coordinate remembers its condition
        fresh = x[:, 1] == 0
        assert bool((fresh | (x[:, 1] == condition[:, 0])).all())
        return torch.stack([x[:, 0] / 2, condition[:, 0]], dim=1)

    flow = fm.maps.ExactFlowMap(transport)
    states = Points(torch.cartesian_prod(torch.linspace(-1, 1, 50), torch.zeros(1)))
    got = found(flow, states, 0.5, condition=Box([1.0], [2.0]), n=400, spans=3, tolerance=0.1)
    assert got.reached and got.domain.data[:, 1].max() > 1.9


def test_a_network_is_asked_in_its_own_dtype() -> None:
    torch.manual_seed(0)
    step = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1).float())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = found(step, SQUARE, 0.01, n=50, spans=2, rounds=1)
    assert got.domain.sample(3).dtype == torch.float64
    if isinstance(got.domain, Points):
        assert got.domain.data.dtype == torch.float32


def test_the_set_serves_an_objective() -> None:
    got = found(FOCUS, SQUARE, 0.25, n=300)
    source = fm.objectives.Domain(got.domain, (0.0, 0.25))
    objective = fm.objectives.lagrangian_residual(lambda t, x: x)
    assert got.domain.contains(objective.draw(source, batch=64).points).all()


def test_it_speaks_in_one_sentence() -> None:
    got = found(FOCUS, SQUARE, 0.25, n=300)
    assert str(got) == (
        f"{got.leaving_before:.2%} of the states of the given domain are outside it after a span "
        f"of 0.25, and at most {got.leaving:.2%} are outside {got.domain!r} when followed for 32 "
        "spans"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        got.leaving = 0.0  # pyright: ignore[reportAttributeAccessIssue]
    assert dataclasses.replace(got, leaving=0.5).reached is False


ANY: Any = "much"
CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no map": (lambda: forward_invariant(ANY, SQUARE, 1.0), TypeError, "a FlowMap or a field"),
    "no domain": (lambda: forward_invariant(FOCUS, ANY, 1.0), TypeError, "fm.domains such as Box"),
    "an objective's domain": (
        lambda: forward_invariant(FOCUS, fm.objectives.Domain(SQUARE, (0.0, 1.0)), 1.0),
        TypeError,
        "fm.domains such as Box",
    ),
    "no span": (lambda: forward_invariant(FOCUS, SQUARE, 0.0), ValueError, "span must be a number"),
    "span as text": (lambda: forward_invariant(FOCUS, SQUARE, ANY), ValueError, "span must be a n"),
    "infinite start": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, start=math.inf),
        ValueError,
        "start must be a number",
    ),
    "tolerance": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, tolerance=1.0),
        ValueError,
        "tolerance must be a number between 0 and 1",
    ),
    "one state": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, n=1),
        ValueError,
        "n must be a whole number of at least 2",
    ),
    "no spans": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, spans=0),
        ValueError,
        "spans must be a whole number of at least 1",
    ),
    "half a round": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, rounds=ANY),
        TypeError,
        "rounds must be a whole number of at least 0",
    ),
    "a tensor for conditions": (
        lambda: forward_invariant(FOCUS, SQUARE, 1.0, condition=torch.zeros(3)),
        TypeError,
        "condition must be a set",
    ),
    "one point": (
        lambda: forward_invariant(FOCUS, Points(torch.zeros(1, 2)), 1.0),
        ValueError,
        "all one point",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])


@pytest.mark.filterwarnings("ignore:no forward-invariant set")
@pytest.mark.parametrize("wrap", ["plain", "autonomous", "through", "piecewise", "hidden"])
def test_a_solver_that_fails_inside_a_map_loses_its_own_states_alone(wrap: str) -> None:
    """x' = x^2 blows up from x > 2 within half a unit of time, however the solver is wrapped."""
    field = lambda t, x: x * x  # noqa: E731
    solver = fm.maps.SolverFlowMap(field, max_steps=50)
    flow_map = {
        "plain": solver,
        "autonomous": fm.maps.Autonomous(solver, 0.5),
        "through": solver.through([0.2, 0.4]),
        "piecewise": fm.maps.Piecewise([solver, solver], [0.3]),
        "hidden": fm.maps.ExactFlowMap(lambda s, t, x: solver(s, t, x)),
    }[wrap]
    box, n = fm.domains.Box([-1.0], [3.0]), 8 if wrap == "hidden" else 64
    found = fm.objectives.forward_invariant(
        flow_map, box, 0.5, n=n, spans=1, rounds=0, generator=torch.Generator().manual_seed(0)
    )
    assert 0.1 < found.leaving_before < 0.6 and not found.reached

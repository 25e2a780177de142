"""Residuals vanish on exact flows and on nothing else, however a wrong map is dressed."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.problems import ExactProblem

R = fm.residuals
EXACT = [name for name in fm.problems.names() if isinstance(fm.problems.get(name), ExactProblem)]
CLOSED = {name: fm.problems.get(name) for name in EXACT}


def all_residuals(
    flow: Callable[..., Tensor],
    field: Callable[..., Tensor],
    s: Tensor,
    t: Tensor,
    x: Tensor,
    c=None,
) -> dict[str, Tensor]:
    u = s + 0.3 * (t - s)
    return {
        "identity": R.identity(flow, t, x, c),
        "tangent": R.tangent(flow, field, t, x, c),
        "lagrangian": R.lagrangian(flow, field, s, t, x, c),
        "eulerian": R.eulerian(flow, field, s, t, x, c),
        "semigroup": R.semigroup(flow, s, u, t, x, c),
        "inverse": R.inverse(flow, s, t, x, c),
        "integral": R.integral_lagrangian(flow, field, s, t, x, c, nodes=64),
        "liouville": R.liouville(flow, field, s, t, x, c, nodes=64),
    }


def largest(residual: Tensor) -> float:
    return residual.abs().max().item()


def relative(residuals: dict[str, Tensor], *scales: Tensor) -> dict[str, float]:
    """Divide by the size of what the residual is a difference of."""
    size = 1 + max(largest(scale) for scale in scales)
    return {name: largest(residual) / size for name, residual in residuals.items()}


# ---------------------------------------------------------------------------- exact flows


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("conditional", [True, False])
@settings(max_examples=4)
@given(seed=st.integers(0, 2**31), fractions=st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_all_residuals_vanish_on_exact_flows(
    name: str, conditional: bool, seed: int, fractions: list[float]
) -> None:
    """Forwards, backwards and at s = t, every sample its own times and parameters."""
    problem = CLOSED[name]
    generator = torch.Generator().manual_seed(seed)
    x = problem.domain.sample(3, generator)
    c = problem.parameter_domain.sample(3, generator) if conditional else None
    lower, upper = problem.times
    upper = min(upper, lower + 2.0)
    s, t = (lower + (upper - lower) * torch.tensor(f) for f in (fractions[:3], fractions[3:]))
    extra = () if c is None else (c,)
    flow = problem.flow_map()
    y = flow(s, t, x, *extra)
    stretch = fm.calculus.jacobian(flow, s, t, x, *extra)
    speeds = [problem.field(t, y, *extra), problem.field(s, x, *extra)]
    for attempt in (flow, problem.exact):
        found = relative(all_residuals(attempt, problem.field, s, t, x, c), x, y, stretch, *speeds)
        assert max(found.values()) < 1e-9, found


def test_residuals_keep_single_precision_and_the_event(default_dtype: torch.dtype) -> None:
    """An image-shaped and a scalar state, in the default dtype."""

    def growth(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * torch.exp(t - s).reshape(-1, *[1] * (x.ndim - 1))

    for event in ((), (2,), (1, 2, 2)):
        x = torch.ones(3, *event)
        s, t = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 0.2])
        for name, value in all_residuals(growth, lambda t, x: x, s, t, x).items():
            assert value.shape == ((3,) if name == "liouville" else x.shape), name
            assert value.dtype == default_dtype
            assert largest(value) < 200 * torch.finfo(default_dtype).eps, name


def test_residuals_are_differentiable_in_both_modes() -> None:
    """In the parameters of the map, against central differences."""

    def loss(rate: Tensor) -> Tensor:
        def flow(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return x * torch.exp(rate * (t - s))[:, None]

        x = torch.tensor([[1.0, 2.0]])
        found = all_residuals(
            flow, lambda t, x: x.sin(), torch.tensor([0.1]), torch.tensor([0.6]), x
        )
        return torch.stack([value.square().sum() for value in found.values()])

    rate = torch.tensor(0.7)
    differences = (loss(rate + 1e-5) - loss(rate - 1e-5)) / 2e-5
    forward = torch.func.jvp(loss, (rate,), (torch.ones(()),))[1]
    backward = torch.func.jacrev(loss)(rate)
    torch.testing.assert_close(forward, differences, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(backward, forward, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------- wrong maps

PENDULUM = fm.problems.get("damped_pendulum")
COARSE = fm.maps.SolverFlowMap(PENDULUM.field, method=fm.solvers.RK4(), steps=1)
UNITS = fm.maps.Affine(shift=[0.5, -1.0], scale=[2.0, 0.5])


def in_units(t: Tensor, y: Tensor) -> Tensor:
    """The pendulum's field in the coordinates UNITS."""
    return torch.tensor([2.0, 0.5]) * PENDULUM.field(t, UNITS.inverse(y))


DRESSED = {
    "bare": COARSE,
    "Piecewise": fm.maps.Piecewise([COARSE, COARSE], [0.9]),
    "Through": COARSE.through([-1.0, 0.9]),
    "Autonomous": fm.maps.Autonomous(COARSE, 1.0),
    "Conjugated": fm.maps.Conjugated(COARSE, UNITS),
    "between": lambda s, t, x: COARSE.between(s, t)(x),
    "lambda": lambda s, t, x: COARSE(s, t, x),
    "half and half": lambda s, t, x: (
        COARSE.between((s + t) / 2, t) @ COARSE.between(s, (s + t) / 2)
    )(x),
}


@pytest.mark.parametrize("dress", DRESSED)
def test_a_coarse_solver_is_caught_however_it_is_dressed(dress: str) -> None:
    """One RK4 step satisfies dX/dt = b by relation to the last bit; its residuals are large."""
    flow = DRESSED[dress]
    field = in_units if dress == "Conjugated" else PENDULUM.field
    x = torch.tensor([[2.0, 0.5], [-1.0, 1.5], [0.3, 2.0]])
    s, t = torch.tensor([0.0, 0.2, 0.4]), torch.tensor([0.8, 0.7, 1.4])
    y = flow(s, t, x)
    by_relation = fm.calculus.time_derivative(flow, s, t, x) - field(t, y)
    assert largest(by_relation) < 1e-12
    found = {k: largest(v) for k, v in all_residuals(flow, field, s, t, x).items()}
    assert found["identity"] < 1e-12 and found["tangent"] < 1e-12
    for name in ("lagrangian", "eulerian", "inverse", "integral", "liouville"):
        assert found[name] > 1e-2, found


def test_a_coarse_solver_is_caught_in_a_compiled_residual() -> None:
    flow = fm.maps.SolverFlowMap(
        lambda t, x: torch.sin(3 * x), method=fm.solvers.Midpoint(), steps=1
    )

    def residual(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return R.lagrangian(flow, lambda t, x: torch.sin(3 * x), s, t, x)

    s, t, x = torch.tensor([0.0]), torch.tensor([1.0]), torch.ones(1, 2)
    compiled = torch.compile(residual, backend="aot_eager", fullgraph=True)(s, t, x)
    torch.testing.assert_close(compiled, residual(s, t, x))
    assert largest(compiled) > 0.1


def test_algebra_alone_does_not_know_the_field() -> None:
    """The flow of another field passes identity, semigroup and inverse, and fails the others."""
    flow = fm.problems.Rotation().flow_map()
    x, s, t = torch.ones(2, 2), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.3])
    found = all_residuals(flow, lambda t, x: -x, s, t, x)
    for name in ("identity", "semigroup", "inverse"):
        assert largest(found[name]) < 1e-14
    for name in ("tangent", "lagrangian", "eulerian", "integral", "liouville"):
        assert largest(found[name]) > 0.1, name


def test_the_wrong_sign_of_time_is_caught() -> None:
    flow = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(s - t)[:, None])
    s, t, x = torch.zeros(1), torch.ones(1), torch.ones(1, 2)
    found = all_residuals(flow, lambda t, x: x, s, t, x)
    assert min(largest(found[k]) for k in ("tangent", "lagrangian", "eulerian", "integral")) > 0.5


def test_the_switch_to_independent_derivatives_is_put_back() -> None:
    """Also when it is nested in itself, or left by an error."""
    x = torch.ones(1, 2)

    def slope() -> float:
        return fm.calculus.time_derivative(COARSE, 0.0, 1.0, x)[0, 0].item()

    relation, switch = slope(), fm.maps.independent_derivatives()
    with switch:
        independent = slope()
        with switch:
            assert slope() == independent
        assert slope() == independent
    assert independent != relation and slope() == relation
    with pytest.raises(ZeroDivisionError), fm.maps.independent_derivatives():
        raise ZeroDivisionError
    assert slope() == relation


@pytest.mark.parametrize("residual", [R.lagrangian, R.eulerian, R.integral_lagrangian, R.liouville])
def test_number_valued_times_outside_the_trained_set_are_refused(residual: Callable) -> None:
    flow = fm.maps.ExactFlowMap(lambda s, t, x: x, fm.maps.TimeSet(0.0, 1.0))
    with pytest.raises(fm.errors.UntrainedTimes):
        residual(flow, lambda t, x: 0 * x, 0.0, 2.0, torch.ones(1, 1))
    for call in (R.semigroup, R.inverse):
        times = (0.0, 0.5, 2.0) if call is R.semigroup else (0.0, 2.0)
        with pytest.raises(fm.errors.UntrainedTimes):
            call(flow, *times, torch.ones(1, 1))


# ---------------------------------------------------------------------------- bad input

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
FLOW = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
UNIT = fm.maps.ExactFlowMap(FLOW.function, fm.maps.TimeSet(0.0, 1.0, backward=False))


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x


BAD = {
    "identity: time": (lambda: R.identity(FLOW, "a", X), TypeError, "^t must be"),
    "tangent: field of another shape": (
        lambda: R.tangent(FLOW, lambda t, x: x[:1], 0.0, X),
        ValueError,
        "the field gave shape",
    ),
    "lagrangian: no field": (
        lambda: R.lagrangian(FLOW, 3, 0.0, 1.0, X),
        TypeError,
        "field must be a callable",
    ),
    "lagrangian: NaN as time": (
        lambda: R.lagrangian(FLOW, decay, 0.0, float("nan"), X),
        ValueError,
        "t must be a finite",
    ),
    "eulerian: integers": (
        lambda: R.eulerian(FLOW, decay, 0.0, 1.0, X.long()),
        TypeError,
        "floating-point",
    ),
    "semigroup: the time between": (
        lambda: R.semigroup(FLOW, 0.0, torch.ones(4), 1.0, X),
        ValueError,
        "^u must have",
    ),
    "inverse: untrained": (
        lambda: R.inverse(UNIT, 0.0, 1.0, X),
        ValueError,
        "s <= t",
        fm.errors.UntrainedTimes,
    ),
    "integral: no nodes": (
        lambda: R.integral_lagrangian(FLOW, decay, 0.0, 1.0, X, nodes=0),
        ValueError,
        "nodes must be a whole number of at least 1",
    ),
    "liouville: half a node": (
        lambda: R.liouville(FLOW, decay, 0.0, 1.0, X, nodes=0.5),
        TypeError,
        "nodes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])

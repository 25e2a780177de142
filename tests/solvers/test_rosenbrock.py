"""Rosenbrock methods on stiff problems, against SciPy's Radau and closed forms."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from scipy.integrate import solve_ivp
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import Result, Rodas5P, Rosenbrock, RosenbrockTableau, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds
vjp: Any = torch.func.vjp

SPANS = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4)


class LinearlyImplicitEuler(Rosenbrock):
    order = 1
    tableau = RosenbrockTableau.parse("1", "0", "1", a=[""], c=[""], m="1")


# ---------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("flow", ["logistic", "gaussian", "riccati", "swing"])
@pytest.mark.parametrize("ends", [(0.0, 2.0), (2.0, 0.0)], ids=["forth", "back"])
def test_it_has_order_five_with_time_and_without(flow, ends, exact_flows) -> None:
    exact, (s, t) = exact_flows[flow], ends
    x = torch.tensor(exact.start)
    truth = exact.flow(torch.full((len(x),), s), torch.full((len(x),), t), x)
    grid = [40, 60, 90] if flow == "swing" else [24, 36, 54]
    errors = [
        (solve(exact.field, s, t, x, method=Rodas5P(), steps=n).x - truth).abs().max().item()
        for n in grid
    ]
    assert -np.polyfit(np.log(grid), np.log(errors), 1)[0] == pytest.approx(5, abs=0.2), errors


def prothero_robinson(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    angle = (math.pi / 4 + t)[:, None]
    return -rate * (x - torch.sin(angle)) + torch.cos(angle)


def test_the_error_vanishes_as_stiffness_grows() -> None:
    # Prothero, Robinson (1974), Math. Comp. 28, 145: here methods lose order, explicit ones all.
    rates = torch.tensor([[1e4], [1e6], [1e8]])
    start = torch.full((3, 1), math.sin(math.pi / 4))
    errors = []
    for steps in (10, 20, 40):
        found = solve(prothero_robinson, 0.0, 5.0, start, rates, method=Rodas5P(), steps=steps)
        errors.append((found.x - math.sin(math.pi / 4 + 5)).abs()[:, 0])
        assert (errors[-1] * rates[:, 0] < 1e-2 / steps).all()  # falls with 1 / rate
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert (torch.log2(coarse / fine)[:2] > 2.8).all()


def test_steps_grow_fewer_as_stiffness_grows() -> None:
    rates = torch.tensor([[1.0], [1e2], [1e6], [1e9]])
    start = torch.full((4, 1), math.sin(math.pi / 4))
    for rtol in (1e-4, 1e-6, 1e-8):
        found = solve(
            prothero_robinson, 0.0, 5.0, start, rates, method=Rodas5P(), rtol=rtol, atol=rtol
        )
        assert (found.x - math.sin(math.pi / 4 + 5)).abs().max() < rtol
        assert found.statistics.steps[2:].max() < found.statistics.steps[:2].min()


def robertson(t: float, x: np.ndarray) -> np.ndarray:
    first, second = 0.04 * x[0] - 1e4 * x[1] * x[2], 3e7 * x[1] ** 2
    return np.array([-first, first - second, second])


def robertson_jacobian(t: float, x: np.ndarray) -> np.ndarray:
    first, second = np.array([0.04, -1e4 * x[2], -1e4 * x[1]]), np.array([0, 6e7 * x[1], 0])
    return np.stack([-first, first - second, second])


def radau(rhs: Any, jacobian: Any, s: float, t: float, x: Any, rtol: float, atol: float) -> Any:
    found = solve_ivp(rhs, (s, t), x, method="Radau", jac=jacobian, rtol=rtol, atol=atol)
    assert found.success
    return found


@pytest.fixture(scope="module")
def truth() -> Tensor:
    """Robertson's states at SPANS, three components each."""
    ends, s, x = [], 0.0, np.array([1.0, 0.0, 0.0])
    for t in SPANS:
        x = radau(robertson, robertson_jacobian, s, t, x, 1e-12, 1e-19).y[:, -1]
        ends.append(x)
        s = t
    return torch.from_numpy(np.stack(ends))


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_robertsons_reactions_cost_no_more_steps_than_radau(rtol, truth) -> None:
    atol = 1e-6 * rtol
    field, x = fm.problems.Robertson().field, torch.tensor([[1.0, 0.0, 0.0]]).expand(6, 3)
    found = solve(field, 0.0, torch.tensor(SPANS), x, method=Rodas5P(), rtol=rtol, atol=atol)
    assert ((found.x - truth).abs() / (atol + rtol * truth.abs())).max() < 1
    assert (found.x.sum(1) - 1).abs().max() < 1e-12  # a linear invariant
    for t, steps in zip(SPANS, found.statistics.steps.tolist(), strict=True):
        other = radau(robertson, robertson_jacobian, 0.0, t, [1.0, 0.0, 0.0], rtol, atol)
        assert steps <= 3 * (len(other.t) - 1)
    assert found.statistics.rejected.sum() <= 12  # of some hundreds


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_van_der_pol_with_stiffness_a_thousand(rtol) -> None:
    mu = 1000.0
    rhs = lambda t, x: np.array([x[1], mu * (1 - x[0] ** 2) * x[1] - x[0]])  # noqa: E731
    jac = lambda t, x: np.array([[0, 1], [-2 * mu * x[0] * x[1] - 1, mu * (1 - x[0] ** 2)]])  # noqa: E731
    end = radau(rhs, jac, 0.0, 1000.0, [2.0, 0.0], 1e-11, 1e-14).y[:, -1]  # after one jump
    x, atol = torch.tensor([[2.0, 0.0]]), 1e-3 * rtol
    field = fm.problems.VanDerPol(stiffness=mu).field
    found = solve(field, 0.0, 1000.0, x, method=Rodas5P(), rtol=rtol, atol=atol)
    assert (found.x[0] / torch.from_numpy(end) - 1).abs().max() < 10 * rtol
    other = radau(rhs, jac, 0.0, 1000.0, [2.0, 0.0], rtol, atol)
    assert found.statistics.steps.item() <= 3 * (len(other.t) - 1)


def test_float32_is_served_too(truth) -> None:
    x = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float32)
    field = fm.problems.Robertson().field
    found = solve(field, 0.0, 1e2, x, method=Rodas5P(), rtol=1e-4, atol=1e-9)
    assert found.x.dtype == torch.float32
    assert (found.x[0].double() / truth[4] - 1).abs().max() < 1e-3


def test_a_failing_stiff_solve_by_an_explicit_method_succeeds() -> None:
    x, rates = torch.ones(1, 1), torch.tensor([[1e7]])
    fast = solve(prothero_robinson, 0.0, 5.0, x, rates, max_steps=500, throw=False)
    assert fast.result.tolist() == [Result.MAX_STEPS]
    assert solve(prothero_robinson, 0.0, 5.0, x, rates, method=Rodas5P(), max_steps=50).success


# ---------------------------------------------------------------------------- samples


def test_a_sample_in_a_batch_is_what_it_is_alone() -> None:
    rates = torch.tensor([[1.0], [1e3], [1e6], [30.0]])
    s, t = torch.tensor([0.0, 0.5, 1.0, 2.0]), torch.tensor([5.0, 0.51, 3.0, 2.0])
    x = torch.tensor([[0.1], [0.7], [2.0], [1.0]])
    whole = solve(prothero_robinson, s, t, x, rates, method=Rodas5P())
    for i in range(4):
        row = slice(i, i + 1)
        alone = solve(prothero_robinson, s[row], t[row], x[row], rates[row], method=Rodas5P())
        torch.testing.assert_close(whole.x[row], alone.x, rtol=1e-13, atol=1e-13)
        for name in ("steps", "accepted", "rejected", "evaluations"):
            counts = getattr(whole.statistics, name)[row], getattr(alone.statistics, name)
            assert torch.equal(*counts)


def test_a_singular_matrix_spoils_its_own_sample_alone() -> None:
    x, rates = torch.ones(3, 1), torch.tensor([[0.5], [1.0], [-2.0]])  # 1 - gamma h J is 0 at 1
    grows = lambda t, x, k: k * x  # noqa: E731
    euler = LinearlyImplicitEuler()
    found = solve(grows, 0.0, 1.0, x, rates, method=euler, steps=1, throw=False)
    assert found.result.tolist() == [Result.SUCCESS, Result.NOT_FINITE, Result.SUCCESS]
    assert found.x[[0, 2], 0].tolist() == pytest.approx([2.0, 1 / 3])
    resting = solve(grows, 0.0, 1.0, 0 * x, rates, method=euler, steps=1, throw=False)
    assert resting.result.tolist() == found.result.tolist()  # 0 / 0 is no answer either


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sample_that_is_not_finite_hurts_no_other(bad) -> None:
    x = torch.tensor([[1.0], [bad], [2.0]])
    stiff = lambda t, x: -1e4 * (x - torch.cos(t)[:, None])  # noqa: E731
    found = solve(stiff, 0.0, 1.0, x, method=Rodas5P(), throw=False)
    assert found.result.tolist() == [Result.SUCCESS, Result.NOT_FINITE, Result.SUCCESS]
    assert (found.x[[0, 2]] - math.cos(1.0)).abs().max() < 1e-3


def test_any_event_is_a_state() -> None:
    for event in ((), (1,), (2, 2), (0,)):
        x = torch.rand(3, *event)
        found = solve(lambda t, x: -50 * x, 0.0, 0.1, x, method=Rodas5P(), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.x, x * math.exp(-5), rtol=1e-6, atol=1e-8)
    tree = {"a": torch.rand(2, 2), "b": torch.rand(2)}
    decay = lambda t, z: {"a": -z["a"], "b": -100 * z["b"]}  # noqa: E731
    found = solve(decay, 0.0, 0.5, tree, method=Rodas5P()).x
    torch.testing.assert_close(found["a"], tree["a"] * math.exp(-0.5), rtol=1e-5, atol=1e-6)


def test_jacobians_are_counted_as_one_evaluation_for_each_direction() -> None:
    x = torch.ones(2, 3)
    for method, stages in ((Rodas5P(), 8), (LinearlyImplicitEuler(), 1)):
        found = solve(lambda t, x: -x, 0.0, 1.0, x, method=method, steps=5)
        assert found.statistics.evaluations.tolist() == [5 * (stages + 3 + 1)] * 2
    found = solve(lambda t, x: -x, 0.0, 1.0, x, method=Rodas5P())
    assert torch.equal(found.statistics.evaluations, 2 + (8 + 4) * found.statistics.steps)
    dense = solve(lambda t, x: -x, 0.0, 1.0, x, method=Rodas5P(), dense=True)
    assert torch.equal(dense.statistics.evaluations, found.statistics.evaluations)


def test_dense_output_follows_a_stiff_solution() -> None:
    x, rates = torch.tensor([[0.0], [1.0]]), torch.tensor([[1e3], [1e5]])
    found = solve(prothero_robinson, 0.0, 2.0, x, rates, method=Rodas5P(), dense=True)
    times = torch.linspace(0.01, 2.0, 77)
    path = found(times)[..., 0]
    truth = torch.sin(math.pi / 4 + times)[:, None].expand(77, 2).clone()
    truth = truth + (x[:, 0] - math.sin(math.pi / 4)) * torch.exp(-rates[:, 0] * times[:, None])
    assert (path - truth).abs().max() < 3e-4
    assert (found(2.0) - found.x).abs().max() < 1e-13


def test_a_method_without_dense_weights_has_the_cubic() -> None:
    found = solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), method=LinearlyImplicitEuler(),
                  steps=200, dense=True)  # fmt: skip
    assert found(0.5).item() == pytest.approx(math.exp(-0.5), rel=5e-3)


# ---------------------------------------------------------------------------- derivatives


def oscillator(t: Tensor, x: Tensor, mu: Tensor) -> Tensor:
    return torch.stack([x[:, 1], mu * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0] + torch.cos(t)], dim=1)


def case() -> tuple[Tensor, ...]:
    s, t = torch.tensor([0.0, 0.5, 0.6]), torch.tensor([0.4, 0.2, 0.6])
    return s, t, torch.tensor([[2.0, -0.5], [0.5, 0.2], [1.0, 1.0]]), torch.tensor([6.0, 2.0, 5.0])


STEPS: dict[str, Any] = {"steps": 4}
SEARCH: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}
each_way = pytest.mark.parametrize("options", [STEPS, SEARCH], ids=["fixed", "adaptive"])


def run(*arguments: Tensor, **options: Any) -> Tensor:
    return solve(oscillator, *arguments, method=Rodas5P(), **options).x


def test_derivatives_of_fixed_steps_are_those_of_the_steps(central) -> None:
    primals, tangents = case(), tuple(map(torch.randn_like, case()))
    along = lambda e: run(*(p + e * v for p, v in zip(primals, tangents, strict=True)), **STEPS)  # noqa: E731
    expected = central(along, torch.tensor(0.0), torch.tensor(1.0))
    value, tangent = jvp(lambda *p: run(*p, **STEPS), primals, tangents)
    torch.testing.assert_close(value, run(*primals, **STEPS))
    torch.testing.assert_close(tangent, expected, rtol=1e-8, atol=1e-8)
    w = torch.randn_like(value)
    pulled = vjp(lambda *p: run(*p, **STEPS), *primals)[1](w)
    both = sum((a * b).sum() for a, b in zip(pulled, tangents, strict=True))
    torch.testing.assert_close(both, (w * expected).sum(), rtol=1e-8, atol=1e-8)
    leaves = [p.clone().requires_grad_() for p in primals]
    for a, b in zip(
        torch.autograd.grad((w * run(*leaves, **STEPS)).sum(), leaves), pulled, strict=True
    ):
        torch.testing.assert_close(a, b)
    with forward_ad.dual_level():
        pairs = zip(primals, tangents, strict=True)
        dual = run(*(forward_ad.make_dual(p, v) for p, v in pairs), **STEPS)
        found = forward_ad.unpack_dual(dual).tangent
    assert found is not None
    torch.testing.assert_close(found, tangent)


@each_way
def test_first_and_second_derivatives_are_the_flow_maps(options) -> None:
    primals, tangents = case(), tuple(0.3 * torch.randn_like(p) for p in case())
    ours = lambda *p: run(*p, **options)  # noqa: E731
    truth = lambda *p: solve(oscillator, *p, method=Tsit5(), steps=200).x  # noqa: E731
    first = [lambda *p, f=f: jvp(f, p, tangents)[1] for f in (ours, truth)]
    second = [lambda *p, f=f: jvp(f, p, tangents)[1] for f in first]
    for found, expected in (first, second):
        torch.testing.assert_close(found(*primals), expected(*primals), rtol=1e-3, atol=1e-3)
    w = torch.randn_like(primals[2])
    mixed = [vjp(f, *primals)[1](w) for f in first]
    for found, expected in zip(*mixed, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@each_way
def test_a_sample_at_rest_has_the_derivatives_of_the_identity(options) -> None:
    s, x, mu = torch.tensor([0.3]), torch.tensor([[1.0, -2.0]]), torch.tensor([1e3])
    flow = lambda s, t, x: run(s, t, x, mu, **options)  # noqa: E731
    assert torch.equal(flow(s, s, x), x)
    o, v = torch.zeros(1), torch.randn(1, 2)
    rate = oscillator(s, x, mu)
    torch.testing.assert_close(jvp(flow, (s, s, x), (o, o, v))[1], v)
    torch.testing.assert_close(jvp(flow, (s, s, x), (o, o + 1, 0 * v))[1], rate)
    torch.testing.assert_close(jvp(flow, (s, s, x), (o + 1, o, 0 * v))[1], -rate)
    gradients = vjp(flow, s, s, x)[1](v)
    torch.testing.assert_close(gradients[2], v)
    torch.testing.assert_close(gradients[1], (rate * v).sum(1))


def test_gradients_reach_what_the_field_holds() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    x = torch.randn(3, 2)

    def loss(**options: Any) -> list[Tensor]:
        end = solve(lambda t, x: network(x) - 30 * x, 0.0, 0.5, x, **options).x
        return list(torch.autograd.grad(end.square().sum(), list(network.parameters())))

    ours = loss(method=Rodas5P(), rtol=1e-9, atol=1e-9)
    for a, b in zip(ours, loss(rtol=1e-10, atol=1e-10), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@each_way
def test_vmap_maps_it(options) -> None:
    s, t, x, mu = case()
    many = torch.stack([x, x + 0.1, 0.5 * x])
    flow = lambda x: run(s, t, x, mu, **options)  # noqa: E731
    expected = torch.stack([flow(each) for each in many])
    torch.testing.assert_close(torch.func.vmap(flow)(many), expected)
    tangent = lambda x: jvp(flow, (x,), (x,))[1]  # noqa: E731
    twice = torch.func.vmap(torch.func.vmap(tangent))(torch.stack([many, many]))
    torch.testing.assert_close(twice[1], torch.stack([tangent(each) for each in many]))


@pytest.mark.parametrize("kind", ["value", "jvp", "grad", "vmap", "dense"])
def test_fixed_steps_compile_into_one_graph(kind) -> None:
    torch.compiler.reset()
    s, t, x, mu = case()
    flow = lambda x: run(s, t, x, mu, steps=1)  # noqa: E731
    function = {
        "value": flow,
        "jvp": lambda x: jvp(flow, (x,), (x,))[1],
        "grad": torch.func.grad(lambda x: flow(x).square().sum()),
        "vmap": lambda x: torch.func.vmap(flow)(torch.stack([x, 2 * x])),
        "dense": lambda x: solve(oscillator, 0.0, 1.0, x, mu, method=Rodas5P(), steps=1,
                                 dense=True)(0.5),
    }[kind]  # fmt: skip
    compiled = torch.compile(lambda x: function(x), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x), rtol=1e-11, atol=1e-11)
    torch.compiler.reset()


def test_it_works_in_inference_mode() -> None:
    expected = run(*case(), **SEARCH)
    with torch.inference_mode():
        torch.testing.assert_close(run(*case(), **SEARCH), expected)


def test_a_flow_map_can_be_made_of_it() -> None:
    stiff = lambda t, x: -1e5 * (x - torch.cos(t)[:, None])  # noqa: E731
    flow_map = fm.maps.SolverFlowMap(stiff, method=Rodas5P(), rtol=1e-8, atol=1e-8)
    x = torch.ones(2, 1)
    end = flow_map(0.0, 1.0, x)
    assert (end - math.cos(1.0)).abs().max() < 1e-4
    rate = fm.calculus.time_derivative(flow_map, 0.0, 1.0, x)
    assert (rate + math.sin(1.0)).abs().max() < 1e-2


# ---------------------------------------------------------------------------- bad input


def test_a_method_without_an_error_estimate_needs_steps() -> None:
    with pytest.raises(ValueError, match="LinearlyImplicitEuler has no error estimate"):
        solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), method=LinearlyImplicitEuler())


def test_a_field_that_mixes_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="condition"):
        solve(lambda t, x: x - x.mean(0), 0.0, 1.0, torch.randn(3, 2), method=Rodas5P())


def test_wrong_outputs_and_types_are_refused() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="shape"):
        solve(lambda t, x: x[:, :2], 0.0, 1.0, x, method=Rodas5P())
    with pytest.raises(TypeError, match="method must be a method object"):
        solve(lambda t, x: x, 0.0, 1.0, x, method=Rodas5P)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="floating"):
        solve(lambda t, x: x, 0.0, 1.0, x.long(), method=Rodas5P())

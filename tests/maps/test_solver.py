"""SolverFlowMap: fields that are refused, failures of samples, the solution behind the map."""

import pytest
import torch
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps
CAPTURED = torch.tensor([[1.0], [2.0], [3.0]])


def captures(t: Tensor, x: Tensor) -> Tensor:
    return CAPTURED.to(x) * x


def misreads_time(t: Tensor, x: Tensor) -> Tensor:
    """Right for one sample, a shape error for two of three components, wrong for three of three."""
    return t * x


def mixes(t: Tensor, x: Tensor) -> Tensor:
    return x - x.mean(0)


def crosses(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    return x * condition.sum()


def forgets_the_batch(t: Tensor, x: Tensor) -> Tensor:
    return x.sum(0)


WRONG = {f.__name__: f for f in (captures, misreads_time, mixes, crosses, forgets_the_batch)}


class Zero(torch.nn.Module):
    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
        return 0 * x


def solver(field: object) -> M.SolverFlowMap:
    return M.SolverFlowMap(field, method=fm.solvers.RK4(), steps=1)


def second_order(field: object) -> M.NeuralFlowMap:
    return M.NeuralFlowMap(Zero(), M.SecondOrder(field))


DOORS = {
    "the map": lambda f, x, *c: solver(f)(0.0, 1.0, x, *c),
    "tensor times": lambda f, x, *c: solver(f)(torch.zeros(3), torch.ones(3), x, *c),
    "s = t": lambda f, x, *c: solver(f)(0.5, 0.5, x, *c),
    "adaptive": lambda f, x, *c: M.SolverFlowMap(f)(0.0, 1.0, x, *c),
    "solve": lambda f, x, *c: solver(f).solve(0.0, 1.0, x, *c),
    "along": lambda f, x, *c: solver(f).along(0.0, [0.5, 1.0], x, *c),
    "velocity": lambda f, x, *c: solver(f).velocity(0.5, x, *c),
    "jvp": lambda f, x, *c: C.time_derivative(solver(f), 0.0, 1.0, x, *c),
    "jvp in x": lambda f, x, *c: C.directional(solver(f), 0.0, 1.0, x, x, *c),
    "second order": lambda f, x, *c: second_order(f)(0.0, 1.0, x, *c),
    "second order velocity": lambda f, x, *c: second_order(f).velocity(0.5, x, *c),
    "through": lambda f, x, *c: solver(f).through([0.5])(0.0, 1.0, x, *c),
    "transition": lambda f, x, *c: solver(f).between(0.0, 1.0)(x, *c),
    "residual": lambda f, x, *c: fm.residuals.identity(solver(f), 0.5, x, *c),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", WRONG)
def test_a_field_that_is_not_per_sample_is_refused_with_the_cure(door: str, name: str) -> None:
    """Three samples of three components, where a misread t broadcasts without an error."""
    condition = (torch.ones(3, 1),) if name == "crosses" else ()
    x = torch.arange(1.0, 10.0).reshape(3, 3)
    with pytest.raises(ValueError, match=r"condition=.*t\[:, None\]"):
        DOORS[door](WRONG[name], x, *condition)


@pytest.mark.parametrize("door", DOORS)
def test_the_cure_works(door: str) -> None:
    def field(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        return condition * x * t[:, None]

    DOORS[door](field, torch.ones(3, 3), CAPTURED.to(torch.float64))
    DOORS[door](fm.fields.per_sample(lambda t, x, c: t * c * x), torch.ones(3, 3), torch.ones(3, 1))


def test_a_probe_asked_once_for_every_kind_of_state() -> None:
    calls = []

    def field(t: Tensor, x: Tensor, *condition: Tensor) -> Tensor:
        calls.append(len(x))
        return -x

    flow = M.SolverFlowMap(field, method=fm.solvers.Euler(), steps=1)
    flow(0.0, 1.0, torch.ones(5, 2))
    first = len(calls)
    calls.clear()
    flow(0.0, 1.0, torch.ones(5, 2))
    again = len(calls)
    assert first > again == calls.count(5)
    flow(0.0, 1.0, torch.ones(0, 3))
    calls.clear()
    flow(0.0, 1.0, torch.ones(5, 3))
    assert calls.count(1) > 0  # the empty batch told nothing


def test_the_probe_leaves_full_checking_and_domains_alone() -> None:
    """It asks a field at times of its own choosing; one that refuses them is not to blame."""

    def table(t: Tensor, x: Tensor) -> Tensor:
        if bool(((t < 10) | (t > 11)).any()):
            raise RuntimeError("no data")
        return x

    for field in (table, M.ExactFlowMap(lambda s, t, x: x, M.TimeSet(10.0, 11.0)).velocity):
        flow = M.SolverFlowMap(field, method=fm.solvers.RK4(), steps=1)
        with fm.checking("full"):
            for time in (10.0, 11.0):
                flow.velocity(time, torch.ones(3, 2))
            flow(10.0, 11.0, torch.ones(3, 1))


def test_failed_samples_are_nan_alone_and_named() -> None:
    """x' = x^2 blows up at 1/x: sample 1 before the end, the others not."""
    x = torch.tensor([[0.5], [2.0], [-1.0]])
    with pytest.raises(fm.errors.SolveError, match=r"samples \[1\]"):
        M.SolverFlowMap(lambda t, x: x**2, max_steps=40)(0.0, 1.0, x)
    flow = M.SolverFlowMap(lambda t, x: x**2, throw=False, rtol=1e-8, atol=1e-8, max_steps=60)
    exact = x / (1 - x)
    y = flow(0.0, 1.0, x.requires_grad_())
    assert y.isnan().flatten().tolist() == [False, True, False]
    torch.testing.assert_close(y[[0, 2]], exact[[0, 2]], rtol=1e-6, atol=0.0)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isnan().flatten().tolist() == [False, True, False]
    torch.testing.assert_close(gradient[[0, 2]], (1 / (1 - x) ** 2)[[0, 2]], rtol=1e-6, atol=0.0)
    for tangent in (C.time_derivative, C.start_derivative):
        moved = tangent(flow, 0.0, 1.0, x.detach())
        assert moved.isnan().flatten().tolist() == [False, True, False]
    solution = flow.solve(0.0, 1.0, x.detach())
    assert solution.success.tolist() == [True, False, True]


def test_half_precision_states_are_taken_and_complex_ones_refused() -> None:
    flow = M.SolverFlowMap(lambda t, x: -x)
    end = flow(0.0, 1.0, torch.ones(1, 1, dtype=torch.bfloat16))
    assert end.dtype == torch.bfloat16 and abs(end.item() - 0.3679) < 2e-3
    with pytest.raises(TypeError, match="view_as_real"):
        flow(0.0, 1.0, torch.ones(1, 1, dtype=torch.complex64))


def test_adaptive_steps_leave_one_graph_with_the_reason() -> None:
    flow = M.SolverFlowMap(lambda t, x: -x)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="adaptive steps depend on the data"):
        torch.compile(flow, backend="aot_eager", fullgraph=True)(0.0, 1.0, torch.ones(1, 1))

"""A sample never feels a piece of a map, or a step, that it does not enter."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps


def wide(a: Tensor) -> Tensor:
    return a[:, None]


def growth(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(wide(t - s))


def root(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The flow of x' = sqrt(x): no state below 0, no derivative at 0."""
    return (torch.sqrt(x) + wide(t - s) / 2) ** 2


EARLY = {
    "exact": lambda: M.ExactFlowMap(growth),
    "solver": lambda: M.SolverFlowMap(lambda t, x: x),
}
LATE = {
    "exact": lambda: M.ExactFlowMap(root),
    "solver": lambda: M.SolverFlowMap(lambda t, x: torch.sqrt(x)),
    "steps": lambda: M.SolverFlowMap(lambda t, x: torch.sqrt(x), method=fm.solvers.RK4(), steps=3),
}


def call(flow: Callable, s: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """Value, gradient and tangent."""
    x = x.clone().requires_grad_()
    y = flow(s, t, x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), gradient, C.directional(flow, s, t, x.detach(), torch.ones_like(x))


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("early", EARLY)
def test_samples_that_stay_out_are_as_alone(early: str, late: str) -> None:
    flow = M.Piecewise([EARLY[early](), LATE[late]()], [1.0])
    s = torch.tensor([0.0, 0.0, 0.25, 0.5])
    t = torch.tensor([0.5, 2.0, 0.25, 1.5])
    x = torch.tensor([[-1.0], [1.0], [0.0], [2.0]])
    together = call(flow, s, t, x)
    for k in range(4):
        alone = call(flow, s[k : k + 1], t[k : k + 1], x[k : k + 1])
        for a, b in zip(together, alone, strict=True):
            assert torch.isfinite(a[k]).all()
            torch.testing.assert_close(a[k : k + 1], b, rtol=1e-12, atol=0.0)
    times = torch.tensor([0.5, 2.0, 0.0, 1.0])
    velocity = flow.velocity(times, x.requires_grad_())
    (gradient,) = torch.autograd.grad(velocity.sum(), x)
    torch.testing.assert_close(
        velocity, torch.where(wide(times) < 1, x, torch.sqrt(x.detach().clamp(min=0)))
    )
    assert torch.isfinite(gradient).all()


@given(
    times=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_conditions_and_times_go_with_their_samples(times: list, seed: int) -> None:
    """A sample alone, whichever pieces the others enter; conditions take part."""

    def scaled(by: float) -> M.FlowMap:
        return M.ExactFlowMap(lambda s, t, x, c: x * torch.exp(by * c["rate"] * wide(t - s)))

    flow = M.Piecewise([scaled(1.0), scaled(-2.0), scaled(0.5)], [1.0, 2.0])
    s, t = (torch.tensor(a) for a in zip(*times, strict=True))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(s), 2, generator=generator)
    condition = {"rate": torch.rand(len(s), 1, generator=generator), "none": None}
    y = flow(s, t, x, condition)
    slope = C.time_derivative(flow, s, t, x, condition)
    vmapped = torch.func.vmap(
        lambda s, t, x, r: flow(s, t, x[None], {"rate": r[None], "none": None})[0]
    )(s, t, x, condition["rate"])
    torch.testing.assert_close(vmapped, y)
    for k in range(len(s)):
        own = slice(k, k + 1)
        alone = {"rate": condition["rate"][own], "none": None}
        torch.testing.assert_close(flow(*times[k], x[own], alone), y[own])
        torch.testing.assert_close(C.time_derivative(flow, *times[k], x[own], alone), slope[own])


def test_a_compiled_call_keeps_finite_gradients() -> None:
    flow = M.Piecewise([EARLY["exact"](), LATE["exact"]()], [1.0])
    compiled = torch.compile(flow, backend="aot_eager", fullgraph=True)
    for ends in ([0.5, 2.0], [0.5, 0.75]):  # also where nobody enters the second piece
        x = torch.tensor([[-1.0], [1.0]], requires_grad=True)
        y = compiled(torch.zeros(2), torch.tensor(ends), x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(y, flow(torch.zeros(2), torch.tensor(ends), x))
        assert torch.isfinite(gradient).all()


def test_a_long_map_leaves_finished_samples_alone() -> None:
    """Sample 0 rests at 0, where x' = sqrt(x) has no derivative."""
    flow = M.Autonomous(M.ExactFlowMap(root), 0.5)
    x = torch.tensor([[0.0], [1.0]], requires_grad=True)
    y = flow(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([[4.0], [1.0]]))
    torch.testing.assert_close(y, torch.tensor([[6.25], [4.0]]))
    y = flow(torch.zeros(2), torch.tensor([0.25, 2.0]), x * 1.0 + torch.tensor([[1e-3], [0.0]]))
    assert torch.isfinite(torch.autograd.grad(y.sum(), x)[0]).all()


# ---------------------------------------------------------------------------- spans of zero


@pytest.mark.parametrize(
    "options", [{}, {"method": fm.solvers.RK4(), "steps": 2}, {"method": fm.solvers.TorchDiffEq()}]
)
def test_no_time_is_the_identity_wherever_the_state_is_finite(options: dict) -> None:
    """The field infinite, undefined, or without derivative at the sample that rests."""
    for field in (lambda t, x: 1 / x, lambda t, x: torch.sqrt(x), lambda t, x: torch.log(x - 1)):
        for start in (0.0, -1.0, 1.0):
            for t in (torch.zeros(2), torch.tensor([0.0, 0.1])):
                if t.any() and "steps" not in options and options:
                    continue  # one sample fails all in torchdiffeq
                x = torch.tensor([[start], [3.0]], requires_grad=True)
                solution = fm.solvers.solve(field, 0.0, t, x, throw=False, **options)
                assert solution.result.tolist() == [0, 0]
                assert solution.x[0].item() == start
                weights = torch.tensor([[1.0], [0.0]])
                (gradient,) = torch.autograd.grad((weights * solution.x).sum(), x)
                torch.testing.assert_close(gradient, weights)
    flow = M.SolverFlowMap(lambda t, x: 1 / x, **options)
    assert flow(0.0, 0.0, torch.zeros(1, 1)).item() == 0.0
    solution = fm.solvers.solve(
        lambda t, x: -x, 1.0, 1.0, torch.tensor([[torch.nan]]), throw=False, **options
    )
    assert solution.result.item() != 0


def test_a_resting_sample_still_knows_its_velocity() -> None:
    for options in ({}, {"method": fm.solvers.RK4(), "steps": 2}):
        flow = M.SolverFlowMap(lambda t, x: wide(t) * x**2, derivatives="independent", **options)
        s = torch.tensor([0.5, 1.0])
        x = torch.tensor([[1.0], [3.0]])
        slope = lambda x: C.time_derivative(flow, s, s, x)  # noqa: E731, B023
        torch.testing.assert_close(slope(x), wide(s) * x**2)
        second = torch.func.jvp(slope, (x,), (torch.ones_like(x),))[1]
        torch.testing.assert_close(second, 2 * wide(s) * x)

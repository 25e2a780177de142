"""Derivatives of flow maps against the variational equation, closed forms and each other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flowmaps as fm

C = fm.calculus
SMOOTH = [n for n in fm.problems.names() if not fm.problems.get(n).stiff]


def start(name: str, span: float = 0.1) -> tuple[fm.problems.Problem, Tensor, Tensor, Tensor]:
    """A problem of the zoo with states and times, one sample forwards and one backwards."""
    problem = fm.problems.get(name)
    x = problem.domain.sample(2, torch.Generator().manual_seed(0))
    lower, upper = problem.times
    length = min(span, 0.5 * (upper - lower), 0.003 * (upper - lower) + 0.02)
    s = torch.tensor([lower + 0.1 * length, lower + length])
    return problem, s, s + torch.tensor([length, -0.8 * length]), x


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    size = 1 + expected.abs().max().item()
    torch.testing.assert_close(got, expected, rtol=0.0, atol=tolerance * size)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_variational_equation(name: str) -> None:
    """Jacobian, and from it the derivative in s, by DOP853 with SymPy's Jacobian of the field."""
    problem, s, t, x = start(name)
    expected = problem.variational_reference(s, t, x)
    y = problem.reference(s, t, x)
    maps = [fm.maps.SolverFlowMap(problem.field, rtol=3e-9, atol=3e-9)]
    if isinstance(problem, fm.problems.ExactProblem):
        maps.append(problem.flow_map())
    for flow in maps:
        close(flow(s, t, x), y, 1e-7)
        close(C.jacobian(flow, s, t, x), expected, 1e-6)
        transported = -(expected @ problem.field(s, x)[:, :, None])[:, :, 0]
        close(C.start_derivative(flow, s, t, x), transported, 1e-6)
        close(C.time_derivative(flow, s, t, x), problem.field(t, y), 1e-6)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
@pytest.mark.parametrize("derivative", [C.time_derivative, C.start_derivative])
def test_by_relation_agrees_with_independent(tolerance: float, derivative: Callable) -> None:
    problem, s, t, x = start("van_der_pol")
    by_relation = fm.maps.SolverFlowMap(problem.field, rtol=tolerance, atol=tolerance)
    independent = fm.maps.SolverFlowMap(
        problem.field, rtol=tolerance, atol=tolerance, derivatives="independent"
    )
    close(derivative(by_relation, s, t, x), derivative(independent, s, t, x), 100 * tolerance)
    with fm.maps.independent_derivatives():
        switched = derivative(by_relation, s, t, x)
    assert torch.equal(switched, derivative(independent, s, t, x))
    assert (by_relation.derivatives, independent.derivatives) == ("by relation", "independent")


def nth(function: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], Tensor]:
    """The order-th derivative of a function of times (batch,), by nested forward mode."""
    for _ in range(order):
        function = _derived(function)
    return function


def _derived(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda r: torch.func.jvp(function, (r,), (torch.ones_like(r),))[1]


@pytest.mark.parametrize("along", [(1.0, 0.0), (0.3, -1.0), (1.0, 1.0)])
def test_time_derivatives_by_relation_are_exact_to_the_fourth(along: tuple[float, float]) -> None:
    """In s, across s and t, and along the diagonal, on dx/dt = (1 + sin 3t) x."""

    def field(t: Tensor, x: Tensor) -> Tensor:
        return (1 + torch.sin(3 * t))[:, None] * x

    def exact(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * torch.exp(t - torch.cos(3 * t) / 3 - s + torch.cos(3 * s) / 3)[:, None]

    flow = fm.maps.SolverFlowMap(field, method=fm.solvers.Dopri5(), steps=4)
    s, t, x = torch.tensor([0.2, 0.9]), torch.tensor([0.3, 0.9]), torch.tensor([[1.0], [-2.0]])
    for order in (2, 4):
        got, expected = (
            nth(lambda r, f=f: f(s + along[0] * r, t + along[1] * r, x), order)(torch.zeros(2))
            for f in (flow, exact)
        )
        close(got, expected, 1e-7)


def test_reverse_mode_in_the_times_is_by_relation_too() -> None:
    problem, s, t, x = start("lorenz63", 0.2)
    coarse = fm.maps.SolverFlowMap(problem.field, method=fm.solvers.RK4(), steps=1)
    s, t = s.requires_grad_(), t.requires_grad_()
    y = coarse(s, t, x)
    ds, dt = torch.autograd.grad(y.sum(), (s, t))
    close(dt, problem.field(t, y).sum(1).detach(), 1e-12)
    moved = C.directional(coarse, s.detach(), t.detach(), x, problem.field(s, x).detach())
    close(ds, -moved.sum(1), 1e-12)


def test_values_do_not_depend_on_who_differentiates() -> None:
    """The steps of length zero at both ends leave the value as it is, but for rounding."""
    problem, s, t, x = start("damped_pendulum")
    flow = fm.maps.SolverFlowMap(problem.field, rtol=1e-3, atol=1e-3)
    plain = flow(s, t, x)
    close(C.jvp(flow, s, t, x, ds=1.0, dt=1.0)[0], plain, 1e-14)
    close(flow(s.clone().requires_grad_(), t, x).detach(), plain, 1e-14)


def test_derivatives_in_what_the_field_holds() -> None:
    """Parameters of a field that is a module, through adaptive and fixed steps, at second order."""

    class Decay(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(0.7))

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -self.rate * x

    x = torch.ones(1, 1)
    for options in ({"rtol": 1e-10, "atol": 1e-10}, {"method": fm.solvers.RK4(), "steps": 40}):
        flow = fm.maps.SolverFlowMap(Decay(), **options)
        (rate,) = flow.parameters()
        (first,) = torch.autograd.grad(flow(0.0, 2.0, x).sum(), rate, create_graph=True)
        (second,) = torch.autograd.grad(first, rate)
        value = torch.exp(-2 * rate.detach())
        close(first.detach(), -2 * value, 1e-7)
        close(second, 4 * value, 1e-7)

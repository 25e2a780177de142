"""However maps of one flow are nested, the result is that flow."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps


def turn(s: Tensor, t: Tensor, x: Tensor, speed: Tensor) -> Tensor:
    """Rotation at a speed of each sample's own: the condition."""
    angle = speed * (t - s)[:, None]
    a, b = x.split(1, dim=1)
    return torch.cat([angle.cos() * a - angle.sin() * b, angle.sin() * a + angle.cos() * b], dim=1)


def spinning(t: Tensor, x: Tensor, speed: Tensor) -> Tensor:
    return speed * torch.stack([-x[:, 1], x[:, 0]], dim=1)


EXACT = M.ExactFlowMap(turn)
STEPS = M.SolverFlowMap(spinning, method=fm.solvers.Dopri5(), steps=4)
SHRINK, GROW = M.Affine([1.0, -2.0], 0.5), M.Affine([-2.0, 4.0], 2.0)
times = st.floats(-0.5, 0.5)
grids = st.lists(times, min_size=1, max_size=2, unique=True).map(sorted)


def nested(inner: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
    return st.one_of(
        st.tuples(st.just("through"), inner, grids),
        st.tuples(st.just("there and back"), inner),
        st.tuples(st.just("piecewise"), st.tuples(inner, inner), st.tuples(times)),
        st.tuples(st.just("autonomous"), inner, st.sampled_from([0.3, 0.7])),
    )


trees = st.recursive(st.sampled_from([("exact",), ("steps",)]), nested, max_leaves=3)


def build(tree: tuple) -> M.FlowMap:
    match tree:
        case ("through", inner, grid):
            return build(inner).through(grid)
        case ("there and back", inner):
            return M.Conjugated(M.Conjugated(build(inner), SHRINK), GROW)
        case ("piecewise", inner, breaks):
            return M.Piecewise([build(part) for part in inner], breaks)
        case ("autonomous", inner, span):
            return M.Autonomous(build(inner), span)
        case (name,):
            return {"exact": EXACT, "steps": STEPS}[name]
    raise AssertionError(tree)


@settings(max_examples=15)
@given(tree=trees, ends=st.lists(times, min_size=6, max_size=6), seed=st.integers(0, 1000))
def test_any_nesting_is_the_flow(tree: tuple, ends: list[float], seed: int) -> None:
    """Value, derivatives in everything at once, velocity, path, and the way back."""
    flow = build(tree)
    generator = torch.Generator().manual_seed(seed)
    s, t = torch.tensor(ends[:3]), torch.tensor(ends[3:])
    x, dx = torch.randn(2, 3, 2, generator=generator)
    speed = torch.tensor([[0.5], [1.0], [-1.5]])

    def close(got: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)

    directions = {"ds": s + 1, "dt": t - 2, "dx": dx, "dcondition": speed.cos()}
    for got, expected in zip(
        C.jvp(flow, s, t, x, condition=speed, **directions),
        C.jvp(turn, s, t, x, condition=speed, **directions),
        strict=True,
    ):
        close(got, expected)
    close(flow.velocity(t, x, speed), spinning(t, x, speed))
    close(flow.along(s, torch.stack([t, s]), x, speed)[0], turn(s, t, x, speed))
    alone = flow(ends[0], ends[3], x[:1], speed[:1])
    close(alone, turn(s[:1], t[:1], x[:1], speed[:1]))
    leg = flow.between(s, t)
    close((leg.inverse() @ leg)(x, speed), x)
    assert leg.evaluations >= 1


@pytest.mark.parametrize("order", ["vmap of jvp", "hessian", "jvp of vjp"])
def test_nested_maps_under_nested_transforms(order: str) -> None:
    """One sample at a time, against the whole batch at once or differences."""
    flow = M.Autonomous(M.Piecewise([EXACT, STEPS], [0.3]).through([0.1]), 0.5)
    s, t = torch.tensor([-0.7, 0.4]), torch.tensor([0.9, -0.2])
    x, speed = torch.tensor([[1.0, 0.5], [-0.3, 2.0]]), torch.tensor([[0.5], [-1.5]])

    def single(t: Tensor, s: Tensor, x: Tensor, c: Tensor) -> Tensor:
        return flow(s, t, x[None], c[None])[0].square()[0]

    def slope(t: Tensor, s: Tensor, x: Tensor, c: Tensor) -> Tensor:
        return torch.func.jvp(lambda t: single(t, s, x, c), (t,), (torch.ones(()),))[1]

    arguments = (t, s, x, speed)
    if order == "vmap of jvp":
        got = torch.func.vmap(slope)(*arguments)
        derivative = C.time_derivative(flow, s, t, x, speed)
        expected = 2 * flow(s, t, x, speed)[:, 0] * derivative[:, 0]
    else:
        transform = torch.func.hessian(single)
        if order == "jvp of vjp":
            transform = torch.func.jacfwd(torch.func.grad(single))
        got = torch.func.vmap(transform)(*arguments)
        expected = torch.stack(
            [
                (slope(a + 1e-5, *rest) - slope(a - 1e-5, *rest)) / 2e-5
                for a, *rest in zip(*arguments, strict=True)
            ]
        )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)

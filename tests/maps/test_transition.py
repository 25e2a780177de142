"""Transition maps: composition where times meet, inverses by the map and by Newton's method."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps
PENDULUM = fm.problems.get("damped_pendulum").field


def growth() -> M.ExactFlowMap:
    return M.ExactFlowMap(lambda s, t, x: x * torch.exp(t * t - s * s)[:, None])


# ---------------------------------------------------------------------------- composition


def test_parts_and_evaluations() -> None:
    flow = growth()
    whole = flow.between(1.0, 2.0) @ flow.between(0.5, 1.0) @ flow.through([0.2]).between(0.0, 0.5)
    assert [(part.s, part.t) for part in whole.parts] == [(0.0, 0.5), (0.5, 1.0), (1.0, 2.0)]
    assert (whole.s, whole.t, whole.evaluations) == (0.0, 2.0, 4)
    x = torch.ones(3, 2)
    torch.testing.assert_close(whole(x), flow(0.0, 2.0, x))
    nested = flow.between(1.0, 2.0) @ (flow.between(0.5, 1.0) @ flow.between(0.0, 0.5))
    assert len(nested.parts) == 3
    assert (nested.inverse().s, nested.inverse().t) == (2.0, 0.0)
    torch.testing.assert_close(nested.inverse()(nested(x)), x)
    assert nested.inverse().inverse().parts[0].s == 0.0


@pytest.mark.parametrize(
    ("end", "start"),
    [
        (0.1 + 0.2, 0.3),
        (torch.tensor(0.1) + torch.tensor(0.2), 0.3),
        (torch.tensor(0.1, dtype=torch.float32) + torch.tensor(0.2, dtype=torch.float32), 0.3),
        (torch.full((2,), 0.3, dtype=torch.float32), 0.1 + 0.2),
        (torch.full((2,), 0.3), torch.full((2,), 0.3, dtype=torch.float32)),
        (1, torch.tensor(1)),
        (3e-9 * 0.1, 3e-10),
    ],
)
def test_times_meet_within_rounding(end: object, start: object) -> None:
    flow = growth()
    assert len((flow.between(start, 2.0) @ flow.between(0.0, end)).parts) == 2
    assert len((flow.between(end, 2.0) @ flow.between(0.0, start)).parts) == 2


@pytest.mark.parametrize(
    ("end", "start"),
    [
        (0.3, 0.30001),
        (0.3, 0.3 + 1e-12),
        (torch.tensor(0.3, dtype=torch.float32), 0.30001),
        (torch.tensor([0.3, 0.3]), torch.tensor([0.3, 0.4])),
        (torch.tensor([0.3, 0.3]), torch.tensor([0.3, 0.3, 0.3])),
        (torch.tensor(float("nan")), 0.3),
        (1e-9, 2e-9),
    ],
)
def test_times_that_do_not_meet_are_refused(end: object, start: object) -> None:
    flow = growth()
    with pytest.raises(ValueError, match="times must meet"):
        flow.between(start, start) @ flow.between(0.0, end)


@given(times=st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_any_way_through_time_is_the_flow(times: list[float]) -> None:
    flow = growth()
    chain = M.Chain([flow.between(a, b) for a, b in zip(times[:-1], times[1:], strict=True)])
    x = torch.ones(1, 1)
    torch.testing.assert_close(chain(x), flow(times[0], times[-1], x), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(chain.inverse()(chain(x)), x, rtol=1e-12, atol=0.0)


def test_times_of_a_leg_may_differ_between_samples_and_carry_derivatives() -> None:
    t = torch.tensor([0.5, 1.0], requires_grad=True)
    leg = growth().between(torch.tensor([0.0, 0.3]), t)
    assert leg.evaluations == 1
    leg(torch.ones(2, 1)).sum().backward()
    expected = 2 * t.detach() * torch.exp(t.detach() ** 2 - torch.tensor([0.0, 0.09]))
    torch.testing.assert_close(t.grad, expected)
    composed = growth().between(t.detach(), 2.0) @ leg
    torch.testing.assert_close(
        composed(torch.ones(2, 1)).detach(), growth()(leg.s, 2.0, torch.ones(2, 1))
    )


def test_a_composition_is_a_module_that_compiles() -> None:
    whole = growth().between(0.5, 1.0) @ growth().between(0.0, 0.5)
    x = torch.ones(2, 2)
    compiled = torch.compile(whole, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), whole(x))
    assert "s=0.0, t=0.5" in repr(whole)


def test_an_inverse_that_was_not_trained_is_refused_at_once() -> None:
    times = M.TimeSet(0.0, 1.0, backward=False)
    leg = M.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None], times).between(0.0, 1.0)
    with pytest.raises(fm.errors.UntrainedTimes):
        leg.inverse()
    x = torch.ones(1, 1)
    torch.testing.assert_close(leg.inverse("newton")(leg(x)), x)


# ---------------------------------------------------------------------------- Newton's method


@pytest.mark.parametrize("event", [(), (2,), (1, 2)])
@pytest.mark.parametrize("batch", [0, 1, 4])
def test_newton_inverts_every_event_shape(
    event: tuple[int, ...], batch: int, default_dtype: torch.dtype
) -> None:
    flow = M.ExactFlowMap(lambda s, t, x: x + (t - s).reshape(-1, *[1] * len(event)) * x.sin() / 2)
    x = torch.linspace(-2.0, 2.0, batch * 2).reshape(batch, 2)[:, : 2 if event else 1]
    x = x.reshape(batch, *event)
    y = flow.between(0.0, 1.0)(x)
    back = flow.between(0.0, 1.0).inverse("newton")(y)
    assert back.shape == x.shape and back.dtype == default_dtype
    torch.testing.assert_close(back, x, rtol=0.0, atol=100 * torch.finfo(default_dtype).eps)


def test_newton_agrees_with_the_map_backwards_and_is_its_own_way_back() -> None:
    flow = M.SolverFlowMap(PENDULUM, method=fm.solvers.Dopri5(), steps=12)
    x = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.1, 3.0]])
    leg = flow.between(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.2, 1.7]))
    newton = leg.inverse("newton")
    assert torch.equal(newton.s, leg.t) and torch.equal(newton.t, leg.s)
    torch.testing.assert_close(newton(x), leg.inverse()(x), rtol=0.0, atol=1e-5)
    assert newton.inverse() is leg
    assert newton.evaluations == 1
    whole = flow.between(1.0, 2.0) @ flow.between(0.0, 1.0)
    y = whole(x)
    torch.testing.assert_close(whole.inverse("newton")(y), x, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_newton_inverts_adaptive_steps_as_well_as_they_are_smooth(
    tolerance: float, default_dtype: torch.dtype
) -> None:
    leg = M.SolverFlowMap(PENDULUM, rtol=tolerance, atol=tolerance).between(0.0, 1.0)
    x = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.1, 3.0]])
    back = leg.inverse("newton")(leg(x))
    rough = 3 * tolerance if default_dtype == torch.float32 else 1e-9
    torch.testing.assert_close(back, x, rtol=0.0, atol=max(rough, 1e-5 * (rough > 1e-9)))


def test_newton_takes_a_condition_and_differentiates_in_it_three_times() -> None:
    flow = M.ExactFlowMap(lambda s, t, x, c: x * torch.exp(c * (t - s)[:, None]) + x**3 * c)
    newton = flow.between(0.0, 1.0).inverse("newton")
    y, c = torch.tensor([[0.7]]), torch.tensor([[0.3]])

    def root(c: Tensor) -> Tensor:
        return newton(y, c)

    def derived(function):  # noqa: ANN001, ANN202
        return lambda c: torch.func.jvp(function, (c,), (torch.ones_like(c),))[1]

    x = root(c)
    torch.testing.assert_close(flow(0.0, 1.0, x, c), y)
    third = derived(derived(derived(root)))
    second = derived(derived(root))
    difference = (second(c + 1e-5) - second(c - 1e-5)) / 2e-5
    torch.testing.assert_close(third(c), difference, rtol=1e-6, atol=1e-6)
    steps = 1e-3 * torch.tensor([-2.0, -1.0, 1.0, 2.0])
    values = [root(c + step) for step in steps]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / 12e-3
    torch.testing.assert_close(derived(root)(c), slope, rtol=1e-8, atol=1e-8)


def test_newton_names_the_samples_it_cannot_invert() -> None:
    """x -> x^2 + 1 never gives 0; a singular Jacobian is no reason to fail the other samples."""
    square = M.ExactFlowMap(lambda s, t, x: x**2 + 1, velocity=lambda t, x: 0 * x)
    newton = square.between(0.0, 1.0).inverse("newton")
    torch.testing.assert_close(newton(torch.tensor([[5.0]])), torch.tensor([[2.0]]))
    with pytest.raises(fm.errors.SolveError, match=r"did not invert samples \[1, 2\]"):
        newton(torch.tensor([[5.0], [0.0], [float("nan")]]))


def test_newton_is_refused_by_one_graph_with_the_reason() -> None:
    newton = growth().between(0.0, 1.0).inverse("newton")
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"flowmaps\.maps: Newton's method"):
        torch.compile(newton, backend="aot_eager", fullgraph=True)(torch.ones(1, 1))

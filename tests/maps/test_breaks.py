"""Piecewise and Through: values by legs, derivatives at a break one-sided and inside the span."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps
BREAKS = [0.4, 1.0]
RATES = [1.0, -2.0, 3.0]

# Every way to stand at a break or cross one, in one batch.
PAIRS = [
    (0.0, 0.4), (0.4, 1.0), (0.2, 1.0), (1.0, 1.5), (0.4, 1.5), (1.5, 1.0), (1.0, 0.4),
    (1.5, 0.4), (0.4, 0.0), (1.0, 0.2), (0.2, 1.5), (1.5, 0.2), (0.5, 0.7), (0.7, 0.5), (0.1, 0.3),
    (1.0, 1.0), (0.4, 0.4), (0.7, 0.7),
]  # fmt: skip
S, T = torch.tensor(PAIRS, dtype=torch.float64).T
X = torch.linspace(1.0, 2.0, len(PAIRS), dtype=torch.float64)[:, None]


def growth(rate: float) -> M.ExactFlowMap:
    return M.ExactFlowMap(lambda s, t, x: x * torch.exp(rate * (t - s))[:, None])


def solved(rate: float, **options: object) -> M.SolverFlowMap:
    return M.SolverFlowMap(lambda t, x: rate * x, **options)


STEPS = {"method": fm.solvers.Dopri5(), "steps": 3}
EULER = M.SolverFlowMap(lambda t, x: torch.sin(3 * x), method=fm.solvers.Euler(), steps=1)
FLOWS = {
    "exact pieces": M.Piecewise([growth(r) for r in RATES], BREAKS),
    "solved pieces": M.Piecewise([solved(r, **STEPS) for r in RATES], BREAKS),
    "mixed pieces": M.Piecewise([growth(1.0), solved(-2.0, **STEPS), growth(3.0)], BREAKS),
    "independent": M.Piecewise(
        [solved(r, **STEPS, derivatives="independent") for r in RATES], BREAKS
    ),
    "through": EULER.through(BREAKS),
    "through pieces": M.Piecewise([growth(r) for r in RATES], BREAKS).through([0.2, 0.4, 0.9]),
    "pieces of through": M.Piecewise([growth(1.0).through([0.1]), growth(2.0)], [0.4]),
}


def one_sided(flow: M.FlowMap, which: int) -> Tensor:
    """Derivative of values in s (0) or t (1), differences taken inside the span; later at s = t."""
    away = torch.where(S == T, 1.0, (S - T).sign()) * (1 if which else -1)
    away = torch.where(S == T, 1.0, away)

    def value(k: int) -> Tensor:
        moved = 1e-4 * k * away
        return flow(S + (0 if which else 1) * moved, T + which * moved, X)

    forward = (-11 * value(0) + 18 * value(1) - 9 * value(2) + 2 * value(3)) / 6e-4
    return forward * away[:, None]


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("which", [0, 1], ids=["s", "t"])
def test_derivatives_at_breaks_are_one_sided_inside_the_span(name: str, which: int) -> None:
    flow, derivative = FLOWS[name], (C.start_derivative, C.time_derivative)[which]
    with M.independent_derivatives():
        expected = one_sided(flow, which)
        got = derivative(flow, S, T, X)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(reverse(flow)[which], got.sum(1), rtol=1e-12, atol=1e-12)
    if name not in ("through", "independent"):
        torch.testing.assert_close(derivative(flow, S, T, X), got, rtol=1e-4, atol=1e-4)


def reverse(flow: M.FlowMap) -> tuple[Tensor, ...]:
    s, t = S.clone().requires_grad_(), T.clone().requires_grad_()
    return torch.autograd.grad(flow(s, t, X).sum(), (s, t))


@pytest.mark.parametrize("name", FLOWS)
def test_numbers_batches_and_vmap_say_the_same(name: str) -> None:
    flow = FLOWS[name]
    y = flow(S, T, X)
    vmapped = torch.func.vmap(lambda s, t, x: flow(s, t, x[None])[0])
    torch.testing.assert_close(vmapped(S, T, X), y, rtol=1e-12, atol=0.0)
    slopes = C.time_derivative(flow, S, T, X)
    for k, (s, t) in enumerate(PAIRS):
        alone = slice(k, k + 1)
        torch.testing.assert_close(flow(s, t, X[alone]), y[alone], rtol=1e-12, atol=0.0)
        slope = C.time_derivative(flow, s, t, X[alone])
        torch.testing.assert_close(slope, slopes[alone], rtol=1e-12, atol=0.0)


def test_values_are_those_of_the_legs() -> None:
    def logarithm(t: Tensor) -> Tensor:
        return t.clamp(max=0.4) - 2 * (t.clamp(0.4, 1.0) - 0.4) + 3 * (t.clamp(min=1.0) - 1.0)

    expected = X * torch.exp(logarithm(T) - logarithm(S))[:, None]
    for name in ("exact pieces", "through pieces"):
        torch.testing.assert_close(FLOWS[name](S, T, X), expected, rtol=1e-12, atol=0.0)
    for name in ("solved pieces", "mixed pieces", "independent"):
        torch.testing.assert_close(FLOWS[name](S, T, X), expected, rtol=1e-4, atol=0.0)


def test_second_derivatives_at_breaks_are_one_sided_too() -> None:
    flow = FLOWS["solved pieces"]
    ones = torch.ones_like(T)
    got = torch.func.jvp(lambda t: C.time_derivative(flow, S, t, X), (T,), (ones,))[1]
    rates = torch.tensor(RATES, dtype=T.dtype)
    breaks = torch.tensor(BREAKS, dtype=T.dtype)
    forwards, backwards = (T[:, None] > breaks).sum(1), (T[:, None] >= breaks).sum(1)
    rate = rates[torch.where(T > S, forwards, backwards)]
    torch.testing.assert_close(got, rate[:, None] ** 2 * flow(S, T, X), rtol=1e-12, atol=0.0)


def test_velocity_at_a_break_is_that_of_the_later_map() -> None:
    flow = FLOWS["mixed pieces"]
    times = torch.tensor([0.0, 0.4, 0.7, 1.0, 2.0])
    rates = torch.tensor([1.0, -2.0, -2.0, 3.0, 3.0])[:, None]
    x = torch.ones(5, 1)
    torch.testing.assert_close(flow.velocity(times, x), rates)
    assert torch.equal(flow.velocity(times.float(), x), flow.velocity(times.float().double(), x))
    for time, rate in zip(times.tolist(), rates, strict=True):
        torch.testing.assert_close(flow.velocity(time, x), rate.expand(5, 1))
    with torch.inference_mode():  # selects; takes no derivative
        M.Piecewise([solved(1.0), solved(2.0)], [0.4]).velocity(times, x)


@given(s=st.floats(-1, 2), t=st.floats(-1, 2), grid=st.lists(st.floats(-1, 2), unique=True))
def test_going_by_way_of_a_grid_changes_no_flow(s: float, t: float, grid: list[float]) -> None:
    flow = growth(1.5)
    coarse = flow.through(sorted({*grid, 0.123}))
    x = torch.ones(1, 1)
    torch.testing.assert_close(coarse(s, t, x), flow(s, t, x), rtol=1e-12, atol=0.0)
    between = [g for g in {*grid, 0.123} if min(s, t) < g < max(s, t)]
    assert coarse.evaluations(s, t) == 1 + len(between)


def test_a_grid_beyond_the_trained_times_does_nothing() -> None:
    """Also in compiled code, which visits every leg: no NaN gradient from the ones outside."""
    times = M.TimeSet(0.0, 1.0, backward=False)
    flow = M.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None], times)
    coarse = flow.through([-1.0, 0.0, 0.5, 1.0, 2.0])
    s, t = torch.tensor([0.0, 0.6]), torch.tensor([1.0, 0.7])
    x = torch.ones(2, 1, requires_grad=True)
    compiled = torch.compile(coarse, backend="aot_eager", fullgraph=True)
    for function in (coarse, compiled):
        (gradient,) = torch.autograd.grad(function(s, t, x).sum(), x)
        torch.testing.assert_close(gradient, torch.exp(t - s)[:, None])
    assert coarse.evaluations(0.0, 1.0) == 2


def test_one_direction_within_rounding_of_the_other_keeps_its_derivative() -> None:
    """t is below s by a rounding error; a forward-only map still knows its velocity there."""
    times = M.TimeSet(0.0, 1.0, backward=False)
    flow = M.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None], times)
    for base in (0.25, 0.5, 0.75):
        s, t = torch.tensor([base]), torch.tensor([base - 1e-12])
        for way in (flow.through([0.5]), M.Piecewise([flow, flow], [0.5])):
            torch.testing.assert_close(
                C.time_derivative(way, s, t, torch.ones(1, 1)), torch.ones(1, 1)
            )


def test_untrained_times_stay_untrained() -> None:
    early = M.ExactFlowMap(lambda s, t, x: x, M.TimeSet(0.0, 1.0, backward=False))
    late = M.ExactFlowMap(lambda s, t, x: x, M.TimeSet(1.0, 3.0, backward=False))
    flow = M.Piecewise([early, late], [1.0])
    assert flow.times == M.TimeSet(0.0, 3.0, backward=False)
    for s, t in ((-0.5, 1.0), (0.5, 3.5), (2.0, 0.5)):
        with pytest.raises(fm.errors.UntrainedTimes):
            flow(s, t, torch.ones(1, 1))
    s, t = torch.tensor([-0.5, 0.5, 2.0, 0.5]), torch.tensor([1.0, 3.5, 0.5, 2.0])
    assert flow(s, t, torch.ones(4, 1)).isnan().flatten().tolist() == [True, True, True, False]


def test_pieces_must_reach_their_breaks() -> None:
    early = M.ExactFlowMap(lambda s, t, x: x, M.TimeSet(0.0, 0.9))
    with pytest.raises(ValueError, match="map 0 is for times in"):
        M.Piecewise([early, growth(1.0)], [1.0])


def test_derivatives_names_what_is_inside() -> None:
    assert FLOWS["exact pieces"].derivatives == "independent"
    assert FLOWS["mixed pieces"].derivatives == "by relation"
    assert FLOWS["independent"].derivatives == "independent"
    assert EULER.through(BREAKS).derivatives == "by relation"
    assert M.Autonomous(M.Conjugated(EULER, M.Affine(0.0, 2.0)), 1.0).derivatives == "by relation"


def test_breaks_in_single_precision_meet_times_in_single_precision() -> None:
    """0.4 in float32 is not 0.4: a sample there has passed the break by 6e-9, and no more."""
    flow = FLOWS["exact pieces"]
    x = torch.ones(1, 1, dtype=torch.float32)
    y = flow(torch.tensor([0.0]), torch.tensor([0.4], dtype=torch.float32), x)
    torch.testing.assert_close(y, flow(0.0, 0.4, x), rtol=1e-6, atol=0.0)

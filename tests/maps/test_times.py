"""Trained times: numbers outside raise, tensors give NaN in those samples alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.errors import UntrainedTimes

C, M = fm.calculus, fm.maps
TIMES = M.TimeSet(0.0, 1.0, backward=False, max_span=0.75)


def growth(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(t - s)[:, None]


def flow(times: M.TimeSet = TIMES) -> M.ExactFlowMap:
    return M.ExactFlowMap(growth, times)


# allowed, start too early, end too late, backwards, too long, allowed
S = torch.tensor([0.0, -0.1, 0.5, 0.6, 0.0, 0.25], dtype=torch.float64)
T = torch.tensor([0.5, 0.5, 1.1, 0.2, 0.8, 1.00], dtype=torch.float64)
ALLOWED = torch.tensor([True, False, False, False, False, True])


def wrapped() -> dict[str, M.FlowMap]:
    class Half(torch.nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
            return x / 2

    solver = M.SolverFlowMap(lambda t, x: x, method=fm.solvers.RK4(), steps=2, times=TIMES)
    return {
        "exact": flow(),
        "neural": M.NeuralFlowMap(Half(), times=TIMES),
        "solver": solver,
        "conjugated": M.Conjugated(flow(), M.Affine(0.0, 2.0)),
        "piecewise": M.Piecewise([flow(), flow()], [0.5]),
        "through": flow().through([0.3, 0.6]),
    }


@pytest.mark.parametrize("name", wrapped())
def test_numbers_outside_are_refused(name: str) -> None:
    a_map, x = wrapped()[name], torch.ones(1, 1)
    composed = name in ("piecewise", "through")  # these take long spans in several calls
    for s, t, allowed in zip(S.tolist(), T.tolist(), ALLOWED.tolist(), strict=True):
        if allowed or (composed and t - s == 0.8):
            assert torch.isfinite(a_map(s, t, x)).all()
            continue
        for call in (
            lambda s=s, t=t: a_map(s, t, x),
            lambda s=s, t=t: C.time_derivative(a_map, s, t, x),
            lambda s=s, t=t: a_map.between(s, t),
        ):
            with pytest.raises(UntrainedTimes, match=r"is for times in \[0, 1\], s <= t only"):
                call()
    for outside in (-0.1, 1.1):
        with pytest.raises(UntrainedTimes):
            a_map.velocity(outside, x)


@pytest.mark.parametrize("name", wrapped())
def test_tensors_outside_are_nan_in_those_samples_alone(name: str) -> None:
    """Value, tangent and gradient; the other samples are as they are without the bad ones."""
    a_map = wrapped()[name]
    allowed = ALLOWED.clone()
    allowed[4] = name in ("piecewise", "through")
    x = torch.linspace(1.0, 2.0, 6)[:, None].requires_grad_()
    y = a_map(S, T, x)
    assert torch.equal(torch.isfinite(y).flatten(), allowed)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(torch.isfinite(gradient).flatten(), allowed)
    alone = x.detach()[allowed].requires_grad_()
    good = a_map(S[allowed], T[allowed], alone)
    assert torch.equal(y[allowed], good)
    assert torch.equal(gradient[allowed], torch.autograd.grad(good.sum(), alone)[0])
    for tangent in ({"dt": 1.0}, {"ds": 1.0}, {"dx": torch.ones_like(x)}):
        moved = C.jvp(a_map, S, T, x.detach(), **tangent)[1]
        assert torch.equal(torch.isfinite(moved).flatten(), allowed)
    velocity = a_map.velocity(torch.tensor([0.5, -0.1, 1.1, 0.0, 1.0, 0.2]), x.detach())
    expected = torch.tensor([True, False, False, True, True, True])
    assert torch.equal(torch.isfinite(velocity).flatten(), expected)


def test_a_bad_sample_does_not_reach_the_others_parameters() -> None:
    """Gradients in a condition stay apart; what all share is NaN, loudly, until it is left out."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = torch.nn.Parameter(torch.ones(()))

        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
            return self.shared * condition * x

    learned = M.NeuralFlowMap(Net(), times=TIMES)
    x, condition = torch.ones(6, 1), torch.ones(6, 1, requires_grad=True)
    learned(S, T, x, condition).sum().backward()
    assert condition.grad is not None
    assert torch.equal(torch.isfinite(condition.grad).flatten(), ALLOWED)
    assert learned.network.shared.grad.isnan()
    learned.zero_grad()
    keep = ALLOWED
    learned(S[keep], T[keep], x[keep], condition.detach()[keep]).sum().backward()
    assert torch.isfinite(learned.network.shared.grad)


def test_full_checking_raises_and_names_the_samples() -> None:
    x = torch.ones(6, 1)
    with fm.checking("full"), pytest.raises(UntrainedTimes, match=r"samples \[1, 2, 3, 4\]"):
        flow()(S, T, x)
    with fm.checking("full"), pytest.raises(UntrainedTimes, match=r"samples \[0\]"):
        flow().velocity(torch.tensor([2.0]), x[:1])
    with fm.checking("full"), fm.checking("static"):
        assert flow()(S, T, x).isnan().any()


def test_along_always_checks_its_times() -> None:
    x = torch.ones(2, 1)
    for a_map in wrapped().values():
        assert a_map.along(0.0, [0.0, 0.5], x).shape == (2, 2, 1)
        for rows in ([0.5, 1.5], [[0.5, 0.5], [0.5, -1.0]]):
            with pytest.raises(UntrainedTimes, match=r"samples"):
                a_map.along(0.1, rows, x)
    with pytest.raises(UntrainedTimes, match="not for the times of samples \\[1\\]"):
        flow(M.TimeSet()).along(0.0, torch.tensor([[0.5, float("nan")]]), x)


def test_compiled_and_vmapped_calls_never_raise() -> None:
    x = torch.ones(6, 1)
    expected = flow()(S, T, x)
    compiled = torch.compile(flow(), backend="aot_eager", fullgraph=True)
    vmapped = torch.func.vmap(lambda s, t, x: flow()(s, t, x[None])[0])
    along = torch.func.vmap(lambda s, t, x: flow().along(s, t[None], x[None])[0, 0])
    for level in ("static", "full"):
        with fm.checking(level):
            for call in (compiled, vmapped, along):
                torch.testing.assert_close(call(S, T, x), expected, equal_nan=True)


@given(lower=st.floats(-100, 100), length=st.floats(1e-3, 1e3), unit=st.floats(1e-12, 1e12))
def test_rounding_is_allowed_for_in_any_unit_of_time(
    lower: float, length: float, unit: float
) -> None:
    """Ends that went through float32 are inside, one part in a hundred beyond is outside."""
    lower, upper = lower * unit, (lower + length) * unit
    if upper - lower < 1e-4 * max(abs(lower), abs(upper)):
        return
    times = M.TimeSet(lower, upper, backward=False, max_span=upper - lower)
    s, t = (torch.tensor([end], dtype=torch.float32).double() for end in (lower, upper))
    beyond = 0.01 * (upper - lower)
    assert times.admits(s, t).all()
    for bad in ((s - beyond, t), (s, t + beyond), (s + beyond, s)):
        assert not times.admits(*bad).any()
        assert not times.admits(*(time.item() for time in bad))


@pytest.mark.parametrize("kind", ["numbers", "double", "single"])
@given(
    origin=st.sampled_from([0.0, 0.1, 2450000.0, 2450000.3, -1.7e9]),
    length=st.floats(1e-3, 1e3),
    share=st.floats(0.05, 1.0),
    at=st.floats(0.0, 1.0),
    excess=st.floats(2e-3, 1.0),
)
def test_a_thousandth_too_far_is_refused_wherever_the_origin_of_time(
    kind: str, origin: float, length: float, share: float, at: float, excess: float
) -> None:
    """Untrained times, directions and spans, in the types in which times come."""
    lower, upper, span = origin, origin + length, share * length
    times = M.TimeSet(lower, upper, backward=False, max_span=span)
    start = lower + at * (length - span)

    def given_as(time: float) -> float | Tensor:
        dtype = torch.float32 if kind == "single" else torch.float64
        return time if kind == "numbers" else torch.tensor([time], dtype=dtype)

    far = excess * span
    for s, t in (
        (lower - far, lower),
        (upper, upper + far),
        (start + far, start),
        (start - far / 2, start + span + far / 2),
    ):
        s, t = given_as(s), given_as(t)
        first, last = (torch.as_tensor(a, dtype=torch.float64) for a in (s, t))
        off = max(lower - first, last - upper, first - last, last - first - span).item()
        unit = 2e-7 * max(abs(lower), abs(upper)) if kind == "single" else 0.0
        if off > 2e-3 * span + unit:  # what rounding has left of it
            assert not torch.as_tensor(times.admits(s, t)).any(), (s, t)


@given(
    origin=st.sampled_from([0.0, 0.1, 2450000.0, -3.0]),
    lower=st.floats(0.0, 1.0),
    length=st.floats(1e-2, 10.0),
)
def test_the_ends_and_sums_of_steps_are_admitted(origin: float, lower: float, length: float):
    """In every type; a sum of ten tenths is off by some rounding errors."""
    lower, upper = origin + lower, origin + lower + length
    times = M.TimeSet(lower, upper, backward=False, max_span=upper - lower)
    summed = lower
    for _ in range(10):
        summed += (upper - lower) / 10
    assert times.admits(lower, upper) and times.admits(lower, summed)
    assert times.admits(summed, upper) and times.admits(upper, summed)
    for dtype in (torch.float32, torch.float64):
        s, t, u = (torch.tensor([a], dtype=dtype) for a in (lower, upper, summed))
        for pair in ((s, t), (s, u), (lower, t), (s, upper)):
            assert times.admits(*pair).all() or dtype == torch.float32 and origin > 1e6
            assert times.admits(*(torch.as_tensor(a, dtype=torch.float64) for a in pair)).all() or (
                origin > 1e6
            )


def test_times_of_an_open_interval_are_compared_in_their_own_unit() -> None:
    forward = M.TimeSet(backward=False)
    assert not forward.admits(1e-9, 0.5e-9) and not forward.admits(1.0, 1.0 - 1e-8)
    assert forward.admits(1.0, 1.0 - 2e-16) and forward.admits(0.1 + 0.2, 0.3)
    assert not forward.admits(torch.tensor(float("nan")), torch.tensor(1.0))


def test_a_time_set_prints_what_it_is() -> None:
    assert str(TIMES) == "times in [0, 1], s <= t only, spans up to 0.75"
    assert str(M.TimeSet(forward=False)) == "times in [-inf, inf], s >= t only"
    assert M.TimeSet().everything and not TIMES.everything
    assert M.TimeSet(**TIMES.config()) == TIMES

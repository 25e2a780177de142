"""Maps made of maps: other coordinates, long spans from short ones, nothing at all."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

C, M = fm.calculus, fm.maps


def turn(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    angle = (t - s)[:, None]
    a, b = x.split(1, dim=1)
    return torch.cat([angle.cos() * a - angle.sin() * b, angle.sin() * a + angle.cos() * b], dim=1)


# ---------------------------------------------------------------------------- long spans


@pytest.mark.parametrize("negative", [True, False], ids=["around 0", "from 0"])
@given(s=st.floats(-5, 5), t=st.floats(-5, 5))
def test_spans_of_any_length_and_sign(negative: bool, s: float, t: float) -> None:
    """As one exact flow, for numbers and for a batch of samples that take different counts."""
    step = M.ExactFlowMap(turn, M.TimeSet(-0.25 if negative else 0.0, 0.25))
    long = M.Autonomous(step, 0.25)
    x = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    zero = torch.zeros(2)
    expected = turn(zero, zero + (t - s), x)
    torch.testing.assert_close(long(s, t, x), expected, rtol=0.0, atol=1e-12)
    starts, ends = torch.tensor([s, t]), torch.tensor([t, t + 0.1])
    torch.testing.assert_close(long(starts, ends, x), turn(starts, ends, x), rtol=0.0, atol=1e-12)
    assert long.evaluations(s, t) == max(1, math.ceil(abs(t - s) / 0.25 * (1 - 1e-9)))
    for derivative in (C.time_derivative, C.start_derivative):
        torch.testing.assert_close(
            derivative(long, starts, ends, x),
            derivative(turn, starts, ends, x),
            rtol=0.0,
            atol=1e-11,
        )


def test_the_fewest_calls_of_equal_length() -> None:
    seen = []

    def step(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        seen.append((s[0].item(), t[0].item()))
        return turn(s, t, x)

    long = M.Autonomous(M.ExactFlowMap(step, M.TimeSet(0.0, 0.25)), 0.25)
    long(0.0, 0.0, torch.ones(1, 2))  # the first call asks whether the field depends on time
    seen.clear()
    long(3.0, 3.0 + 0.1 * 6, torch.ones(1, 2))
    assert len(seen) == 3
    assert all(a == 0 and abs(b - 0.2) < 1e-15 for a, b in seen)
    seen.clear()
    long(0.75, 0.0, torch.ones(1, 2))
    assert seen == [(0.25, 0.0)] * 3
    seen.clear()
    long(torch.zeros(1), torch.tensor([0.1]) * 7.5, torch.ones(1, 2))  # 0.75 and a rounding error
    assert len(seen) == 3


def test_directions_of_a_long_map_are_those_of_its_steps() -> None:
    x = torch.ones(1, 2)
    forward = M.Autonomous(M.ExactFlowMap(turn, M.TimeSet(0.0, 1.0, backward=False)), 0.5)
    backward = M.Autonomous(M.ExactFlowMap(turn, M.TimeSet(0.0, 1.0, forward=False)), 0.5)
    torch.testing.assert_close(forward(0.0, 3.0, x), turn(torch.zeros(1), torch.tensor([3.0]), x))
    torch.testing.assert_close(backward(3.0, 0.0, x), turn(torch.tensor([3.0]), torch.zeros(1), x))
    for wrong, times in ((forward, (3.0, 0.0)), (backward, (0.0, 3.0))):
        with pytest.raises(fm.errors.UntrainedTimes):
            wrong(*times, x)
        assert wrong(*map(torch.tensor, times), x).isnan().all()


def test_times_that_are_not_finite_take_one_call_and_end() -> None:
    calls = []

    def step(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        calls.append(1)
        return turn(s, t, x)

    long = M.Autonomous(M.ExactFlowMap(step), 0.25)
    long(0.0, 0.0, torch.ones(1, 2))
    calls.clear()
    t = torch.tensor([math.inf, math.nan, 0.5])
    y = long(torch.zeros(3), t, torch.ones(3, 2))
    assert y.isnan().any(1).tolist() == [True, True, False] and len(calls) == 2


def test_a_long_map_compiles_whole_for_times_that_are_numbers() -> None:
    long, x = M.Autonomous(M.ExactFlowMap(turn), 0.5), torch.ones(2, 2)
    compiled = torch.compile(lambda x: long(0.0, 1.7, x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), long(0.0, 1.7, x))
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"flowmaps\.maps: .*Autonomous"):
        whole = torch.compile(long, backend="aot_eager", fullgraph=True)
        whole(torch.zeros(2), torch.ones(2), x)


@pytest.mark.parametrize("span", [0.0, -1.0, 1.5, math.inf, math.nan])
def test_a_span_that_the_map_is_not_for_is_refused(span: float) -> None:
    with pytest.raises(ValueError, match="span must be positive"):
        M.Autonomous(M.ExactFlowMap(turn, M.TimeSet(0.0, 1.0)), span)


# ---------------------------------------------------------------------------- other coordinates


@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 10), seed=st.integers(0, 100))
def test_conjugation_is_the_flow_of_the_transported_field(
    shift: float, scale: float, seed: int
) -> None:
    units = M.Affine([shift, 0.0], [scale, -1.0])
    flow = M.Conjugated(M.ExactFlowMap(turn), units)
    rotation = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    y = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    expected = torch.tensor([scale, -1.0]) * (units.inverse(y) @ rotation.T)
    torch.testing.assert_close(flow.velocity(0.3, y), expected)
    torch.testing.assert_close(units.inverse(units(y)), y)
    back = M.Conjugated(flow, M.FromFunctions(units.inverse, units))
    torch.testing.assert_close(back(0.0, 1.0, y), M.ExactFlowMap(turn)(0.0, 1.0, y))
    determinant = C.log_det(flow, 0.0, 1.0, y)
    torch.testing.assert_close(determinant, torch.zeros(3), rtol=0.0, atol=1e-10)


def test_affine_keeps_the_state_s_dtype_and_never_mixes_samples() -> None:
    units = M.Affine(torch.tensor([1.0, 2.0], requires_grad=True), 2)
    y = units(torch.ones(3, 2, dtype=torch.float32))
    assert y.dtype == torch.float32 and not y.requires_grad
    with pytest.raises(ValueError, match="broadcast"):
        M.Affine([1.0, 2.0, 3.0], 1.0)(torch.ones(3))
    assert units.config() == {"shift": [1.0, 2.0], "scale": 2.0}


def test_conjugation_passes_a_condition_on() -> None:
    flow = M.ExactFlowMap(lambda s, t, x, c: x + c * (t - s)[:, None])
    moved = M.Conjugated(flow, M.Affine(0.0, 10.0))
    c = torch.tensor([[1.0], [2.0]])
    assert moved(0.0, 1.0, torch.zeros(2, 1), c).flatten().tolist() == [10.0, 20.0]
    assert moved.velocity(0.0, torch.zeros(2, 1), c).flatten().tolist() == [10.0, 20.0]


# ---------------------------------------------------------------------------- nothing


def test_the_identity_is_the_flow_of_nothing() -> None:
    flow, x = M.Identity(), torch.ones(2, 3)
    assert torch.equal(flow(5.0, -5.0, x), x) and flow(0.0, 1.0, x) is not x
    assert torch.equal(flow.velocity(0.0, x), torch.zeros_like(x))
    assert torch.equal(C.jacobian(flow, 0.0, 1.0, x), torch.eye(3).expand(2, 3, 3))
    assert flow.between(0.0, 1.0).inverse()(x).tolist() == x.tolist()

"""Controllers: factors within limits, first and longest steps, shared steps, stops at jumps."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowmaps.solvers import PI, PID, Dopri5, I, Result, Solution, Tsit5, solve

CONTROLLERS = [I(), PI(), PID(), I(safety=0.5), PI(longest=2.0, shortest=0.5), PI(shared=True)]


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x


def oscillator(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -x[:, 0]], dim=1)


# ---------------------------------------------------------------------------- factors


@pytest.mark.parametrize("controller", CONTROLLERS, ids=str)
def test_every_controller_keeps_the_tolerance(controller, exact) -> None:
    x = torch.tensor(exact.start)
    solution = solve(exact.field, 0.0, 1.5, x, controller=controller)
    truth = exact.flow(torch.zeros(len(x)), torch.full((len(x),), 1.5), x)
    assert (solution.x - truth).abs().max() < 1e-4


@settings(max_examples=50)
@given(st.floats(1e-12, 1e12), st.floats(1e-9, 1e12), st.floats(1e-9, 1e12), st.integers(2, 8))
def test_a_factor_stays_within_its_limits_and_falls_with_the_error(
    ratio: float, previous: float, earlier: float, order: int
) -> None:
    for controller in (I(), PI(), PID()):
        past = torch.tensor([previous]), torch.tensor([earlier])
        a, b = (
            controller.factor(torch.tensor([r]), *past, order).item() for r in (ratio, 2 * ratio)
        )
        assert controller.shortest <= b <= a <= controller.longest
        rejected = controller.factor_of_rejected(torch.tensor([ratio]), order).item()
        assert controller.shortest <= rejected <= 0.9


@pytest.mark.parametrize("controller", [I(), PI(), PID()])
def test_a_factor_alone_is_the_same_to_the_last_bit(controller) -> None:
    rows = torch.rand(3, 1003) + 1e-3
    alone = [controller.factor(*rows[:, i : i + 1], 5) for i in range(1003)]
    assert torch.equal(controller.factor(*rows, 5), torch.cat(alone))


def test_a_pid_controller_of_two_gains_is_a_pi_controller() -> None:
    rows = torch.rand(3, 100) + 1e-3
    pid, pi = PID(p=0.4, i=0.3, d=0.0), PI(alpha=0.7, beta=0.4, safety=0.9)
    assert torch.allclose(pid.factor(*rows, 5), pi.factor(*rows, 5), rtol=1e-14)


@pytest.mark.parametrize(
    "controller",
    [I(safety=0.8), PI(alpha=0.6, beta=0.2), PID(shared=True), PI(stops=[2.0, 1.0], max_step=0.5)],
)
def test_controllers_can_be_rebuilt(controller) -> None:
    assert type(controller)(**controller.config()) == controller


# ---------------------------------------------------------------------------- lengths of steps


@given(st.floats(0.01, 3.0), st.floats(0.01, 3.0), st.sampled_from([1.0, -1.0]))
@settings(max_examples=25)
def test_the_first_step_and_the_longest_are_as_asked(first: float, longest: float, way: float):
    asked: list[Tensor] = []

    def watched(t: Tensor, x: Tensor) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    controller = I(first_step=first, max_step=longest)
    x = torch.ones(1, 1)
    found = solve(watched, 0.0, way * 5.0, x, controller=controller, check_field=False)
    ends = sorted({abs(t.item()) for t in asked})
    step = min(first, longest)
    assert any(abs(end - step) < 1e-12 for end in ends)
    assert found.statistics.steps.item() >= math.ceil(5.0 / longest - 1e-9)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"first_step": 0.0}, "first_step must be a positive number"),
        ({"max_step": -1.0}, "max_step must be a positive number"),
        ({"max_step": math.nan}, "max_step must be a positive number"),
        ({"first_step": True}, "first_step must be a positive number"),
        ({"stops": (math.inf,)}, "stops must be finite times"),
        ({"stops": ("noon",)}, "stops must be finite times"),
        ({"stops": 0.5}, "stops must be finite times such as"),
    ],
)
def test_what_cannot_be_is_refused(numbers, message, refused) -> None:
    refused(lambda: PI(**numbers), ValueError, message)


# ---------------------------------------------------------------------------- shared steps


@settings(max_examples=20)
@given(st.integers(1, 6), st.floats(0.5, 4.0))
def test_shared_steps_are_the_same_for_all(batch: int, span: float) -> None:
    x = torch.randn(batch, 2, generator=torch.Generator().manual_seed(batch))
    t = span * torch.linspace(0.5, 1.0, batch)
    found = solve(oscillator, 0.0, t, x, controller=PI(shared=True), rtol=1e-8, atol=1e-8)
    assert found.success.all() and len(set(found.statistics.steps.tolist())) == 1
    turned = torch.stack(
        [x[:, 0] * t.cos() + x[:, 1] * t.sin(), x[:, 1] * t.cos() - x[:, 0] * t.sin()], dim=1
    )
    assert (found.x - turned).abs().max() < 1e-6


def test_one_that_fails_leaves_the_others_of_shared_steps() -> None:
    x = torch.tensor([[1.0], [3.0], [math.nan]])
    field = lambda t, x: torch.where(x > 2, x**2, -x)  # noqa: E731
    found = solve(field, 0.0, 1.0, x, controller=PI(shared=True), throw=False)
    assert found.result.tolist() != [0, 0, 0] and found.result[0] == 0
    assert found.x[0].item() == pytest.approx(math.exp(-1), abs=1e-4)
    assert found.result[2] == Result.NOT_FINITE


# ---------------------------------------------------------------------------- stops


def saw(t: Tensor, x: Tensor) -> Tensor:
    """A slope that jumps at 1 and at 2.5: 1, then -2, then 3."""
    slope = torch.where(t < 1, 1.0, torch.where(t < 2.5, -2.0, 3.0))
    return slope[:, None].expand_as(x)


def risen(t: Tensor) -> Tensor:
    """The integral of the saw from 0."""
    return t.clamp(max=1.0) - 2 * (t.clamp(1.0, 2.5) - 1) + 3 * (t.clamp(min=2.5) - 2.5)


@settings(max_examples=40)
@given(st.lists(st.floats(-1.0, 4.0), min_size=2, max_size=8))
def test_with_stops_a_jump_costs_no_accuracy(times: list[float]) -> None:
    s = torch.tensor(times[0::2][: len(times) // 2])
    t = torch.tensor(times[1::2])
    x = torch.zeros(len(s), 1)
    found = solve(saw, s, t, x, controller=PI(stops=(2.5, 1.0)), dense=True)
    assert found.success.all()
    assert torch.allclose(found.x[:, 0], risen(t) - risen(s), atol=1e-12)
    assert found.statistics.rejected.sum() == 0
    half = s + 0.5 * (t - s)
    assert torch.allclose(found(half[None])[0, :, 0], risen(half) - risen(s), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", [Tsit5(), Dopri5()])
def test_the_field_is_never_asked_at_a_stop(method, dtype) -> None:
    asked: list[float] = []

    def watched(t: Tensor, x: Tensor) -> Tensor:
        asked.extend(t.tolist())
        return -x

    x = torch.ones(1, 1, dtype=dtype)
    solve(watched, 0.1, 1.0, x, controller=PI(stops=(0.3, 0.7)), method=method, check_field=False)
    assert not {torch.tensor(stop, dtype=dtype).item() for stop in (0.3, 0.7)} & set(asked)


def test_derivatives_see_stops_that_stay() -> None:
    """At t before the jump of the slope and after it, and in s: the slopes there."""
    ends = torch.tensor([0.5, 2.0, 3.0], requires_grad=True)
    begins = torch.tensor([0.2, 0.5, 1.5], requires_grad=True)
    found = solve(saw, begins, ends, torch.zeros(3, 1), controller=PI(stops=(1.0, 2.5)))
    by_t, by_s = torch.autograd.grad(found.x.sum(), (ends, begins))
    assert torch.allclose(by_t, torch.tensor([1.0, -2.0, 3.0]))
    assert torch.allclose(by_s, torch.tensor([-1.0, -1.0, 2.0]))


def test_a_failure_before_a_stop_stays_a_failure() -> None:
    x = torch.tensor([[1.0], [-1.0]])
    found = solve(lambda t, x: x**2, 0.0, 2.0, x, controller=PI(stops=(1.5,)), throw=False)
    assert found.result.tolist() == [Result.STEP_TOO_SMALL, Result.SUCCESS]
    assert found.final_time[0].item() == pytest.approx(1.0, abs=1e-3)
    assert found.x[1].item() == pytest.approx(-1 / 3, abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"dense": True}, {"compile": "eager"}], ids=str)
def test_the_bound_on_steps_is_that_of_the_whole_way(options: dict[str, Any]) -> None:
    rate = torch.tensor([[1.0], [50.0], [5.0]])
    field = lambda t, x, rate: -rate * x  # noqa: E731
    options = {"controller": PI(stops=(0.25, 0.5, 0.75)), **options}

    def run(max_steps: int) -> Solution:
        x = torch.ones(3, 1)
        return solve(field, 0.0, 1.0, x, rate, max_steps=max_steps, throw=False, **options)

    steps = run(10_000).statistics.steps
    most = int(steps.max())
    assert run(most).success.all()
    for bound in (most - 1, most // 2, int(steps.min())):
        found = run(bound)
        assert torch.equal(found.success, steps <= bound)
        assert set(found.result[steps > bound].tolist()) == {Result.MAX_STEPS}
        assert torch.equal(found.statistics.steps, steps.clamp_max(bound))


# ---------------------------------------------------------------------------- tolerances


def test_a_tolerance_for_every_component_spends_steps_where_it_is_tight() -> None:
    x = torch.tensor([[1.0, 1.0]])
    rates = torch.tensor([1.0, 20.0])
    field = lambda t, x: -rates * x  # noqa: E731
    loose = solve(field, 0.0, 1.0, x, rtol=1e-9, atol=torch.tensor([1e-9, 1.0]))
    tight = solve(field, 0.0, 1.0, x, rtol=1e-9, atol=[1e-9, 1e-9])
    same = solve(field, 0.0, 1.0, x, rtol=1e-9, atol=1e-9)
    assert loose.statistics.steps < tight.statistics.steps
    assert torch.equal(tight.x, same.x)
    both = solve(
        lambda t, x: {"a": -x["a"], "b": -20 * x["b"]},
        0.0,
        1.0,
        {"a": x[:, :1], "b": x[:, 1:]},
        rtol=1e-9,
        atol={"a": 1e-9, "b": 1.0},
    )
    assert torch.equal(both.statistics.steps, loose.statistics.steps)


@pytest.mark.parametrize(
    ("atol", "error", "message"),
    [
        ([1e-3, 1e-3, 1e-3], ValueError, "atol has shape"),
        ([1e-3, -1e-3], ValueError, "atol not negative"),
        (torch.tensor([1e-3, math.inf]), ValueError, "finite"),
        ({"a": 1e-3}, TypeError, "atol"),
        ("small", TypeError, "atol must be a number"),
    ],
)
def test_a_tolerance_that_does_not_fit_is_refused(atol, error, message, refused) -> None:
    refused(lambda: solve(decay, 0.0, 1.0, torch.ones(3, 2), atol=atol), error, message)

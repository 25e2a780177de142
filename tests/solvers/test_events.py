"""Events: found where they are, per sample, against closed forms; every rule of the guide."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipk
from torch import Tensor

from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers import (
    PI,
    RK4,
    Bosh3,
    Dop853,
    Event,
    Result,
    Rodas5P,
    StormerVerlet,
    TorchDiffEq,
    Tsit5,
    solve,
)

METHODS: dict[str, dict[str, Any]] = {
    "tsit5": {},
    "dop853": {"method": Dop853()},
    "bosh3": {"method": Bosh3()},
    "rodas5p": {"method": Rodas5P()},
    "compiled": {"compile": "eager"},
    "rk4, fixed": {"method": RK4(), "steps": 60},
    "tsit5, fixed": {"method": Tsit5(), "steps": 30},
    "symplectic": {"method": StormerVerlet(), "steps": 4000},
}
each_way = pytest.mark.parametrize("options", METHODS.values(), ids=list(METHODS))


def fall(t: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """A ball of height x[0] in a field of gravity g."""
    return torch.stack([x[:, 1], -g], dim=1)


def landing(x: Tensor, g: Tensor) -> Tensor:
    """When it is on the floor, counted from now."""
    return (x[:, 1] + (x[:, 1].square() + 2 * g * x[:, 0]).sqrt()) / g


def spring(t: Tensor, x: Tensor) -> Tensor:
    """A harmonic oscillator of period 2 pi; from (1, 0) it is at (cos, -sin)."""
    return torch.stack([x[:, 1], -x[:, 0]], dim=1)


FLOOR = Event(lambda t, x, g: x[:, 0], direction=-1)
BALLS = torch.tensor([[10.0, 0.0], [5.0, 3.0], [900.0, -1.0]], dtype=torch.float64)
GRAVITY = torch.tensor([9.81, 3.7, 9.81], dtype=torch.float64)
START = torch.tensor([[1.0, 0.0]], dtype=torch.float64)


@each_way
def test_a_terminal_event_ends_each_sample_at_its_own_time(options) -> None:
    s = torch.tensor([0.0, 1.0, -1.0])
    solution = solve(fall, s, s + 5, BALLS, GRAVITY, events=FLOOR, rtol=1e-7, atol=1e-9, **options)
    hit = torch.tensor([True, True, False])
    assert solution.result.tolist() == [Result.EVENT, Result.EVENT, Result.SUCCESS]
    assert solution.success.all()
    assert torch.allclose((solution.final_time - s)[hit], landing(BALLS, GRAVITY)[hit], rtol=1e-12)
    assert solution.final_time[2] == 4.0
    speed = -(BALLS[:, 1].square() + 2 * GRAVITY * BALLS[:, 0]).sqrt()
    assert solution.x[hit, 0].abs().max() < 1e-12
    assert torch.allclose(solution.x[hit, 1], speed[hit], rtol=1e-12)
    assert solution.x[2, 0].item() == pytest.approx(900 - 5 - 9.81 * 12.5, rel=1e-12)
    (found,) = solution.events
    assert found.counts.tolist() == [1, 1, 0]
    assert torch.equal(found.times[0, hit], solution.final_time[hit])
    assert torch.equal(found.states[0, hit], solution.x[hit])
    assert torch.isnan(found.times[0, 2]) and torch.isnan(found.states[0, 2]).all()


@each_way
def test_others_are_recorded_and_disturb_nothing(options) -> None:
    x = START.repeat(2, 1)
    ends = torch.tensor([10.0, -10.0])
    tight: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9} | options
    events = [Event(lambda t, x: x[:, 0], terminal=False, direction=d) for d in (0, 1, -1)]
    solution = solve(spring, 0.0, ends, x, events=events, **tight)
    assert solution.result.tolist() == [0, 0]
    plain = solve(spring, 0.0, ends, x, **tight)
    assert torch.allclose(solution.x, plain.x, rtol=1e-12, atol=1e-12)
    truth = (torch.arange(3) + 0.5) * math.pi
    accuracy = 1e-5 if options.get("method") and "Verlet" in repr(options["method"]) else 3e-6
    both, up, down = solution.events
    for one, expected in ((both, truth), (up, truth[1:2]), (down, truth[::2])):
        assert one.counts.tolist() == [len(expected)] * 2
        assert torch.allclose(one.times, torch.stack([expected, -expected], 1), atol=accuracy)
        assert one.states[..., 0].abs().max() < 1e-12


def test_the_period_of_the_pendulum_is_an_elliptic_integral() -> None:
    amplitude = torch.linspace(0.1, 3.1, 80)
    pendulum = lambda t, x: (x[1], -torch.sin(x[0]))  # noqa: E731
    x = (amplitude, torch.zeros(80))
    turn = Event(lambda t, x: x[1], direction=-1)  # at rest at s: the next one is a period later
    solution = solve(pendulum, 0.0, 50.0, x, events=turn, rtol=1e-10, atol=1e-10)
    period = 4 * torch.from_numpy(ellipk(torch.sin(amplitude / 2).square().numpy()))
    assert (solution.result == Result.EVENT).all()
    assert torch.allclose(solution.final_time, period, rtol=1e-7)
    angle, speed = solution.x
    assert torch.allclose(angle, amplitude, atol=1e-6) and speed.abs().max() < 1e-12
    assert solution.events[0].states[0].shape == (1, 80)


def test_time_runs_backwards_too() -> None:
    before = solve(spring, 0.0, -9.0, START, events=Event(lambda t, x: x[:, 0] - 0.5))
    assert before.final_time.item() == pytest.approx(-math.pi / 3, abs=1e-5)
    rising = Event(lambda t, x: x[:, 0] - 0.5, direction=1)  # along the way, here to earlier times
    before = solve(spring, 0.0, -9.0, START, events=rising)
    assert before.final_time.item() == pytest.approx(-5 * math.pi / 3, abs=1e-5)


@settings(max_examples=20)
@given(st.floats(0.5, 20), st.floats(-5, 20), st.booleans())
def test_a_bounce_does_not_happen_again_at_its_own_time(height, velocity, both) -> None:
    x, g = torch.tensor([[height, velocity]]), torch.tensor([9.81])
    floor = Event(lambda t, x, g: x[:, 0], direction=0 if both else -1)
    now = torch.zeros(1)
    for bounce in range(4):
        expected = now + landing(x, g) if bounce == 0 else now + 2 * x[:, 1] / g
        solution = solve(fall, now, now + 100, x, g, events=floor)
        assert solution.result.item() == Result.EVENT
        assert torch.allclose(solution.final_time, expected, rtol=1e-10)
        now, x = solution.final_time, solution.x * torch.tensor([1.0, -0.5])


@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 1}], ids=["steps", "one step"])
@pytest.mark.parametrize("velocity", [4.0, -4.0])
def test_a_zero_at_the_start_is_none_and_the_next_one_is_the_first(options, velocity) -> None:
    x, g = torch.tensor([[0.0, velocity]]), torch.tensor([1.0]) * math.copysign(1, velocity)
    found = solve(fall, 2.0, 17.0, x, g, events=Event(lambda t, x, g: x[:, 0]), **options)
    assert found.final_time.item() == pytest.approx(10.0, rel=1e-12)
    away = solve(fall, 2.0, 9.0, x, g, events=Event(lambda t, x, g: x[:, 0]), **options)
    assert away.result.item() == Result.SUCCESS and away.events[0].counts.item() == 0
    rest = solve(lambda t, x: 0 * x, 0.0, 1.0, 0 * START, events=Event(lambda t, x: x[:, 0]))
    assert rest.result.item() == Result.SUCCESS
    still = solve(spring, 1.0, 1.0, START, events=Event(lambda t, x: x[:, 0] - 0.5))
    assert still.result.item() == Result.SUCCESS


def test_an_event_at_a_node_is_found_once() -> None:
    clock = Event(lambda t, x: t - 0.5, terminal=False)
    line = lambda t, x: torch.ones_like(x)  # noqa: E731
    found = solve(line, 0.0, 1.0, torch.zeros(1, 1), method=RK4(), steps=4, events=clock)
    assert found.events[0].times.tolist() == [[0.5]]
    end = solve(line, 0.0, 0.5, torch.zeros(1, 1), events=Event(lambda t, x: t - 0.5))
    assert end.result.item() == Result.EVENT and end.final_time.item() == 0.5


def test_of_two_events_in_one_step_the_first_ends_it() -> None:
    line = lambda t, x: torch.ones_like(x)  # noqa: E731
    x = torch.tensor([[0.0], [0.5]])
    at = lambda level, terminal: Event(lambda t, x: x[:, 0] - level, terminal)  # noqa: E731
    events = [at(0.7, False), at(0.6, True), at(0.4, False), at(0.65, True), at(0.6, True)]
    found = solve(line, 0.0, 1.0, x, method=RK4(), steps=1, events=events)
    assert torch.allclose(found.final_time, torch.tensor([0.6, 0.1]))
    counts = torch.stack([one.counts for one in found.events]).tolist()
    assert counts == [[0, 0], [1, 1], [1, 0], [0, 0], [1, 1]]
    assert torch.allclose(found.events[2].times[0, :1], torch.tensor([0.4]))


def test_more_checks_see_what_one_misses() -> None:
    line = lambda t, x: torch.ones_like(x)  # noqa: E731
    narrow = lambda t, x: (x[:, 0] - 0.5).abs() - 0.1  # noqa: E731
    for checks, times in ((1, []), (4, [[0.4], [0.6]])):
        event = Event(narrow, terminal=False, checks=checks)
        found = solve(line, 0.0, 1.0, torch.zeros(1, 1), method=RK4(), steps=1, events=event)
        assert torch.allclose(found.events[0].times, torch.tensor(times).reshape(-1, 1))


def test_dense_output_ends_with_the_event() -> None:
    s = torch.tensor([0.0, 0.5, 0.0])
    for x in (BALLS, BALLS.clone().requires_grad_()):
        found = solve(fall, s, 5.0, x, GRAVITY, events=FLOOR, dense=True)
        end = found.final_time[None]
        assert torch.allclose(found(end)[0], found.x, rtol=1e-13, atol=1e-13)
        rate = torch.stack([found.x[:, 1], -GRAVITY], 1)
        assert torch.allclose(found.derivative(end)[0], rate, rtol=1e-12)
        rows = s + torch.linspace(0, 1, 15)[:, None] * (found.final_time - s)
        since = rows - s
        height = BALLS[:, 0] + BALLS[:, 1] * since - GRAVITY * since.square() / 2
        assert torch.allclose(found(rows)[..., 0], height, rtol=1e-12, atol=1e-12)
        assert torch.isnan(found(end.detach() + 1e-9 * torch.tensor([1.0, 1, 0]))[0, :2]).all()
        saved = solve(fall, s, 5.0, x, GRAVITY, events=FLOOR, save_at=[1.0, 4.9])
        assert torch.isnan(saved.x[..., 0]).tolist() == [[False] * 3, [True, True, False]]
        assert torch.allclose(saved.x[0], found(1.0), rtol=1e-13)
        assert torch.equal(saved.final_state, found.x)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("level", "time"), [(0.5, 0.5), (-0.5, 1.75), (-3.0, None)], ids=str)
def test_stops_and_events_go_together(level, time, gradient) -> None:
    jump = lambda t, x: torch.where(t < 1, 1.0, -2.0)[:, None].to(x).expand_as(x)  # noqa: E731
    x = torch.zeros(2, 1, requires_grad=gradient)
    event = Event(lambda t, x: x[:, 0] - level)
    options: Any = {"controller": PI(stops=(1.0, 2.0)), "events": event, "dense": True}
    found = solve(jump, 0.0, 2.5, x, **options)
    if time is None:
        assert found.result.tolist() == [0, 0] and found.x[0].item() == pytest.approx(-2.0)
        return
    assert found.result.tolist() == [Result.EVENT] * 2
    assert found.final_time.tolist() == pytest.approx([time] * 2, abs=1e-12)
    assert found.x.flatten().tolist() == pytest.approx([level] * 2, abs=1e-12)
    assert found(found.final_time[None]).flatten().tolist() == pytest.approx([level] * 2)
    assert found.events[0].counts.tolist() == [1, 1]
    if gradient:
        (slope,) = torch.autograd.grad(found.final_time.sum(), x)
        assert slope.flatten().tolist() == pytest.approx([-1.0 if time < 1 else 0.5] * 2)


@pytest.mark.parametrize("nudge", [-3e-16, 0.0, 3e-16])
@pytest.mark.parametrize("terminal", [True, False])
def test_an_event_at_a_stop_happens_once(nudge, terminal) -> None:
    kink = lambda t, x: torch.where(t < 1, 1.0, 3.0)[:, None].to(x).expand_as(x)  # noqa: E731
    event = Event(lambda t, x: x[:, 0] - (1 + nudge), terminal)
    options: Any = {"controller": PI(stops=(1.0,)), "events": event}
    found = solve(kink, 0.0, 2.0, torch.zeros(1, 1), **options)
    assert found.events[0].times.flatten().tolist() == pytest.approx([1.0], abs=1e-14)
    assert found.result.item() == (Result.EVENT if terminal else Result.SUCCESS)


def test_failures_stay_alone_and_keep_what_was_found_before() -> None:
    x = torch.tensor([[2.0], [0.1], [math.nan], [-1.0]])
    level = Event(lambda t, x: x[:, 0] - 4, terminal=False)
    found = solve(lambda t, x: x**2, 0.0, 1.0, x, events=level, throw=False, dense=True)
    codes = [Result.STEP_TOO_SMALL, Result.SUCCESS, Result.NOT_FINITE, Result.SUCCESS]
    assert found.result.tolist() == codes
    assert found.events[0].counts.tolist() == [1, 0, 0, 0]
    assert found.events[0].times[0, 0].item() == pytest.approx(0.25, rel=1e-5)
    assert torch.isnan(found.x[[0, 2]]).all() and torch.isfinite(found.x[[1, 3]]).all()
    before = Event(lambda t, x: x[:, 0] - 4)
    found = solve(lambda t, x: x**2, 0.0, 1.0, x, events=before, throw=False)
    assert found.result.tolist() == [Result.EVENT, *codes[1:]]
    with pytest.raises(SolveError, match="1 of 4 samples failed"):
        solve(lambda t, x: x**2, 0.0, 1.0, x, events=before)


def test_a_function_that_is_no_number_somewhere_tells_nothing_there() -> None:
    event = Event(lambda t, x: torch.where(t < 1, torch.nan, x[:, 0]), terminal=False)
    found = solve(spring, 0.0, 6.0, START, events=event, check_field=False)
    assert found.events[0].times.flatten().tolist() == pytest.approx(
        [math.pi / 2, 1.5 * math.pi], abs=1e-4
    )


def test_a_sample_is_the_same_alone_bit_by_bit() -> None:
    batch = 150  # compacted as samples end
    x = torch.stack([torch.linspace(0.1, 100, batch), torch.linspace(-3, 30, batch)], 1)
    g = torch.linspace(5, 20, batch)
    whole = solve(fall, 0.0, 3.5, x, g, events=FLOOR, dense=True)
    assert 20 < (whole.result == Result.EVENT).sum() < 130
    for i in range(0, batch, 29):
        own = slice(i, i + 1)
        alone = solve(fall, 0.0, 3.5, x[own], g[own], events=FLOOR, dense=True)
        assert torch.equal(alone.x, whole.x[own])
        assert torch.equal(alone.final_time, whole.final_time[own])
        assert torch.equal(alone.statistics.evaluations, whole.statistics.evaluations[own])
        half = whole.final_time[None] / 2
        assert torch.equal(alone(half[:, own]), whole(half)[:, own])


@pytest.mark.parametrize("options", [{}, {"method": Dop853()}, {"method": RK4(), "steps": 9}])
@pytest.mark.parametrize("extra", ["values", "dense", "gradient", "both"])
def test_evaluations_are_the_calls_of_the_field(options, extra) -> None:
    calls = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        calls.append(t)
        return spring(t, x)

    x = START.clone().requires_grad_(extra in ("gradient", "both"))
    dense = {"dense": extra in ("dense", "both")}
    event = Event(lambda t, x: x[:, 0])
    found = solve(field, 0.0, 3.0, x, events=event, check_field=False, **dense, **options)
    assert found.statistics.evaluations.tolist() == [len(calls)]


def test_float32_and_inference_mode() -> None:
    x, g = BALLS.float(), GRAVITY.float()
    with torch.inference_mode():
        found = solve(fall, 0.0, 5.0, x, g, events=FLOOR, rtol=1e-5, atol=1e-5)
    assert found.final_time.dtype == torch.float64 and found.x.dtype == torch.float32
    assert torch.allclose(found.final_time[:2], landing(BALLS, GRAVITY)[:2], rtol=1e-6)
    assert found.events[0].states.dtype == torch.float32


def test_no_samples_and_no_components() -> None:
    empty = solve(fall, 0.0, 5.0, BALLS[:0], GRAVITY[:0], events=FLOOR, dense=True)
    assert empty.events[0].times.shape == (0, 0) and empty.x.shape == (0, 2)


def test_under_vmap_they_are_refused_by_name(refused) -> None:
    end = lambda x: solve(spring, 0.0, 1.0, x, events=Event(lambda t, x: x[:, 0])).x  # noqa: E731
    act = lambda: torch.func.vmap(end)(torch.ones(3, 1, 2))  # noqa: E731
    refused(act, RuntimeError, "events .* not found under vmap", UnsupportedTransform)


def test_compiled_code_runs_them_eagerly() -> None:
    def end(x: Tensor) -> Tensor:
        options: Any = {"method": RK4(), "steps": 20}
        return 2 * solve(spring, 0.0, 3.0, x, events=Event(lambda t, x: x[:, 0]), **options).x

    found = torch.compile(end, backend="eager")(START)
    assert torch.allclose(found, torch.tensor([[0.0, -2.0]]), atol=1e-4)
    with pytest.raises(Exception, match="do not compile"):
        torch.compile(lambda x: end(x), backend="eager", fullgraph=True)(START)


ONE, TWO = torch.ones(1, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
THREE: Any = 3
PLAIN: Any = spring
NUMBER: Any = lambda t, x: 0.0  # noqa: E731
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no event": (lambda: solve(spring, 0, 1, ONE, events=THREE), TypeError, "must be an Event"),
    "a function": (lambda: solve(spring, 0, 1, ONE, events=PLAIN), TypeError, "must be an Event"),
    "not callable": (lambda: Event(THREE), TypeError, "must be callable"),
    "terminal": (lambda: Event(spring, terminal=THREE), TypeError, "True or False"),
    "direction": (lambda: Event(spring, direction=2), ValueError, "-1, 0 or 1"),
    "checks": (lambda: Event(spring, checks=0), ValueError, "checks"),
    "shape": (
        lambda: solve(spring, 0, 1, TWO, events=Event(lambda t, x: x)),
        ValueError,
        r"shape \(2,\), got \(2, 2\)",
    ),
    "no tensor": (
        lambda: solve(spring, 0, 1, ONE, events=Event(NUMBER)),
        ValueError,
        r"shape \(1,\), got float",
    ),
    "no number": (
        lambda: solve(spring, 0, 1, ONE, events=Event(lambda t, x: x[:, 0] > 0)),
        TypeError,
        "real numbers",
    ),
    "arguments": (
        lambda: solve(spring, 0, 1, ONE, events=Event(lambda t, x, condition: t)),
        TypeError,
        r"called as g\(t, x\)",
    ),
    "it fails": (
        lambda: solve(spring, 0, 1, TWO, events=Event(lambda t, x: x[:, 0] @ torch.ones(7))),
        ValueError,
        "an event's function failed",
    ),
    "not per sample": (
        lambda: solve(spring, 0, 1, TWO.cumsum(0), events=Event(lambda t, x: x[:, 0] - x.mean())),
        ValueError,
        "an event's function must treat every sample alone",
    ),
    "meta": (
        lambda: solve(spring, 0, 1, ONE.to("meta"), events=Event(lambda t, x: x[:, 0])),
        ValueError,
        "the meta device has none of",
    ),
    "foreign": (
        lambda: solve(spring, 0, 1, ONE, method=TorchDiffEq(), events=Event(lambda t, x: t)),
        ValueError,
        "no dense output for save_at, dense or events",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_the_first_step(name, refused) -> None:
    refused(*BAD[name])

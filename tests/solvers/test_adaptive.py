"""Every sample its own times, steps and outcome; the batch changes nothing."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmaps.solvers import Dopri5, Heun, Result, Tsit5, solve

times = st.floats(-1.0, 2.0, allow_subnormal=False)
NAMES = ["logistic", "gaussian", "riccati", "swing"]


def rational(t: torch.Tensor, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Elementwise, in operations that round alike for one sample and for many."""
    return condition * (1 - x * x) / (1 + x * x) + t[:, None]


def draw(n: int, dim: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Times of both directions, states and conditions of n samples, the last one with s = t."""
    g = torch.Generator().manual_seed(seed)
    s, t = torch.rand(2, n, generator=g) * 2
    t[-1] = s[-1]
    x = torch.rand(n, dim, generator=g) * 2 - 1
    return s, t, x, 5 * torch.rand(n, dim, generator=g)


# ---------------------------------------------------------------------------- per-sample times


@settings(max_examples=12)
@given(st.sampled_from(NAMES), st.lists(st.tuples(times, times), min_size=1, max_size=5))
def test_every_sample_goes_from_its_own_start_to_its_own_end(exact_flows, name, ends) -> None:
    exact = exact_flows[name]
    x = torch.tensor(exact.start)[torch.arange(len(ends)) % len(exact.start)]
    s, t = torch.tensor(ends).unbind(1)
    solution = solve(exact.field, s, t, x, rtol=1e-8, atol=1e-8)
    assert (solution.x - exact.flow(s, t, x)).abs().max() < 1e-6
    assert solution.success.all()
    assert torch.equal(solution.final_time, t)


@settings(max_examples=10)
@given(st.sampled_from(NAMES), times, times)
def test_going_back_undoes_going_forth(exact_flows, name, s, t) -> None:
    exact = exact_flows[name]
    x = torch.tensor(exact.start)
    there = solve(exact.field, s, t, x, rtol=1e-9, atol=1e-9).x
    assert (solve(exact.field, t, s, there, rtol=1e-9, atol=1e-9).x - x).abs().max() < 1e-6


def test_no_time_passes_where_start_and_end_are_the_same() -> None:
    x = torch.randn(3, 2)
    solution = solve(lambda t, x: 1e9 * x, 0.7, torch.tensor([0.7, 0.7, 0.7]), x)
    assert torch.equal(solution.x, x)
    assert solution.success.all()
    assert solution.statistics.steps.tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["number", "0-d", "batch", "float32", "int"])
def test_times_may_be_given_in_any_form(kind) -> None:
    x = torch.ones(2, 1)
    end = {
        "number": 1,
        "0-d": torch.tensor(1.0),
        "batch": torch.ones(2),
        "float32": torch.ones(2, dtype=torch.float32),
        "int": torch.ones(2, dtype=torch.long),
    }[kind]
    found = solve(lambda t, x: t[:, None] + 0 * x, 0, end, x).x
    assert found.flatten().tolist() == pytest.approx([1.5, 1.5])


def test_a_stiffer_sample_takes_more_steps_than_its_neighbours() -> None:
    rates = torch.tensor([[1.0], [30.0], [300.0]])
    solution = solve(lambda t, x, k: -k * (x - 1), 0.0, 1.0, torch.zeros(3, 1), rates)
    steps = solution.statistics.steps
    assert steps[0] < steps[1] < steps[2]
    assert (solution.x - 1 + torch.exp(-rates)).abs().max() < 1e-5


# ---------------------------------------------------------------------------- the batch


@pytest.mark.parametrize("method", [Tsit5(), Dopri5(), Heun()], ids=repr)
@pytest.mark.parametrize("dim", [1, 17])
def test_a_sample_alone_is_the_same_to_the_last_bit(method, dim) -> None:
    s, t, x, c = draw(6, dim, seed=dim)
    tolerance = 1e-6 if method.order > 2 else 1e-2
    options: dict[str, Any] = dict(method=method, rtol=tolerance, atol=tolerance)
    whole = solve(rational, s, t, x, c, **options)
    for i in range(len(x)):
        alone = solve(rational, s[i : i + 1], t[i : i + 1], x[i : i + 1], c[i : i + 1], **options)
        assert torch.equal(alone.x[0], whole.x[i])
        assert alone.statistics.steps[0] == whole.statistics.steps[i]
        assert alone.statistics.evaluations[0] == whole.statistics.evaluations[i]


def test_a_sample_alone_is_the_same_but_for_rounding_under_a_network() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 3))
    s, t, x, _ = draw(9, 3, seed=0)
    with torch.no_grad():
        whole = solve(lambda t, x: network(x) + t[:, None], s, t, x)
        for i in range(len(x)):
            row = slice(i, i + 1)
            alone = solve(lambda t, x: network(x) + t[:, None], s[row], t[row], x[row])
            assert (alone.x[0] - whole.x[i]).abs().max() < 1e-5
            assert abs(alone.statistics.steps[0] - whole.statistics.steps[i]) <= 1


@pytest.mark.parametrize("record", [False, True])
def test_samples_that_finish_and_leave_the_batch_change_nothing(record: bool) -> None:
    """A hundred, of which some need two steps and some two hundred, and each of ten alone."""
    rate = torch.logspace(-1, 2, 100)
    x, t = torch.ones(100, 1), torch.linspace(0.5, 2.0, 100)
    field = lambda t, x, rate: -rate[:, None] * x + torch.sin(t)[:, None]  # noqa: E731
    whole = solve(field, 0.0, t, x, rate, dense=record)
    steps = whole.statistics.steps
    assert steps.max() > 8 * steps.min()
    for i in range(0, 100, 11):
        row = slice(i, i + 1)
        alone = solve(field, 0.0, t[row], x[row], rate[row], dense=record)
        assert torch.equal(alone.x, whole.x[row]) and alone.statistics.steps == steps[i]
        assert torch.equal(alone.final_time, whole.final_time[row])
        if record:
            halves = 0.5 * t[None]
            assert torch.equal(alone(halves[:, row]), whole(halves)[:, row])


def test_derivatives_pass_a_batch_that_samples_leave() -> None:
    rate, x = torch.logspace(-1, 2, 100), torch.ones(100, 1)
    end = lambda x, rate: solve(lambda t, x, r: -r[:, None] * x, 0.0, 1.0, x, rate).x  # noqa: E731
    _, tangent = torch.func.jvp(end, (x, rate), (torch.ones_like(x), torch.zeros_like(rate)))
    assert torch.allclose(tangent, end(x, rate), rtol=1e-12)
    gradient = torch.func.grad(lambda rate: end(x, rate).sum())(rate)
    assert torch.allclose(gradient, -torch.exp(-rate), atol=1e-4)


def test_the_order_of_the_samples_does_not_matter() -> None:
    s, t, x, c = draw(11, 3, seed=4)
    order = torch.randperm(11)
    whole = solve(rational, s, t, x, c)
    mixed = solve(rational, s[order], t[order], x[order], c[order])
    assert torch.equal(mixed.x, whole.x[order])
    assert torch.equal(mixed.statistics.steps, whole.statistics.steps[order])


def test_derivatives_of_a_sample_do_not_depend_on_the_batch() -> None:
    s, t, x, c = draw(5, 2, seed=1)

    def gradient(rows: slice) -> torch.Tensor:
        leaf = x[rows].clone().requires_grad_()
        solve(rational, s[rows], t[rows], leaf, c[rows]).x.square().sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    whole = gradient(slice(None))
    for i in range(len(x)):
        assert torch.allclose(gradient(slice(i, i + 1))[0], whole[i], rtol=1e-13, atol=1e-15)


def test_values_are_the_same_with_and_without_derivatives() -> None:
    s, t, x, c = draw(6, 2, seed=2)
    plain = solve(rational, s, t, x, c)
    tracked = solve(rational, s, t, x.clone().requires_grad_(), c)
    dense = solve(rational, s, t, x, c, dense=True)
    assert torch.allclose(tracked.x, plain.x, rtol=1e-14, atol=1e-14)
    assert torch.allclose(dense.x, plain.x, rtol=1e-14, atol=1e-14)
    assert torch.equal(tracked.statistics.steps, plain.statistics.steps)


# ---------------------------------------------------------------------------- hard going


def test_steps_stay_exact_where_the_clock_is_coarse() -> None:
    # At 1e8 a clock is good to 1.5e-8 only, a twentieth of the steps taken here.
    start = 1e8
    span = 2.0**-14
    field = lambda t, x: -1e7 * (x - 1)  # noqa: E731
    far = solve(field, start, start + span, torch.zeros(1, 1))
    near = solve(field, 0.0, span, torch.zeros(1, 1))
    assert torch.equal(far.x, near.x)
    assert far.statistics.steps == near.statistics.steps
    tracked = solve(field, start, start + span, torch.zeros(1, 1, requires_grad=True))
    assert torch.allclose(tracked.x, near.x, rtol=1e-13)


@settings(max_examples=12)
@given(st.floats(-300.0, 300.0), st.booleans())
def test_the_unit_of_time_does_not_matter(exponent, backward) -> None:
    unit = 2.0 ** round(exponent)
    sign = -1 if backward else 1
    found = solve(lambda t, x: -sign * x / unit, 0.0, sign * unit, torch.ones(1, 1))
    assert found.x.item() == pytest.approx(math.exp(-1), rel=1e-5)
    assert found.statistics.steps.item() < 130


@pytest.mark.parametrize(
    ("s", "t"),
    [(0.0, 5e-324), (0.0, 1e-300), (1e8, math.nextafter(1e8, 2e8)), (1.0, math.nextafter(1.0, 0))],
)
def test_the_smallest_spans_take_one_step(s, t) -> None:
    solution = solve(lambda t, x: -x, s, t, torch.ones(1, 1))
    assert solution.success.all()
    assert solution.statistics.steps.item() == 1
    assert solution.x.item() == pytest.approx(1 - (t - s), rel=1e-15)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("atol", [0.0, 1e-6])
def test_a_start_at_rest_or_at_zero_is_no_obstacle(rate, start, atol) -> None:
    solution = solve(
        lambda t, x: torch.full_like(x, rate), 0.0, 10.0, torch.full((1, 2), start), atol=atol
    )
    assert solution.x.tolist()[0] == pytest.approx([start + 10 * rate] * 2)
    assert solution.statistics.steps.item() < 25


def test_components_at_zero_need_no_absolute_tolerance() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0]])
    solution = solve(
        lambda t, x: torch.stack([-x[:, 1], x[:, 0], 0 * x[:, 2]], dim=1), 0.0, 1.0, x, atol=0.0
    )
    assert solution.x[0].tolist() == pytest.approx([math.cos(1), math.sin(1), 0.0], rel=1e-5)
    assert solution.statistics.steps.item() < 30


@pytest.mark.parametrize(("s", "t"), [(0.0, 1.0), (1.0, 0.0), (0.1 + 0.2, 1.0), (-0.7, 0.3)])
@pytest.mark.parametrize("options", [{}, {"steps": 7}, {"steps": 3, "method": Heun()}])
def test_the_field_is_never_asked_outside_the_span(s, t, options) -> None:
    asked = []

    def field(time: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        asked.append(time)
        return torch.sqrt((time - min(s, t)) * (max(s, t) - time))[:, None] + 0 * x

    solution = solve(field, s, t, torch.ones(1, 1, requires_grad=True), **options)
    assert solution.success.all()  # and no root of a negative number
    assert min(a.min() for a in asked) >= min(s, t)
    assert max(a.max() for a in asked) <= max(s, t)


def test_a_jump_of_the_field_is_crossed() -> None:
    solution = solve(
        lambda t, x: torch.where(t[:, None] < 0.5, 1.0, -1.0) + 0 * x, 0.0, 1.0, torch.zeros(1, 1)
    )
    assert solution.x.item() == pytest.approx(0.0, abs=1e-3)
    assert solution.statistics.rejected.item() > 0


def test_a_jump_that_was_rejected_leaves_finite_gradients() -> None:
    def field(t: torch.Tensor, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.where(x < 2.0, c * x, 0.1 * x) + 100 * torch.exp(
            -1e3 * (t - 0.5)[:, None] ** 2
        )

    x = torch.ones(2, 1, requires_grad=True)
    c = torch.tensor([[2.0], [3.0]], requires_grad=True)
    solution = solve(field, 0.0, 1.0, x, c)
    assert (solution.statistics.rejected > 0).all()
    gradients = torch.autograd.grad(solution.x.sum(), (x, c))
    assert all(torch.isfinite(g).all() and (g != 0).all() for g in gradients)


def test_a_field_that_is_infinite_off_the_solution_is_followed() -> None:
    # Long steps reach x < 0, where the root is not a number; short ones do not.
    solution = solve(lambda t, x: -torch.sqrt(x), 0.0, 1.9, torch.ones(1, 1), rtol=1e-3, atol=1e-3)
    assert solution.x.item() == pytest.approx((1 - 1.9 / 2) ** 2, abs=1e-2)
    x = torch.ones(1, 1, requires_grad=True)
    found = solve(lambda t, x: -torch.sqrt(x), 0.0, 1.9, x, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.x.sum(), x)
    assert gradient.item() == pytest.approx(1 - 1.9 / 2, rel=0.1)


# ---------------------------------------------------------------------------- codes


def test_codes_are_named() -> None:
    assert [code.name for code in Result] == [
        "SUCCESS",
        "NOT_FINITE",
        "MAX_STEPS",
        "STEP_TOO_SMALL",
        "BACKEND_FAILED",
        "EVENT",
    ]

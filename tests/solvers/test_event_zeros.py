"""Zeros of an event's function where a solve starts and where a step ends."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowmaps.solvers import RK4, Event, Result, solve

DTYPES = st.sampled_from([torch.float32, torch.float64])


def fall(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], torch.full_like(x[:, 0], -9.81)], dim=1)


@settings(max_examples=15)
@given(st.floats(-2, 3), st.floats(-1, 1), st.floats(1, 9), DTYPES)
def test_an_event_soon_after_the_start_of_a_long_way_is_seen(size, speed, length, dtype) -> None:
    height = 10**size
    x = torch.tensor([[height, speed * math.sqrt(height)]], dtype=dtype)
    velocity = x[0, 1].item()
    landing = (velocity + math.sqrt(velocity**2 + 2 * 9.81 * x[0, 0].item())) / 9.81
    end = max(10**length, 2 * landing)
    solution = solve(fall, 0.0, end, x, events=Event(lambda t, x: x[:, 0]))
    assert solution.result.item() == Result.EVENT
    assert solution.final_time.item() == pytest.approx(landing, rel=1e-5)


@settings(max_examples=15)
@given(st.floats(-3, 2), st.floats(-1, 2), st.floats(0.5, 4), DTYPES)
def test_a_solve_starts_where_another_one_ended(size, speed, length, dtype) -> None:
    way, velocity = 10**size, 10**speed
    x, event = torch.tensor([[-way]], dtype=dtype), Event(lambda t, x: x[:, 0])
    line = lambda t, x: torch.full_like(x, velocity)  # noqa: E731
    span = 10**length * way / velocity
    there = solve(line, 0.0, span, x, events=event)
    assert there.result.item() == Result.EVENT
    beyond = solve(line, there.final_time, there.final_time + span, there.x, events=event)
    assert beyond.result.item() == Result.SUCCESS


@settings(max_examples=20)
@given(st.sets(st.integers(1, 63), min_size=1, max_size=6), st.sampled_from([1, 2, 4]))
def test_a_zero_at_a_node_hides_no_other(places, checks) -> None:
    """Roots at multiples of 1/64; looks at those of 1/8, past one of them each at most."""
    roots = sorted(Fraction(place, 64) for place in places)
    looks = [Fraction(k, 8) for k in range(9)]
    for left, right in zip(looks, looks[1:], strict=False):  # one root between two looks at most
        inner = [root for root in roots if left < root <= right]
        roots = [root for root in roots if root not in inner[1:]]

    def g(t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([t - float(root) for root in roots]).prod(0)

    line = lambda t, x: torch.ones_like(x)  # noqa: E731
    steps = 8 // checks
    for direction in (0, 1, -1):
        event = Event(g, terminal=False, direction=direction, checks=checks)
        found = solve(line, 0, 1, torch.zeros(1, 1), method=RK4(), steps=steps, events=event)
        # The last root is passed rising, those before it in turn.
        signs = [(-1) ** k for k in range(len(roots))][::-1]
        pairs = zip(roots, signs, strict=True)
        expected = [float(root) for root, sign in pairs if direction in (0, sign)]
        assert found.events[0].times.flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_a_zero_that_is_touched_at_a_node_is_one() -> None:
    line = lambda t, x: torch.ones_like(x)  # noqa: E731
    for power in (2, 3):
        event = Event(lambda t, x, power=power: -((t - 0.25) ** power), terminal=False)
        found = solve(line, 0, 1, torch.zeros(1, 1), method=RK4(), steps=4, events=event)
        assert found.events[0].times.tolist() == [[0.25]]

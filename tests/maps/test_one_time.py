"""Maps from one time only, or to one time: what their sets of times admit."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps._saving._description import Builder, Describer
from flowmaps.errors import UntrainedTimes

M = fm.maps


def growth(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(t - s)[:, None]


@given(
    lower=st.floats(-100.0, 100.0),
    length=st.floats(0.1, 100.0),
    at=st.floats(0.0, 1.0),
    share=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    forward=st.booleans(),
    backward=st.booleans(),
)
def test_a_start_or_an_end_keeps_the_pairs_that_have_it_and_the_diagonal(
    lower: float,
    length: float,
    at: float,
    share: tuple[float, float],
    forward: bool,
    backward: bool,
) -> None:
    if not (forward or backward):
        return
    upper = lower + length
    only, a, b = (min(lower + r * length, upper) for r in (at, *share))
    way = {"forward": forward, "backward": backward}
    free = M.TimeSet(lower, upper, **way)
    if not lower + length / 10 < only < upper - length / 10:
        return  # at an end of the interval a direction may be left without pairs
    for name in ("start", "end"):
        times = M.TimeSet(lower, upper, **way, **{name: only})
        for other in (a, b):
            pair = (only, other) if name == "start" else (other, only)
            assert times.admits(*pair) == free.admits(*pair)
            assert times.admits(other, other)
            if abs(other - only) > 1e-3 * length:  # further than any rounding
                far = (other, only) if name == "start" else (only, other)
                assert not times.admits(*far)
        assert not times.admits(upper + length, upper + length)
        clocks = [torch.tensor([time], dtype=torch.float32).double() for time in (only, b)]
        pair = clocks if name == "start" else clocks[::-1]
        assert torch.equal(torch.as_tensor(times.admits(*pair)), free.admits(*pair))


def test_numbers_raise_and_tensors_are_nan_at_other_times() -> None:
    s = torch.tensor([0.0, 0.25, 0.5, 0.0])
    t = torch.tensor([0.5, 0.5, 0.5, 1.0])
    x = torch.ones(4, 1)
    start = M.ExactFlowMap(growth, M.TimeSet(0.0, 1.0, backward=False, start=0.0))
    end = M.ExactFlowMap(growth, M.TimeSet(0.0, 1.0, backward=False, end=1.0))
    assert torch.isfinite(start(s, t, x)).flatten().tolist() == [True, False, True, True]
    assert torch.isfinite(end(s, t, x)).flatten().tolist() == [False, False, True, True]
    with pytest.raises(UntrainedTimes, match=r"s <= t only, s = 0 only, not for s = 0.25"):
        start(0.25, 0.5, x)
    with pytest.raises(UntrainedTimes, match=r"s <= t only, t = 1 only, not for s = 0.0, t = 0.5"):
        end(0.0, 0.5, x)
    with fm.checking("full"), pytest.raises(UntrainedTimes, match=r"samples \[1\]"):
        start(s, t, x)
    with pytest.raises(UntrainedTimes, match="samples"):
        end.along(0.0, [0.5, 1.0], x)
    for a_map in (start, end):
        assert torch.equal(a_map(0.3, 0.3, x), x)
        torch.testing.assert_close(a_map.velocity(0.3, x), x)


def test_a_map_from_one_time_of_an_autonomous_field_is_composed() -> None:
    """Every call is shifted to the one start."""
    step = M.ExactFlowMap(growth, M.TimeSet(0.0, 0.25, backward=False, start=0.0))
    x = torch.ones(2, 1)
    s, t = torch.tensor([1.0, 2.0]), torch.tensor([1.9, 2.1])
    expected = growth(s, t, x)
    torch.testing.assert_close(M.Autonomous(step, 0.25)(s, t, x), expected)


def test_prints_its_times_and_comes_back_from_its_config() -> None:
    times = M.TimeSet(0.0, 2.0, backward=False, start=0.5, end=1.5)
    assert str(times) == "times in [0, 2], s <= t only, s = 0.5 only, t = 1.5 only"
    assert M.TimeSet(**times.config()) == times and not times.everything
    assert not M.TimeSet(start=0.0).everything
    before = {"lower": 0.0, "upper": 2.0, "forward": True, "backward": False, "max_span": inf}
    assert M.TimeSet(**before) == M.TimeSet(0.0, 2.0, backward=False)


def test_sets_saved_before_they_had_a_start_are_rebuilt() -> None:
    """Their description names neither start nor end."""
    times = M.TimeSet(0.0, 2.0, backward=False, max_span=0.5)
    description = Describer().describe(times, "times")
    for name in ("start", "end"):
        del description["config"][name]
    assert Builder({}).build(description) == times


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "text": ({"start": "0"}, TypeError, "start of a TimeSet must be a number or None, got '0'"),
    "a truth value": ({"end": True}, TypeError, "end of a TimeSet must be a number"),
    "outside": ({"start": 2.0}, ValueError, r"start .* finite time in \[0, 1\], got 2.0"),
    "not a number": ({"end": nan}, ValueError, "end of a TimeSet must be a finite time"),
    "at the end": ({"start": 1.0, "backward": False}, ValueError, "must hold a pair s != t"),
    "to the start": ({"end": 0.0, "backward": False}, ValueError, "holds none; change start"),
    "the same": ({"start": 0.5, "end": 0.5}, ValueError, "must hold a pair"),
    "too far": ({"start": 0.0, "end": 1.0, "max_span": 0.5}, ValueError, "must hold a pair"),
    "against time": ({"start": 0.0, "end": 1.0, "forward": False}, ValueError, "must hold a pair"),
}


@pytest.mark.parametrize("name", BAD)
def test_sets_without_pairs_are_refused(name: str, refused: Callable[..., None]) -> None:
    options, error, message = BAD[name]
    refused(lambda: M.TimeSet(0.0, 1.0, **options), error, message)


def test_verification_refuses_a_map_that_most_pairs_are_not_for(
    refused: Callable[..., None],
) -> None:
    a_map = M.ExactFlowMap(growth, M.TimeSet(0.0, 1.0, start=0.0))
    box = fm.testing.Box([-1.0], [1.0])
    refused(
        lambda: fm.testing.verify(a_map, lambda t, x: x, domain=box, times=(0.0, 1.0)),
        ValueError,
        "at any s and t of an interval, got a map of times .* s = 0 only",
    )

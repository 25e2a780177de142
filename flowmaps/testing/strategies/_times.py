"""Times: one, the two ends of a span, or three."""

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from flowmaps._checks import as_count, brief, is_number
from flowmaps._typing import Count
from flowmaps.testing.strategies._numbers import numbers

__all__ = ["as_gap", "spans", "times", "triples"]

_DIRECTIONS = ("both", "forward", "backward")


def times(
    lower: float = 0.0, upper: float = 1.0, batch: Count | None = None
) -> st.SearchStrategy[Any]:
    """Return a strategy for a time in [lower, upper], which shrinks to the plainest there is.

    Args:
        lower, upper: ends of the interval.
        batch: for a clock (batch,), float64, instead of one number.

    Raises:
        TypeError, ValueError: if the ends are no interval, or batch no positive whole number.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> hypothesis.find(fm.testing.strategies.times(0.0, 5.0), lambda t: t > 0.3)
        1.0
    """
    _check(lower, upper, 0.0, 0, "both")
    return _batched(numbers(lower, upper).map(lambda t: (t,)), batch).map(lambda found: found[0])


def spans(
    lower: float = 0.0,
    upper: float = 1.0,
    gap: float = 0.0,
    directions: str = "both",
    batch: Count | None = None,
) -> st.SearchStrategy[tuple[Any, Any]]:
    """Return a strategy for pairs (s, t) of times at least a gap apart.

    Args:
        lower, upper: ends of the interval in which both lie.
        gap: smallest |t - s|; with 0 a pair may be (s, s).
        directions: "forward" for s <= t, "backward" for s >= t, or "both".
        batch: for clocks (batch,), every sample with times of its own, instead of numbers.

    Raises:
        TypeError, ValueError: if the interval does not hold such a gap, or an argument is none.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> spans = fm.testing.strategies.spans(0.0, 2.0, gap=0.5)
        >>> hypothesis.find(spans, lambda span: span[0] > span[1])
        (1.0, 0.0)
    """
    _check(lower, upper, gap, 1, directions)
    return _batched(_ordered(2, lower, upper, gap, directions), batch)


def triples(
    lower: float = 0.0,
    upper: float = 1.0,
    gap: float = 0.0,
    directions: str = "both",
    batch: Count | None = None,
) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    """Return a strategy for triples (s, u, t) of times, each two of them at least a gap apart.

    Args:
        lower, upper: ends of the interval in which all lie.
        gap: smallest distance of two of the times.
        directions: "forward" for s <= u <= t, "backward" for s >= u >= t, or "both" for any order,
            such as u after both s and t.
        batch: for clocks (batch,), every sample with times of its own, instead of numbers.

    Raises:
        TypeError, ValueError: if the interval does not hold two such gaps, or an argument is none.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> triples = fm.testing.strategies.triples(0.0, 2.0, gap=0.1, directions="forward")
        >>> s, u, t = hypothesis.find(triples, lambda times: True)
        >>> 0.0 <= s < u < t <= 2.0
        True
    """
    _check(lower, upper, gap, 2, directions)
    return _batched(_ordered(3, lower, upper, gap, directions), batch)


def _ordered(
    n: int, lower: float, upper: float, gap: float, directions: str
) -> st.SearchStrategy[tuple[float, ...]]:
    """Return n times a gap apart, increasing, and then in an order that is allowed."""
    if gap == 0:
        found = st.tuples(*[numbers(lower, upper)] * n)
        if directions == "both":
            return found
        return found.map(lambda times: tuple(sorted(times, reverse=directions == "backward")))

    @st.composite
    def increasing(draw: st.DrawFn) -> tuple[float, ...]:
        found: list[float] = []
        for k in range(n):
            first = lower if not found else _beyond(found[-1], gap)
            last = max(first, min(upper, upper - (n - 1 - k) * gap))
            found.append(draw(numbers(first, last)))
        if directions == "forward":
            return tuple(found)
        if directions == "backward":
            return tuple(reversed(found))
        return tuple(draw(st.permutations(found)))

    # The last ones of many gaps may miss the interval by their rounding.
    return increasing().filter(lambda found: max(found) <= upper)


def _beyond(time: float, gap: float) -> float:
    """Return the first number that is not less than a gap after a time."""
    after = time + gap
    return after if after - time >= gap else math.nextafter(after, math.inf)


def _batched(
    one: st.SearchStrategy[tuple[float, ...]], batch: Count | None
) -> st.SearchStrategy[tuple[Any, ...]]:
    if batch is None:
        return one
    n = as_count(batch, "batch")
    return st.lists(one, min_size=n, max_size=n).map(_clocks)


def _clocks(found: list[tuple[float, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(found, dtype=torch.float64).unbind(1))


def _check(lower: Any, upper: Any, gap: Any, gaps: int, directions: Any) -> None:
    if not all(is_number(a) for a in (lower, upper, gap)):
        got = ", ".join(brief(a) for a in (lower, upper, gap))
        raise TypeError(f"lower, upper and gap must be numbers, got {got}")
    if not -math.inf < lower < upper < math.inf:
        raise ValueError(f"times need finite ends with lower < upper, got {lower} and {upper}")
    if not 0 <= gap * gaps <= upper - lower:
        raise ValueError(
            f"gap must be at least 0, and {gaps} of them fit in [{lower}, {upper}], got {gap}"
        )
    as_gap(gap, directions)


def as_gap(gap: Any, directions: Any) -> float:
    """Return a gap of times in some directions, for an interval that is not known yet.

    Raises:
        TypeError, ValueError: if it is no number of at least 0, or there are no such directions.
    """
    if not is_number(gap):
        raise TypeError(f"gap must be a number, got {brief(gap)}")
    if not 0 <= gap < math.inf:
        raise ValueError(f"gap must be at least 0, got {gap}")
    if directions not in _DIRECTIONS:
        raise ValueError(f"directions must be one of {_DIRECTIONS}, got {directions!r}")
    return float(gap)

"""Plain numbers, of which all else is made."""

import math
from functools import lru_cache
from typing import Any

import torch
from hypothesis import strategies as st

from flowmaps._checks import as_count, brief, is_number
from flowmaps._typing import Count

__all__ = ["as_counts", "as_dtype", "as_strategy", "numbers", "rows"]

_NEGLIGIBLE = 1e-9
"""Below this part of the range a number is zero."""


def numbers(lower: float, upper: float) -> st.SearchStrategy[float]:
    """Return a strategy for numbers in [lower, upper] that shrinks to 0, 1 and -1.

    What is tiny beside the range is zero: 1e-300 would test underflow, not a flow map. These are no
    sample of the range: a quarter or so lies close to zero, to whole numbers, to the ends.

    Args:
        lower, upper: finite, lower at most upper.

    Raises:
        TypeError: if an end is no number.
        ValueError: if an end is not finite, or lower exceeds upper.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> strategies = fm.testing.strategies
        >>> hypothesis.find(strategies.numbers(-2.0, 2.0), lambda a: a**2 > 0.1)
        1.0
    """
    if not is_number(lower) or not is_number(upper):
        raise TypeError(f"lower and upper must be numbers, got {brief(lower)} and {brief(upper)}")
    if not -math.inf < lower <= upper < math.inf:
        raise ValueError(f"needs finite ends with lower <= upper, got {lower} and {upper}")
    return _numbers(float(lower), float(upper))


@lru_cache(maxsize=4096)  # to make a strategy takes longer than to draw from it
def _numbers(low: float, high: float) -> st.SearchStrategy[float]:
    if not low <= 0.0 <= high:
        return st.floats(low, high)
    negligible = _NEGLIGIBLE * max(-low, high)
    return st.floats(low, high).map(lambda a: 0.0 if abs(a) <= negligible else a)


def as_counts(value: Count | tuple[Count, Count], name: str) -> tuple[int, int]:
    """Return the least and the most of a number that is given, or drawn between two.

    Raises:
        TypeError, ValueError: if it is no whole number of at least 1, or no such pair, in order.
    """
    if not isinstance(value, tuple):
        count = as_count(value, name)
        return count, count
    if len(value) != 2:
        raise ValueError(f"{name} must be a number or a pair (least, most), got {brief(value)}")
    least, most = (as_count(one, name) for one in value)
    if least > most:
        raise ValueError(f"{name} must be (least, most) with least <= most, got {brief(value)}")
    return least, most


def as_dtype(dtype: Any) -> torch.dtype:
    """Return a floating dtype.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating one such as torch.float64, got {brief(dtype)}")
    return dtype


def as_strategy(value: Any, name: str) -> st.SearchStrategy[Any]:
    """Return a strategy.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, st.SearchStrategy):
        raise TypeError(
            f"{name} must be a strategy such as flowmaps.testing.strategies.flows(dim=2), "
            f"got {brief(value)}"
        )
    return value


def rows(element: st.SearchStrategy, counts: tuple[int, int]) -> st.SearchStrategy[list]:
    """Return lists of a length between two, which shrink to few and plain elements."""
    return st.lists(element, min_size=counts[0], max_size=counts[1])

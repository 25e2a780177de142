"""Going through a sequence of maps that meet at given times: what Piecewise and Through share.

Piece i covers [breaks[i - 1], breaks[i]]. Inside a piece a sample's own time is live; at a break it
is the constant break. So derivatives at a break are one-sided, taken inside the span from s to t.
"""

from collections.abc import Sequence
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import as_clock, brief, is_number, shaped_like
from flowmaps._typing import Clock, Condition, Mask, State
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._selection import nobody, stand_in
from flowmaps.maps._times import TimeSet

__all__ = ["Piece", "check_breaks", "legs", "pieces_of", "sweep"]


class Piece(NamedTuple):
    """A flow map and the interval [lower, upper] that it covers."""

    flow_map: FlowMap
    lower: float
    upper: float


def pieces_of(maps: Sequence[FlowMap], breaks: Sequence[float]) -> list[Piece]:
    """Return the pieces of maps that meet at the breaks, one fewer."""
    edges = [-inf, *breaks, inf]
    return [Piece(*piece) for piece in zip(maps, edges[:-1], edges[1:], strict=True)]


def check_breaks(breaks: Sequence[float] | Tensor, name: str) -> list[float]:
    """Return the breaks as an increasing list of floats.

    Raises:
        TypeError: if they are no list of numbers.
        ValueError: if there are none, or they are not finite, or not strictly increasing.
    """
    values = breaks.tolist() if isinstance(breaks, Tensor) else breaks
    if not isinstance(values, list | tuple) or not all(_is_number(value) for value in values):
        raise TypeError(f"{name} must be a list of numbers, got {brief(breaks)}")
    values = [float(value) for value in values]
    if not values or not all(isfinite(value) for value in values):
        raise ValueError(f"{name} must hold at least one time, all finite, got {brief(values)}")
    if any(a >= b for a, b in zip(values[:-1], values[1:], strict=True)):
        raise ValueError(f"{name} must increase strictly, got {brief(values)}")
    return values


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not value.is_complex()
    return is_number(value)


def legs(breaks: list[float], s: float, t: float) -> list[tuple[int, float, float]]:
    """Return (piece, start, end) of the way from s to t; one leg of length zero if s = t."""
    edges = [-inf, *breaks, inf]
    bounds = list(enumerate(zip(edges[:-1], edges[1:], strict=True)))
    if s == t:
        return [(i, s, t) for i, (lower, upper) in bounds if lower <= s < upper]
    low, high = min(s, t), max(s, t)
    way = [(i, max(low, a), min(high, b)) for i, (a, b) in bounds if low < b and high > a]
    return way if s < t else [(i, b, a) for i, a, b in reversed(way)]


def sweep(
    pieces: list[Piece],
    times: TimeSet,
    s: float | Tensor,
    t: float | Tensor,
    x: State,
    condition: Condition,
) -> Tensor:
    """Transport x from s to t through the pieces, every sample through those that it meets.

    Directions that ``times`` does not allow are left out.
    """
    if isinstance(s, float) and isinstance(t, float):
        for i, start, end in legs([piece.upper for piece in pieces[:-1]], s, t):
            x = pieces[i].flow_map(start, end, x, condition)
        return x
    start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    resting = _resting(times, start, end)
    for piece in pieces if times.forward else ():
        crossing = (start < piece.upper) & (end > piece.lower) & (start < end)
        here = resting & (start >= piece.lower) & (start < piece.upper)
        x = _leg(piece, start, end, crossing & ~resting, here, x, condition)
    for piece in reversed(pieces) if times.backward else ():
        crossing = (start > piece.lower) & (end < piece.upper) & (end < start)
        here = resting & (start >= piece.lower) & (start < piece.upper) & (not times.forward)
        x = _leg(piece, start, end, crossing & ~resting, here, x, condition)
    return x


def _resting(times: TimeSet, start: Clock, end: Clock) -> Mask:
    """Tell which samples go nowhere: s = t, or within rounding of it on the side not allowed."""
    if times.forward and times.backward:
        return start == end
    return start >= end if times.forward else start <= end


def _leg(
    piece: Piece, s: Clock, t: Clock, crossing: Mask, here: Mask, x: State, condition: Condition
) -> Tensor:
    """Take the samples crossing or resting here through one piece, and no other."""
    inside = crossing | here
    if len(x) == 0 or nobody(inside):
        return x
    rest = s.detach().clamp(piece.lower, piece.upper)
    start, end = (
        torch.where(here, time, torch.where(crossing, _within(time, piece), rest))
        for time in (s, t)
    )
    moved = piece.flow_map(*stand_in(inside, (start, end, x, condition)))
    return torch.where(shaped_like(inside, x), moved, x)


def _within(time: Clock, piece: Piece) -> Tensor:
    """Clamp to [lower, upper]: live up to and including the ends, constant beyond."""
    time = torch.where(time < piece.lower, piece.lower, time)
    return torch.where(time > piece.upper, piece.upper, time)

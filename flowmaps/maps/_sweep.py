"""Going through a sequence of maps that meet at given times: what Piecewise and Through share.

Piece i covers [breaks[i - 1], breaks[i]]. Inside a piece a sample's own time is live; at a break it is the
constant break. So derivatives at a break are one-sided, taken inside the span between s and t.
"""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from flowmaps._checks import as_clock
from flowmaps._transforms import any_item
from flowmaps._typing import Clock, Condition
from flowmaps.maps._flow_map import FlowMap

__all__ = ["check_breaks", "legs", "sweep"]


def check_breaks(breaks: Sequence[float] | Tensor, name: str) -> list[float]:
    """Return the breaks as an increasing list of floats.

    Raises:
        ValueError: if they are not finite, or not strictly increasing.
    """
    values = [float(value) for value in breaks]
    if not values or any(abs(value) == inf or value != value for value in values):
        raise ValueError(f"{name} must hold at least one finite time, got {values}")
    if any(a >= b for a, b in zip(values[:-1], values[1:], strict=True)):
        raise ValueError(f"{name} must increase strictly, got {values}")
    return values


def legs(breaks: list[float], s: float, t: float) -> list[tuple[int, float, float]]:
    """Return (piece, start, end) of the way from s to t; one leg of length zero if s = t."""
    edges = [-inf, *breaks, inf]
    if s == t:
        return [(i, s, t) for i in range(len(edges) - 1) if edges[i] <= s < edges[i + 1]]
    low, high = min(s, t), max(s, t)
    way = []
    for i, (lower, upper) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        if low < upper and high > lower:
            way.append((i, max(low, lower), min(high, upper)))
    return way if s < t else [(i, b, a) for i, a, b in reversed(way)]


def sweep(
    pieces: Sequence[FlowMap],
    breaks: list[float],
    s: float | Tensor,
    t: float | Tensor,
    x: Tensor,
    condition: Condition,
) -> Tensor:
    """Transport x from s to t through the pieces, every sample through those that it meets."""
    if isinstance(s, float) and isinstance(t, float):
        for i, start, end in legs(breaks, s, t):
            x = pieces[i](start, end, x, condition)
        return x
    start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    edges = [-inf, *breaks, inf]
    bounds = list(zip(pieces, edges[:-1], edges[1:], strict=True))
    for piece, lower, upper in bounds:
        inside = (start < upper) & (end > lower) & (start < end)
        inside = inside | ((start == end) & (start >= lower) & (start < upper))
        x = _leg(piece, start, end, lower, upper, inside, x, condition)
    for piece, lower, upper in reversed(bounds):
        inside = (start > lower) & (end < upper) & (end < start)
        x = _leg(piece, start, end, lower, upper, inside, x, condition)
    return x


def _leg(
    piece: FlowMap,
    s: Clock,
    t: Clock,
    lower: float,
    upper: float,
    inside: Tensor,
    x: Tensor,
    condition: Condition,
) -> Tensor:
    """Take the samples inside through one piece; the others stand still at a time of the piece."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and not any_item(inside):
        return x
    rest = s.detach().clamp(lower, upper)
    start = torch.where(inside, _within(s, lower, upper), rest)
    end = torch.where(inside, _within(t, lower, upper), rest)
    moved = piece(start, end, x, condition)
    return torch.where(inside.reshape(-1, *([1] * (x.ndim - 1))), moved, x)


def _within(time: Clock, lower: float, upper: float) -> Tensor:
    """Clamp to [lower, upper]: live up to and including the ends, constant beyond."""
    time = torch.where(time < lower, lower, time)
    return torch.where(time > upper, upper, time)

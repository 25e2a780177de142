"""One flow map before a time, another after."""

from collections.abc import Sequence
from math import inf
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from flowmaps._checks import brief, shaped_like
from flowmaps._typing import Condition, State
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._selection import nobody, stand_in
from flowmaps.maps._sweep import Piece, check_breaks, legs, pieces_of, sweep
from flowmaps.maps._times import TimeSet

__all__ = ["Piecewise"]


@final
class Piecewise(FlowMap):
    """The flow map that follows maps[0] before breaks[0], then maps[1] until breaks[1], and so on.

    Derivatives in s and t at a break are one-sided, inside the span; with s = t at a break the
    later map counts. Spans may be as long as the maps allow inside their stretches; for longer ones
    give ``flow_map.through(grid)`` instead of a map of short spans.

    Args:
        maps: flow maps in the order of time.
        breaks: the times at which they meet, one fewer than maps, strictly increasing.

    Raises:
        TypeError, ValueError: if a map is no FlowMap or not for the times between its breaks, or
            breaks do not fit.

    Example:
        >>> import torch, flowmaps as fm
        >>> slow = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> fast = fm.maps.ExactFlowMap(lambda s, t, x: x + 10 * (t - s)[:, None])
        >>> fm.maps.Piecewise([slow, fast], [1.0])(0.0, 2.0, torch.zeros(1, 1)).item()
        11.0
    """

    def __init__(self, maps: Sequence[FlowMap], breaks: Sequence[float] | Tensor):
        if not isinstance(maps, list | tuple) or not all(isinstance(m, FlowMap) for m in maps):
            got = [type(m).__name__ for m in maps] if isinstance(maps, list | tuple) else maps
            raise TypeError(f"Piecewise needs a list of FlowMaps, got {brief(got)}")
        values = check_breaks(breaks, "breaks")
        if len(values) != len(maps) - 1:
            raise ValueError(
                f"{len(maps)} maps meet at {len(maps) - 1} breaks, got {len(values)} breaks"
            )
        super().__init__(_common_times(pieces_of(maps, values)))
        self.maps = nn.ModuleList(maps)
        self.breaks = values

    def _pieces(self) -> list[Piece]:
        return pieces_of(cast("list[FlowMap]", list(self.maps)), self.breaks)

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        return sweep(self._pieces(), self.times, s, t, x, condition)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        """Return the velocity of the map at t, the later one at a break."""
        if not isinstance(t, Tensor):
            ((i, _, _),) = legs(self.breaks, t, t)
            return self._pieces()[i].flow_map.velocity(t, x, condition)
        total = torch.full_like(x, torch.nan)
        for flow_map, lower, upper in self._pieces():
            inside = (t >= lower) & (t < upper)
            if len(x) == 0 or nobody(inside):
                continue
            time = torch.where(inside, t, t.detach().clamp(lower, upper))
            own = flow_map.velocity(*stand_in(inside, (time, x, condition)))
            total = torch.where(shaped_like(inside, x), own, total)
        return total

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of the parts."""
        pieces = self._pieces()
        return sum(pieces[i].flow_map.evaluations(a, b) for i, a, b in legs(self.breaks, s, t))

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"maps": list(self.maps), "breaks": self.breaks}


def _common_times(pieces: list[Piece]) -> TimeSet:
    """Return the times from the first map's start to the last one's end.

    A map whose longest span is shorter than its stretch bounds the span of the whole.

    Raises:
        ValueError: if a map is not for a break at which it meets another.
    """
    for number, (flow_map, lower, upper) in enumerate(pieces):
        for time in (lower, upper):
            if abs(time) != inf and not flow_map.times.admits(time, time):
                raise ValueError(
                    f"map {number} is for {flow_map.times}, but it meets another at {time}"
                )
    spans = [inf]
    for flow_map, lower, upper in pieces:
        own = flow_map.times
        if own.max_span < min(upper, own.upper) - max(lower, own.lower):
            spans.append(own.max_span)
    return TimeSet(
        pieces[0].flow_map.times.lower,
        pieces[-1].flow_map.times.upper,
        max_span=min(spans),
        forward=all(piece.flow_map.times.forward for piece in pieces),
        backward=all(piece.flow_map.times.backward for piece in pieces),
    )

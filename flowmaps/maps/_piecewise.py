"""One flow map before a time, another after."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from flowmaps._checks import as_time, check_state
from flowmaps._typing import Condition, Time
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._sweep import check_breaks, legs, sweep
from flowmaps.maps._times import TimeSet

__all__ = ["Piecewise"]


class Piecewise(FlowMap):
    """The flow map that follows maps[0] before breaks[0], maps[1] between breaks[0] and breaks[1], and so on.

    Derivatives in s and t at a break are one-sided, inside the span; with s = t at a break the later map counts.

    Args:
        maps: flow maps in the order of time.
        breaks: the times at which they meet, one fewer than maps, strictly increasing.

    Raises:
        TypeError, ValueError: if a map is no FlowMap, or breaks do not fit.

    Example:
        >>> import torch, flowmaps as fm
        >>> slow = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> fast = fm.maps.ExactFlowMap(lambda s, t, x: x + 10 * (t - s)[:, None])
        >>> fm.maps.Piecewise([slow, fast], [1.0])(0.0, 2.0, torch.zeros(1, 1)).item()
        11.0
    """

    def __init__(self, maps: Sequence[FlowMap], breaks: Sequence[float] | Tensor):
        maps = list(maps)
        if not maps or not all(isinstance(part, FlowMap) for part in maps):
            raise TypeError("Piecewise needs a list of FlowMaps")
        self_breaks = check_breaks(breaks, "breaks")
        if len(self_breaks) != len(maps) - 1:
            raise ValueError(
                f"{len(maps)} maps meet at {len(maps) - 1} breaks, got {len(self_breaks)} breaks"
            )
        super().__init__(
            TimeSet(
                maps[0].times.lower,
                maps[-1].times.upper,
                forward=all(part.times.forward for part in maps),
                backward=all(part.times.backward for part in maps),
            )
        )
        self.maps = nn.ModuleList(maps)
        self.breaks = self_breaks

    @property
    def derivatives(self) -> str:
        """``"by relation"`` if a part's are."""
        kinds = {part.derivatives for part in self.maps}
        return "by relation" if "by relation" in kinds else "independent"

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        return sweep(list(self.maps), self.breaks, s, t, x, condition)

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the velocity of the map at t, the later one at a break; (batch, *event)."""
        check_state(x)
        time = as_time(t, x, "t")
        if isinstance(time, float):
            ((i, _, _),) = legs(self.breaks, time, time)
            return self.maps[i].velocity(time, x, condition)
        return super().velocity(time, x, condition)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of the parts."""
        return sum(self.maps[i].evaluations(a, b) for i, a, b in legs(self.breaks, s, t))

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"maps": list(self.maps), "breaks": self.breaks}

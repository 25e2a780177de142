"""Transition maps: a flow map between two given times, composed with ``@`` and inverted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from flowmaps._checks import brief, is_number
from flowmaps._transforms import any_item
from flowmaps._typing import Condition, Time
from flowmaps.maps._flow_map import FlowMap

__all__ = ["Chain", "Leg", "TransitionMap"]


class TransitionMap(nn.Module, ABC):
    """A map x -> X_{s,t}(x) that knows its start time s and end time t.

    ``later @ earlier`` composes; the times must meet within rounding. ``inverse()`` goes back.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
        >>> there = growth.between(1.0, 2.0) @ growth.between(0.0, 1.0)
        >>> back = there.inverse()
        >>> isinstance(back, fm.maps.TransitionMap), back.s, back.t
        (True, 2.0, 0.0)
    """

    s: Time
    t: Time

    @abstractmethod
    def forward(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return X_{s,t}(x), (batch, *event)."""

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Number of calls of underlying flow maps."""

    @property
    def parts(self) -> tuple[TransitionMap, ...]:
        """The transition maps it is composed of, in the order in which they act."""
        return (self,)

    @abstractmethod
    def inverse(self, method: str = "map") -> TransitionMap:
        """Return the transition map from t to s.

        Args:
            method: ``"map"`` evaluates the flow map backwards; ``"newton"`` solves X_{s,t}(y) = x,
                for maps without a (good) backward direction.

        Raises:
            ValueError: for another method.
            UntrainedTimes: by ``"map"``, if the flow map is not for that direction.
        """

    def __matmul__(self, earlier: TransitionMap) -> Chain:
        if not isinstance(earlier, TransitionMap):
            raise TypeError(
                "only transition maps compose: use flow_map.between(s, t), "
                f"got {type(earlier).__name__}"
            )
        return Chain(earlier.parts + self.parts)


@final
class Leg(TransitionMap):
    """The transition map of one flow map; made by ``flow_map.between(s, t)``.

    Args:
        flow_map: X.
        s, t: times, finite numbers or real tensors of shape () or (batch,), which go where the
            states are.

    Raises:
        TypeError, ValueError: if flow_map is not a FlowMap, or the times are none.
        UntrainedTimes: for number-valued times that the map is not for.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
        >>> whole = growth.between(0.3, 1.0) @ growth.between(0.0, 0.1 + 0.2)
        >>> round(whole(torch.ones(1, 1)).item(), 4), whole.evaluations, whole.inverse().t
        (2.7183, 2, 0.0)
    """

    def __init__(self, flow_map: FlowMap, s: Time, t: Time):
        super().__init__()
        if not isinstance(flow_map, FlowMap):
            raise TypeError(f"a transition map needs a FlowMap, got {type(flow_map).__name__}")
        self.flow_map = flow_map
        self.s, self.t = _given(s, "s"), _given(t, "t")
        flow_map.check_times(self.s, self.t)

    def forward(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return X_{s,t}(x), (batch, *event)."""
        return self.flow_map(*self.times_on(x), x, condition)

    def times_on(self, x: Tensor) -> tuple[Time, Time]:
        """Return s and t, tensors on x's device: they keep their dtype and are no buffers."""
        if not isinstance(x, Tensor):
            return self.s, self.t
        s, t = (a.to(x.device) if isinstance(a, Tensor) else a for a in (self.s, self.t))
        return s, t

    @property
    def evaluations(self) -> int:
        """Number of calls of underlying flow maps, the most of any sample for tensor times."""
        s, t = torch.broadcast_tensors(_as_tensor(self.s), _as_tensor(self.t))
        pairs = zip(s.reshape(-1).tolist(), t.reshape(-1).tolist(), strict=True)
        return max((self.flow_map.evaluations(a, b) for a, b in pairs), default=0)

    def inverse(self, method: str = "map") -> TransitionMap:
        """Return the transition map from t to s; see TransitionMap.inverse."""
        from flowmaps.maps._newton import NewtonInverse

        check_method(method)
        return Leg(self.flow_map, self.t, self.s) if method == "map" else NewtonInverse(self)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "s": self.s, "t": self.t}

    def extra_repr(self) -> str:
        """Name the times."""
        return f"s={self.s}, t={self.t}"


@final
class Chain(TransitionMap):
    """The composition of transition maps whose times meet; made by ``@``.

    Args:
        parts: transition maps in the order in which they act.

    Raises:
        TypeError: if a part is no transition map.
        ValueError: if there is none, or the end of one is not the start of the next, beyond
            rounding.

    Example:
        >>> import flowmaps as fm
        >>> rest = fm.maps.Identity()
        >>> len(fm.maps.Chain([rest.between(0.0, 1.0), rest.between(1.0, 3.0)]).parts)
        2
    """

    def __init__(self, parts: Sequence[TransitionMap]):
        super().__init__()
        if not isinstance(parts, list | tuple) or not all(
            isinstance(part, TransitionMap) for part in parts
        ):
            raise TypeError(
                "a Chain is made of a list of transition maps: use flow_map.between(s, t), "
                f"got {brief(parts)}"
            )
        if not parts:
            raise ValueError("a Chain needs at least one transition map")
        for earlier, later in zip(parts[:-1], parts[1:], strict=True):
            if not _meet(earlier, later):
                raise ValueError(
                    f"times must meet: the earlier map ends at {earlier.t}, "
                    f"the later one starts at {later.s}"
                )
        self._parts = nn.ModuleList(parts)
        self.s, self.t = parts[0].s, parts[-1].t

    @property
    def parts(self) -> tuple[TransitionMap, ...]:
        """The transition maps in the order in which they act."""
        return tuple(self._parts)  # pyright: ignore[reportReturnType]

    @property
    def evaluations(self) -> int:
        """Number of calls of underlying flow maps."""
        return sum(part.evaluations for part in self.parts)

    def forward(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the composition's value, (batch, *event)."""
        for part in self.parts:
            x = part(x, condition)
        return x

    def inverse(self, method: str = "map") -> TransitionMap:
        """Return the chain of inverses in reverse order."""
        return Chain([part.inverse(method) for part in reversed(self.parts)])

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"parts": list(self.parts)}


def check_method(method: str) -> None:
    """Raise ValueError unless method names a way to invert."""
    if method not in ("map", "newton"):
        raise ValueError(f'an inverse is by method "map" or "newton", got {method!r}')


def _given(time: Any, name: str) -> Time:
    """Return a time as a float or a tensor; raise TypeError or ValueError for what can be none."""
    if isinstance(time, np.ndarray):
        time = torch.as_tensor(time)
    if isinstance(time, Tensor):
        if time.is_complex() or time.dtype == torch.bool:
            raise TypeError(f"{name} must be real, got dtype {time.dtype}")
        if time.ndim > 1:
            raise ValueError(f"{name} must have shape () or (batch,), got {tuple(time.shape)}")
        return time
    if not is_number(time):
        raise TypeError(f"{name} must be a number or a tensor, got {brief(time)}")
    if not math.isfinite(time):
        raise ValueError(f"{name} must be a finite time, got {time}")
    return float(time)


def _as_tensor(time: Time) -> Tensor:
    if isinstance(time, Tensor):
        return time.detach().double()
    return torch.tensor(float(time), dtype=torch.float64)


def _meet(earlier: TransitionMap, later: TransitionMap) -> bool:
    """Tell whether two maps meet within eight rounding units of their times.

    The units are float64's, or those of the coarsest floating-point tensor that a time came in.
    """
    times = (earlier.s, earlier.t, later.s, later.t)
    dtypes = [time.dtype for time in times if isinstance(time, Tensor)]
    units = [torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point]
    try:
        start, end, resume, stop = torch.broadcast_tensors(*map(_as_tensor, times))
    except RuntimeError:  # times of different batches
        return False
    sizes = torch.stack([start.abs(), end.abs(), resume.abs(), stop.abs()]).amax(0)
    unit = max(units, default=torch.finfo(torch.float64).eps)
    return not any_item(~((end - resume).abs() <= 8 * unit * sizes))

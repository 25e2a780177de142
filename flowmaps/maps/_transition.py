"""Transition maps: a flow map between two given times, composed with ``@`` and inverted."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowmaps._transforms import any_item
from flowmaps._typing import Condition, Time
from flowmaps.maps._flow_map import FlowMap

__all__ = ["Chain", "Leg", "TransitionMap"]


class TransitionMap(nn.Module, ABC):
    """A map x -> X_{s,t}(x) that knows its start time s and end time t.

    ``later @ earlier`` composes; the times must meet within rounding. ``inverse()`` goes back.
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
            method: ``"map"`` evaluates the flow map backwards; ``"newton"`` solves X_{s,t}(y) = x, for maps
                without a (good) backward direction.

        Raises:
            ValueError: for another method.
        """

    def __matmul__(self, earlier: TransitionMap) -> Chain:
        if not isinstance(earlier, TransitionMap):
            raise TypeError(
                f"only transition maps compose: use flow_map.between(s, t), got {type(earlier).__name__}"
            )
        return Chain(earlier.parts + self.parts)


class Leg(TransitionMap):
    """The transition map of one flow map; made by ``flow_map.between(s, t)``.

    Args:
        flow_map: X.
        s, t: times, numbers or tensors of shape () or (batch,).

    Raises:
        TypeError: if flow_map is not a FlowMap.

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
        self.s, self.t = s, t

    def forward(self, x: Tensor, condition: Condition = None) -> Tensor:
        """Return X_{s,t}(x), (batch, *event)."""
        return self.flow_map(self.s, self.t, x, condition)

    @property
    def evaluations(self) -> int:
        """Number of calls of underlying flow maps; for tensor-valued times, the most of any sample."""
        s, t = torch.broadcast_tensors(torch.as_tensor(self.s), torch.as_tensor(self.t))
        pairs = zip(s.reshape(-1).tolist(), t.reshape(-1).tolist(), strict=True)
        return max(self.flow_map.evaluations(a, b) for a, b in pairs)

    def inverse(self, method: str = "map") -> TransitionMap:
        """Return the transition map from t to s; see TransitionMap.inverse."""
        from flowmaps.maps._newton import NewtonInverse

        check_method(method)
        return Leg(self.flow_map, self.t, self.s) if method == "map" else NewtonInverse(self)

    def extra_repr(self) -> str:
        """Name the times."""
        return f"s={self.s}, t={self.t}"


class Chain(TransitionMap):
    """The composition of transition maps whose times meet; made by ``@``.

    Args:
        parts: transition maps in the order in which they act.

    Raises:
        ValueError: if the end of one is not the start of the next, beyond rounding.
    """

    def __init__(self, parts: tuple[TransitionMap, ...]):
        super().__init__()
        for earlier, later in zip(parts[:-1], parts[1:], strict=True):
            if not _meet(earlier.t, later.s):
                raise ValueError(
                    f"times must meet: the earlier map ends at {earlier.t}, the later one starts at {later.s}"
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
        return Chain(tuple(part.inverse(method) for part in reversed(self.parts)))


def check_method(method: str) -> None:
    """Raise ValueError unless method names a way to invert."""
    if method not in ("map", "newton"):
        raise ValueError(f'an inverse is by method "map" or "newton", got {method!r}')


def _meet(end: Time, start: Time) -> bool:
    """Tell whether two times are equal within eight rounding units of float64 (float32 if one came in it)."""
    a, b = torch.as_tensor(end), torch.as_tensor(start)
    single = any(isinstance(v, Tensor) and v.dtype == torch.float32 for v in (end, start))
    eps = torch.finfo(torch.float32 if single else torch.float64).eps
    a, b = a.detach().double(), b.detach().double()
    try:
        gap = (a - b).abs()
    except RuntimeError:
        return False
    scale = torch.maximum(torch.maximum(a.abs(), b.abs()), torch.ones_like(gap))
    return not any_item(~(gap <= 8 * eps * scale))

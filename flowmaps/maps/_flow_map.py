"""The flow map as an object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    as_time,
    check_condition,
    check_output,
    check_state,
    per_sample,
)
from flowmaps._typing import Condition, Time
from flowmaps.calculus import time_derivative
from flowmaps.maps._times import TimeSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowmaps.maps._through import Through
    from flowmaps.maps._transition import Leg

__all__ = ["FlowMap", "time_rows"]


class FlowMap(nn.Module, ABC):
    """The flow map X_{s,t} of an ordinary differential equation, whatever it is made of.

    ``flow_map(s, t, x, condition=None)`` takes states x (batch, *event) at times s to times t. A kind of map
    implements ``_transport``; everything else follows. Deterministic in eval mode.

    Args:
        times: the pairs of times that the map is for.
    """

    def __init__(self, times: TimeSet | None = None):
        super().__init__()
        self.times = TimeSet() if times is None else times

    @abstractmethod
    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        """Compute X_{s,t}(x); s and t are floats or clocks (batch,), float64, already checked."""

    def forward(self, s: Time, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return X_{s,t}(x), with x's shape, dtype and device.

        Args:
            s, t: numbers or tensors of shape () or (batch,), any real dtype, in either order.
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError: for wrong shapes, dtypes, devices.
            UntrainedTimes: for number-valued times outside ``self.times``; tensor-valued ones give NaN, and
                raise only under ``fm.checking("full")``.
        """
        check_state(x)
        if condition is not None:
            check_condition(condition, x)
        s, t = as_time(s, x, "s"), as_time(t, x, "t")
        spoil = self.times.spoil(s, t)
        y = check_output(self._transport(s, t, x, condition), x, type(self).__name__)
        return y if spoil is None else y * per_sample(spoil, y)

    @property
    def derivatives(self) -> str:
        """``"by relation"`` if any time derivative comes from dX/dt = b itself, else ``"independent"``."""
        parts = (child for child in self.children() if isinstance(child, FlowMap))
        return "by relation" if any(p.derivatives == "by relation" for p in parts) else "independent"

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the tangent d/dt X_{s,t}(x) at s = t, a field: (batch, *event)."""
        return time_derivative(self, t, t, x, condition)

    def along(
        self, s: Time, times: Tensor | Sequence[float], x: Tensor, condition: Condition = None
    ) -> Tensor:
        """Return the states at many times, (n_times, batch, *event), in one batched call.

        Args:
            s: start, a number or a tensor of shape () or (batch,).
            times: (n_times,) or (n_times, batch), a list or a tensor.
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            ValueError: for times of another shape.
        """
        check_state(x)
        rows = time_rows(times, x)
        n = len(rows)
        start = as_clock(s, x, "s").repeat(n)
        spread = pytree.tree_map(lambda leaf: _repeat(leaf, n), (x, condition))
        y = self(start, rows.reshape(-1), *spread)
        return y.reshape(n, *x.shape)

    def between(self, s: Time, t: Time) -> Leg:
        """Return the transition map x -> X_{s,t}(x), which knows its times and composes with ``@``."""
        from flowmaps.maps._transition import Leg

        return Leg(self, s, t)

    def through(self, grid: Sequence[float] | Tensor) -> Through:
        """Return the flow map that goes by way of the times of a grid, whatever (s, t) it is asked for."""
        from flowmaps.maps._through import Through

        return Through(self, grid)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of underlying maps that X_{s,t} takes; 1 unless the map is composed."""
        return 1


def time_rows(times: Tensor | Sequence[float], x: Tensor) -> Tensor:
    """Return times as (n_times, batch), float64, on x's device.

    Raises:
        ValueError: for no times or another shape.
    """
    times = torch.as_tensor(times, device=x.device).to(torch.float64)
    if times.ndim == 1:
        times = times[:, None].expand(-1, len(x))
    if times.ndim != 2 or times.shape[1] != len(x) or not len(times):
        raise ValueError(
            f"times must have shape (n_times,) or (n_times, {len(x)}) with at least one time, "
            f"got {tuple(times.shape)}"
        )
    return times


def _repeat(leaf: Tensor | None, n: int) -> Tensor | None:
    return None if leaf is None else leaf.repeat(n, *([1] * (leaf.ndim - 1)))

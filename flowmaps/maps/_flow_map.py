"""The flow map as an object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from flowmaps._checks import (
    as_clock,
    as_time,
    brief,
    check_condition,
    check_output,
    check_state,
    is_number,
    per_sample,
    repeat_rows,
)
from flowmaps._typing import Clock, Condition, State, Time
from flowmaps.calculus import time_derivative
from flowmaps.maps._times import TimeSet
from flowmaps.solvers._dense import time_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowmaps.maps._through import Through
    from flowmaps.maps._transition import Leg

__all__ = ["FlowMap"]


class FlowMap(nn.Module, ABC):
    """The flow map X_{s,t} of an ordinary differential equation, whatever it is made of.

    ``flow_map(s, t, x, condition=None)`` takes states x (batch, *event) at times s to times t. A
    kind of map implements ``_transport``, and ``_tangent`` or ``_path`` where it knows better than
    to differentiate or to repeat that; everything else follows. Deterministic in eval mode.

    Args:
        times: the pairs of times that the map is for; all by default.

    Raises:
        TypeError: if times is no TimeSet.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Shift(fm.maps.FlowMap):
        ...     def _transport(self, s, t, x, condition):
        ...         return x + (t - s)
        >>> Shift()(0.0, 1.5, torch.zeros(1, 1)).item()
        1.5
    """

    def __init__(self, times: TimeSet | None = None):
        super().__init__()
        if times is not None and not isinstance(times, TimeSet):
            raise TypeError(
                f"times must be a TimeSet such as TimeSet(0.0, 1.0), got {type(times).__name__}"
            )
        self.times = TimeSet() if times is None else times

    @abstractmethod
    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        """Compute X_{s,t}(x); s and t are floats or clocks (batch,), float64; all is checked."""

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        """Compute the tangent at s = t; t is a float or a clock; all is checked."""
        return time_derivative(self, t, t, x, condition)

    def _path(self, s: Clock, rows: Tensor, x: State, condition: Condition) -> Tensor:
        """Compute X_{s,t}(x) for every row t of rows (n_times, batch); all is checked."""
        n = len(rows)
        spread = repeat_rows((s, x, condition), n)
        return self(spread[0], rows.reshape(-1), *spread[1:]).reshape(n, *x.shape)

    def forward(self, s: Time, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return X_{s,t}(x), with x's shape, dtype and device.

        Args:
            s, t: numbers or tensors of shape () or (batch,), any real dtype, in either order.
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError: for wrong shapes, dtypes, devices.
            UntrainedTimes: for number-valued times outside ``self.times``; tensor-valued ones give
                NaN, and raise only under ``fm.checking("full")``.

        Example:
            >>> import torch, flowmaps as fm
            >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
            >>> end = growth(0.0, torch.tensor([0.0, 1.0]), torch.ones(2, 1))  # one time a sample
            >>> [round(value, 4) for value in end.flatten().tolist()]
            [1.0, 2.7183]
        """
        check_condition(condition, check_state(x))
        s, t = as_time(s, x, "s"), as_time(t, x, "t")
        spoil = self.times.spoil(s, t)
        y = check_output(self._transport(s, t, x, condition), x, type(self).__name__)
        return y if spoil is None else y * per_sample(spoil, y)

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the tangent d/dt X_{s,t}(x) at s = t, a field: (batch, *event).

        Args:
            t: time, a number or a tensor of shape () or (batch,).
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError, UntrainedTimes: as the map itself.

        Example:
            >>> import torch, flowmaps as fm
            >>> growth = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
            >>> growth.velocity(0.0, torch.full((1, 1), 2.0)).item()
            2.0
        """
        check_condition(condition, check_state(x))
        t = as_time(t, x, "t")
        spoil = self.times.spoil(t, t)
        v = check_output(self._tangent(t, x, condition), x, f"{type(self).__name__}.velocity")
        return v if spoil is None else v * per_sample(spoil, v)

    def along(
        self, s: Time, times: Tensor | Sequence[float], x: Tensor, condition: Condition = None
    ) -> Tensor:
        """Return the states at many times, (n_times, batch, *event): one solve or one batched call.

        Args:
            s: start, a number or a tensor of shape () or (batch,).
            times: (n_times,) or (n_times, batch), a list or a tensor, in any order.
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError: for wrong shapes, dtypes, devices.
            UntrainedTimes: for times, numbers or tensors, that the map is not for.

        Example:
            >>> import torch, flowmaps as fm
            >>> shift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
            >>> shift.along(0.0, [0.5, 1.0, -1.0], torch.zeros(1, 1)).flatten().tolist()
            [0.5, 1.0, -1.0]
        """
        check_condition(condition, check_state(x))
        start = as_clock(s, x, "s")
        rows = time_rows(times, start, "times")
        if getattr(times, "ndim", 1) == 0 or is_number(times) or not len(rows):
            raise ValueError(
                f"times must have shape (n_times,) or (n_times, {len(x)}) with at least one time, "
                f"got {brief(times)}"
            )
        self.times.require(start, rows)
        return self._path(start, rows, x, condition)

    def check_times(self, s: Time, t: Time) -> None:
        """Raise UntrainedTimes if s and t are numbers that the map is not for."""
        if is_number(s) and is_number(t):
            self.times.spoil(float(s), float(t))

    @property
    def derivatives(self) -> str:
        """``"by relation"`` if a time derivative comes from dX/dt = b, else ``"independent"``."""
        parts = [part for part in self.modules() if isinstance(part, FlowMap) and part is not self]
        by_relation = any(part.derivatives == "by relation" for part in parts)
        return "by relation" if by_relation else "independent"

    def between(self, s: Time, t: Time) -> Leg:
        """Return the transition map x -> X_{s,t}(x), which knows its times, composes with ``@``.

        Args:
            s, t: times, finite numbers or real tensors of shape () or (batch,).

        Raises:
            TypeError, ValueError: if they are none.
            UntrainedTimes: for number-valued times that the map is not for.

        Example:
            >>> import torch, flowmaps as fm
            >>> shift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
            >>> whole = shift.between(1.0, 3.0) @ shift.between(0.0, 1.0)
            >>> whole(torch.zeros(1, 1)).item()
            3.0
        """
        from flowmaps.maps._transition import Leg

        return Leg(self, s, t)

    def through(self, grid: Sequence[float] | Tensor) -> Through:
        """Return the flow map that goes by way of the times of a grid, for any (s, t).

        Args:
            grid: increasing times; those outside a span do nothing in it.

        Raises:
            TypeError, ValueError: if they are no numbers, or do not increase.

        Example:
            >>> import torch, flowmaps as fm
            >>> euler = fm.maps.SolverFlowMap(lambda t, x: x, method=fm.solvers.Euler(), steps=1)
            >>> euler.through([0.5])(0.0, 1.0, torch.ones(1, 1)).item()
            2.25
        """
        from flowmaps.maps._through import Through

        return Through(self, grid)

    def evaluations(self, s: float, t: float) -> int:
        """Count the calls of underlying maps that X_{s,t} takes; 1 unless the map is composed."""
        return 1

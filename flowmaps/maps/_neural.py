"""A learned flow map."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    as_time,
    brief,
    check_condition,
    check_output,
    check_state,
    per_sample,
)
from flowmaps._typing import Clock, Condition, State, Time
from flowmaps.calculus._jvp import condition_directions, matching
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._mean_velocity import MeanVelocity
from flowmaps.maps._parametrization import Parametrization, per_row
from flowmaps.maps._times import TimeSet

__all__ = ["NeuralFlowMap"]


@final
class NeuralFlowMap(FlowMap):
    """A flow map made of a network by a parametrisation, for the times that it is trained for.

    Args:
        network: any module called as ``network(s, t, x, condition)`` with s, t (batch,) in x's
            dtype, returning x's shape. One with an attribute ``decodes``, (start, last time), such
            as ``fm.networks.TemporalFourier``, maps from that start alone, and also takes s, t
            (n_times, batch) and returns (n_times, *x's shape).
        parametrization: ``MeanVelocity()`` by default.
        times: pairs of times; by default those that a network decodes, else forward on [0, 1].

    Raises:
        TypeError: if network or parametrization is not of its kind.
        ValueError: for times that the network does not decode.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=16, depth=2))
        >>> learned(0.0, 1.0, torch.zeros(3, 2)).shape
        torch.Size([3, 2])
        >>> learned(1.0, 0.0, torch.zeros(3, 2))
        Traceback (most recent call last):
            ...
        flowmaps.errors.UntrainedTimes: this flow map is for times in [0, 1], s <= t only, not for
        s = 1.0, t = 0.0
    """

    def __init__(
        self,
        network: nn.Module,
        parametrization: Parametrization | None = None,
        times: TimeSet | None = None,
    ):
        super().__init__(_default_times(network) if times is None else times)
        parametrization = MeanVelocity() if parametrization is None else parametrization
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be an nn.Module, got {type(network).__name__}")
        if not isinstance(parametrization, Parametrization):
            raise TypeError(
                f"parametrization must be one such as MeanVelocity(), got {brief(parametrization)}"
            )
        _check_decoded(network, self.times)
        self.network = network
        self.parametrization = parametrization

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
        return self.parametrization(self.network, start, end, x, condition)

    def _path(self, s: Clock, rows: Tensor, x: State, condition: Condition) -> Tensor:
        if _decodes(self.network) is None:
            return super()._path(s, rows, x, condition)
        y = self.parametrization.along(self.network, s, rows, x, condition)
        y = check_output(y, x.expand(len(rows), *x.shape), type(self.parametrization).__name__)
        spoil = self.times.spoil(s.expand(rows.shape), rows)
        return y if spoil is None else y * per_row(spoil, x)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        return self.parametrization.velocity(self.network, as_clock(t, x, "t"), x, condition)

    def mean_velocity(self, s: Time, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return v_{s,t}(x) of X_{s,t}(x) = x + (t - s) v_{s,t}(x): (batch, *event).

        In low precision far better over short spans than the difference of states divided by them.

        Args:
            s, t: numbers or tensors of shape () or (batch,).
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError, UntrainedTimes: as the map itself.

        Example:
            >>> import torch, flowmaps as fm
            >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=16, depth=2))
            >>> learned.mean_velocity(0.0, 1.0, torch.ones(3, 2)).abs().max().item()
            0.0
        """
        check_condition(condition, check_state(x))
        s, t = as_time(s, x, "s"), as_time(t, x, "t")
        spoil = self.times.spoil(s, t)
        start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
        v = self.parametrization.mean_velocity(self.network, start, end, x, condition)
        v = check_output(v, x, type(self.parametrization).__name__)
        return v if spoil is None else v * per_sample(spoil, v)

    def dual(
        self,
        s: Time,
        t: Time,
        x: Tensor,
        ds: Time | None = None,
        dt: Time | None = None,
        dx: Tensor | None = None,
        condition: Condition = None,
        dcondition: Condition = None,
    ) -> tuple[Tensor, Tensor]:
        """Return X_{s,t}(x) and its derivative along (ds, dt, dx), by the network's ``dual``.

        Args:
            s, t, x, ds, dt, dx, condition, dcondition: as in ``fm.calculus.jvp``, whose values it
                gives without forward mode.

        Raises:
            TypeError: if the network or the parametrisation has no such method.
            TypeError, ValueError, UntrainedTimes: as the map itself.

        Example:
            >>> import torch, flowmaps as fm
            >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
            >>> learned.dual(0.0, 1.0, torch.ones(1, 1), dx=torch.ones(1, 1))[1].item()
            1.0
        """
        check_condition(condition, check_state(x))
        s, t = as_time(s, x, "s"), as_time(t, x, "t")
        spoil = self.times.spoil(s, t)
        start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
        rate_s = as_clock(0.0 if ds is None else ds, x, "ds")
        rate_t = as_clock(0.0 if dt is None else dt, x, "dt")
        given = matching(dx, x, "dx")
        along = torch.zeros_like(x) if given is None else given
        leaves, structure = pytree.tree_flatten(condition)
        condition_directions(dcondition, structure, leaves)
        found = self.parametrization.dual(
            self.network, start, end, x, condition, rate_s, rate_t, along, dcondition
        )
        if spoil is None:
            return found
        value, tangent = (part * per_sample(spoil, x) for part in found)
        return value, tangent

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "network": self.network,
            "parametrization": self.parametrization,
            "times": self.times,
        }


def _decodes(network: Any) -> tuple[float, float] | None:
    """Return the start and the last time of a network that decodes trajectories, or None."""
    return getattr(network, "decodes", None)


def _default_times(network: Any) -> TimeSet:
    decodes = _decodes(network)
    if decodes is None:
        return TimeSet(0.0, 1.0, backward=False)
    start, end = decodes
    return TimeSet(*sorted(decodes), forward=start < end, backward=end < start, start=start)


def _check_decoded(network: Any, times: TimeSet) -> None:
    """Raise ValueError if times are asked of a network that it does not decode."""
    decodes = _decodes(network)
    if decodes is None:
        return
    lower, upper = sorted(decodes)
    if times.start != decodes[0] or times.lower < lower or times.upper > upper:
        raise ValueError(
            f"this network decodes times in [{lower:g}, {upper:g}] from s = {decodes[0]:g} only, "
            f"got {times}; leave times out, or give TimeSet({lower:g}, {upper:g}, "
            f"start={decodes[0]:g})"
        )

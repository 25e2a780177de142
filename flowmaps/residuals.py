"""The equations of flow maps as residuals: objective, metric and test property in one.

Every function takes a flow map or any callable ``(s, t, x[, condition])``, is unreduced, and is
differentiable. Shapes are (batch, *event) unless stated. Derivatives that a map supplies by the
relation itself are switched off: a residual is always evidence. Names: s start, u middle, t end
time; X the map; b the field.

``difference(a, b)`` tells how far two states are apart, where that is not a - b, as on a circle.
``by`` takes the derivatives of the map: ``flowmaps.calculus.jvp``, or what is called as it is, such
as ``flowmaps.calculus.dual`` and ``flowmaps.calculus.Differences()``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._checks import (
    as_clock,
    as_time,
    brief,
    check_condition,
    check_output,
    check_state,
    method_owner,
    repeat_rows,
    time_like,
)
from flowmaps._probing import probe_once
from flowmaps._typing import Condition, Count, Field, Time, Transport
from flowmaps.calculus import divergence, jvp, log_det
from flowmaps.calculus._derivative import Derivative
from flowmaps.calculus._jvp import call
from flowmaps.calculus._quadrature import gauss_rule
from flowmaps.maps import FlowMap, independent_derivatives

__all__ = [
    "eulerian",
    "identity",
    "integral_lagrangian",
    "inverse",
    "lagrangian",
    "liouville",
    "semigroup",
    "tangent",
]

Difference = Callable[[Tensor, Tensor], Tensor]
"""How far two states are apart."""


def _field(field: Field, t: Time, x: Tensor, condition: Condition, check_field: bool) -> Tensor:
    if not callable(field):
        raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
    clock, extra = as_clock(t, x, "t"), () if condition is None else (condition,)
    if check_field:
        probe_once(field, clock, clock, x, condition, noisy=True)
    # the velocity of a flow map takes clocks: rounded to float32 they may be outside its times
    time = clock if isinstance(method_owner(field), FlowMap) else time_like(clock, x)
    return check_output(field(time, x, *extra), x, "the field")


def _map(flow_map: Transport, s: Time, t: Time, x: Tensor, condition: Condition) -> Tensor:
    check_condition(condition, check_state(x))
    return call(flow_map, as_time(s, x, "s"), as_time(t, x, "t"), x, condition)


def identity(
    flow_map: Transport,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    difference: Difference = torch.sub,
) -> Tensor:
    """Return X_{t,t}(x) - x.

    Args:
        flow_map: X.
        t: time, a number or a tensor of shape () or (batch,).
        x: states (batch, *event).
        condition: tensor or pytree with leading batch axis.
        difference: of two states.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices.
        UntrainedTimes: for number-valued times that the map is not for.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.residuals.identity(fm.maps.Identity(), 0.5, torch.ones(1, 1)).item()
        0.0
    """
    t = as_time(t, check_state(x), "t")
    return difference(_map(flow_map, t, t, x, condition), x)


def tangent(
    flow_map: Transport,
    field: Field,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    check_field: bool = True,
    by: Derivative = jvp,
) -> Tensor:
    """Return d/dt X_{s,t}(x) at s = t, minus b(t, x); arguments as in lagrangian.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices, or a field that is not per-sample.
        UntrainedTimes: for number-valued times that the map is not for.
        UnsupportedTransform: under ``torch.inference_mode``.

    Source:
        Boffi, Albergo, Vanden-Eijnden (2025), arXiv 2505.18825, lemma 2.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> fm.residuals.tangent(growth, lambda t, x: x, 0.0, torch.ones(1, 1)).item()
        0.0
    """
    with independent_derivatives():
        slope = by(flow_map, t, t, x, dt=1.0, condition=condition)[1]
    return slope - _field(field, t, x, condition, check_field)


def lagrangian(
    flow_map: Transport,
    field: Field,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    check_field: bool = True,
    by: Derivative = jvp,
) -> Tensor:
    """Return d/dt X_{s,t}(x) - b(t, X_{s,t}(x)).

    Args:
        flow_map: X.
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        s, t: times, numbers or tensors of shape () or (batch,).
        x: states (batch, *event).
        condition: tensor or pytree with leading batch axis.
        check_field: probe a new field, with one and with two samples, for treating every sample
            alone; not in compiled and transformed calls.
        by: takes the derivatives of the map.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices, or a field that is not per-sample.
        UntrainedTimes: for number-valued times that the map is not for.
        UnsupportedTransform: under ``torch.inference_mode``.

    Source:
        Boffi, Albergo, Vanden-Eijnden (2024), arXiv 2406.07507, proposition 2.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + (t - s)[:, None]
        >>> field = lambda t, x: 2 + 0 * x
        >>> fm.residuals.lagrangian(shift, field, 0.0, 1.0, torch.ones(1, 1)).item()
        -1.0
    """
    with independent_derivatives():
        y, slope = by(flow_map, s, t, x, dt=1.0, condition=condition)
    return slope - _field(field, t, y, condition, check_field)


def eulerian(
    flow_map: Transport,
    field: Field,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    check_field: bool = True,
    by: Derivative = jvp,
) -> Tensor:
    """Return d/ds X_{s,t}(x) + DX_{s,t}(x) b(s, x), one derivative along (1, b).

    Arguments as in lagrangian.

    Raises:
        TypeError, ValueError, UntrainedTimes, UnsupportedTransform: as lagrangian.

    Source:
        Boffi, Albergo, Vanden-Eijnden (2024), arXiv 2406.07507, proposition 2.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> fm.residuals.eulerian(growth, lambda t, x: x, 0.0, 1.0, torch.ones(1, 1)).item()
        0.0
    """
    velocity = _field(field, s, check_state(x), condition, check_field)
    with independent_derivatives():
        return by(flow_map, s, t, x, ds=1.0, dx=velocity, condition=condition)[1]


def semigroup(
    flow_map: Transport,
    s: Time,
    u: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    by: Transport | None = None,
    difference: Difference = torch.sub,
) -> Tensor:
    """Return Y_{u,t}(Y_{s,u}(x)) - X_{s,t}(x), where Y is X itself unless another map is given.

    Args:
        flow_map: X.
        s, u, t: times, numbers or tensors of shape () or (batch,).
        x: states (batch, *event).
        condition: tensor or pytree with leading batch axis.
        by: Y, the map that goes by way of u; None for X.
        difference: of two states.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices.
        UntrainedTimes: for number-valued times that the map is not for.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + (t - s)[:, None]
        >>> fm.residuals.semigroup(shift, 0.0, 0.5, 1.0, torch.ones(1, 1)).item()
        0.0
    """
    u, by = as_time(u, check_state(x), "u"), flow_map if by is None else by
    middle = _map(by, s, u, x, condition)
    return difference(_map(by, u, t, middle, condition), _map(flow_map, s, t, x, condition))


def inverse(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    difference: Difference = torch.sub,
) -> Tensor:
    """Return X_{t,s}(X_{s,t}(x)) - x; arguments as in semigroup.

    Raises:
        TypeError, ValueError, UntrainedTimes: as semigroup.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + (t - s)[:, None]
        >>> fm.residuals.inverse(shift, 0.0, 1.0, torch.ones(1, 1)).item()
        0.0
    """
    return difference(_map(flow_map, t, s, _map(flow_map, s, t, x, condition), condition), x)


def integral_lagrangian(
    flow_map: Transport,
    field: Field,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    nodes: Count = 32,
    check_field: bool = True,
    difference: Difference = torch.sub,
    ends: bool = False,
) -> Tensor:
    """Return X_{s,t}(x) - x - int_s^t b(r, X_{s,r}(x)) dr, which takes no derivative of the map.

    Args:
        flow_map: X, which may be a black box.
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        s, t: times, numbers or tensors of shape () or (batch,).
        x: states (batch, *event).
        condition: tensor or pytree with leading batch axis.
        nodes: of Gauss and Legendre's quadrature; the residual vanishes up to its error.
        check_field: as in lagrangian.
        difference: of two states.
        ends: Gauss and Lobatto's rule instead, with nodes at s and t: it sees layers there, which
            the other steps over.

    Raises:
        TypeError, ValueError: for wrong shapes, dtypes, devices, no nodes, or a field that is not
            per-sample.
        UntrainedTimes: for times that the map is not for.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> field, x = lambda t, x: x, torch.ones(1, 1)
        >>> r = fm.residuals.integral_lagrangian(growth, field, 0.0, 1.0, x)
        >>> abs(r.item()) < 1e-5
        True
    """
    path, times, weights = _path(flow_map, s, t, x, condition, gauss_rule(nodes, ends))
    states, conditions = path.flatten(0, 1), repeat_rows(condition, len(path))
    values = _field(field, times.reshape(-1), states, conditions, check_field)
    wide = weights.reshape(weights.shape + (1,) * (x.ndim - 1))
    integral = (wide * values.reshape(path.shape)).sum(0)
    return difference(_map(flow_map, s, t, x, condition), x + integral)


def liouville(
    flow_map: Transport,
    field: Field,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition = None,
    nodes: Count = 32,
    check_field: bool = True,
    ends: bool = False,
) -> Tensor:
    """Return log |det DX_{s,t}(x)| - int_s^t div b(r, X_{s,r}(x)) dr, shape (batch,).

    Arguments as in integral_lagrangian.

    Raises:
        TypeError, ValueError, UntrainedTimes: as integral_lagrangian.
        UnsupportedTransform: under ``torch.inference_mode``.

    Source:
        Liouville's formula; Hartman (2002), Ordinary differential equations, theorem IV.1.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> r = fm.residuals.liouville(growth, lambda t, x: x, 0.0, 1.0, torch.ones(1, 2))
        >>> abs(r.item()) < 1e-5
        True
    """
    path, times, weights = _path(flow_map, s, t, x, condition, gauss_rule(nodes, ends))
    rates = divergence(
        field,
        times.reshape(-1),
        path.flatten(0, 1),
        condition=repeat_rows(condition, len(path)),
        check_field=check_field,
    )
    return log_det(flow_map, s, t, x, condition) - (weights * rates.reshape(weights.shape)).sum(0)


def _path(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    condition: Condition,
    rule: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return states (nodes, batch, *event) at the nodes, times and weights (nodes, batch)."""
    points, weights = rule
    check_condition(condition, check_state(x))
    start, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    times = start + (end - start) * ((points.to(x.device) + 1) / 2)[:, None]
    spread = ((end - start) / 2 * weights.to(x.device)[:, None]).to(x.dtype)
    if isinstance(flow_map, FlowMap):
        return flow_map.along(start, times, x, condition), times, spread
    first, states, conditions = repeat_rows((start, x, condition), len(points))
    path = call(flow_map, first, times.reshape(-1), states, conditions)
    return path.reshape(len(points), *x.shape), times, spread

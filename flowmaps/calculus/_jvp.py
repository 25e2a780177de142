"""The one jvp from which every derivative of a flow map is made."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    brief,
    check_condition,
    check_output,
    check_state,
    time_like,
)
from flowmaps._typing import Condition, Time, Transport
from flowmaps.errors import UnsupportedTransform

__all__ = [
    "call",
    "condition_directions",
    "directional",
    "jvp",
    "knows_times",
    "matching",
    "pushforward",
    "start_derivative",
    "time_derivative",
]


def call(flow_map: Transport, s: Time, t: Time, x: Tensor, condition: Condition) -> Tensor:
    """Evaluate a flow map as it is, any other callable with times (batch,) in x's dtype.

    Args:
        flow_map: ``(s, t, x)`` or ``(s, t, x, condition)``.
        s, t: numbers or clocks (batch,), float64.
        x: state (batch, *event).
        condition: pytree or None.
    """
    if not knows_times(flow_map):
        s, t = time_like(as_clock(s, x, "s"), x), time_like(as_clock(t, x, "t"), x)
    arguments = (s, t, x) if condition is None else (s, t, x, condition)
    return check_output(flow_map(*arguments), x, "the flow map")


def knows_times(flow_map: Transport) -> bool:
    """Tell a FlowMap, which takes any times and refuses some, from a plain callable.

    Raises:
        TypeError: for what is neither.
    """
    if not callable(flow_map):
        raise TypeError(f"flow_map must be a callable X(s, t, x), got {brief(flow_map)}")
    return hasattr(flow_map, "check_times")


def jvp(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    ds: Time | None = None,
    dt: Time | None = None,
    dx: Tensor | None = None,
    condition: Condition = None,
    dcondition: Condition = None,
) -> tuple[Tensor, Tensor]:
    """Return X_{s,t}(x) and its derivative along (ds, dt, dx, dcondition), by forward mode.

    Args:
        flow_map: a flow map or any callable ``(s, t, x[, condition])``.
        s, t: times, numbers or tensors of shape () or (batch,).
        x: states (batch, *event).
        ds, dt: tangents of the times, like s and t; None means zero.
        dx: tangent of the state, x's shape; None means zero.
        condition: tensor or pytree with leading batch axis.
        dcondition: pytree of condition's structure; a None leaf means zero.

    Returns:
        The value and the tangent, both (batch, *event).

    Raises:
        TypeError, ValueError: if a tangent does not fit its primal.
        UntrainedTimes: for number-valued times that the map is not for.
        UnsupportedTransform: under ``torch.inference_mode``, where forward mode loses tangents.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> value, tangent = fm.calculus.jvp(growth, 0.0, 0.0, torch.ones(1, 1), dt=1.0)
        >>> value.item(), tangent.item()
        (1.0, 1.0)
    """
    x = check_state(x)
    check_condition(condition, x)
    primals: list[Any] = [as_clock(s, x, "s"), as_clock(t, x, "t"), x]
    if knows_times(flow_map):
        flow_map.check_times(s, t)  # pyright: ignore[reportFunctionMemberAccess]
    tangents: list[Any] = [
        None if ds is None else as_clock(ds, x, "ds"),
        None if dt is None else as_clock(dt, x, "dt"),
        matching(dx, x, "dx"),
    ]
    leaves, structure = pytree.tree_flatten(condition)
    directions = condition_directions(dcondition, structure, leaves)

    def evaluate(s: Tensor, t: Tensor, x: Tensor, *leaves: Tensor) -> Tensor:
        rebuilt = pytree.tree_unflatten(list(leaves), structure)
        return call(flow_map, s, t, x, rebuilt)

    return pushforward(evaluate, primals + leaves, tangents + directions)


def pushforward(
    function: Callable[..., Tensor], primals: list[Any], tangents: list[Any]
) -> tuple[Tensor, Tensor]:
    """Return function(*primals) and its derivative along tangents; None leaves an argument fixed.

    Raises:
        UnsupportedTransform: under ``torch.inference_mode``.
    """
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        raise UnsupportedTransform(
            "forward mode loses its tangents under torch.inference_mode; use torch.no_grad instead"
        )
    live = [i for i, tangent in enumerate(tangents) if tangent is not None]
    if not live:
        value = function(*primals)
        return value, torch.zeros_like(value)

    def of_live(*arguments: Tensor) -> Tensor:
        merged = list(primals)
        for i, argument in zip(live, arguments, strict=True):
            merged[i] = argument
        return function(*merged)

    points, directions = [tuple(a[i] for i in live) for a in (primals, tangents)]
    if torch.compiler.is_compiling():  # torch does not compile a jvp along a view that is reshaped
        points = tuple(point.clone() for point in points)
    result = torch.func.jvp(of_live, points, directions)
    return result[0], result[1]


def matching(tangent: Any, primal: Any, name: str) -> Tensor | None:
    """Return a tangent in its primal's dtype, None as it is; raise if it does not fit."""
    if tangent is None:
        return None
    if not isinstance(tangent, Tensor) or tangent.is_complex():
        got = tangent.dtype if isinstance(tangent, Tensor) else type(tangent).__name__
        raise TypeError(f"{name} must be a real tensor like its primal, got {got}")
    if tangent.shape != primal.shape or tangent.device != primal.device:
        raise ValueError(
            f"{name} must have its primal's shape {tuple(primal.shape)} and device "
            f"{primal.device}, got {tuple(tangent.shape)} on {tangent.device}"
        )
    return tangent.to(primal.dtype)


def condition_directions(dcondition: Condition, structure: Any, leaves: list) -> list:
    """Return the tangents of a condition's leaves, None for zero; raise if they do not fit."""
    if dcondition is None:
        return [None] * len(leaves)
    directions, got = pytree.tree_flatten(dcondition)
    if got != structure:
        raise ValueError(
            "dcondition must have condition's structure; use None for leaves without tangent"
        )
    for leaf, direction in zip(leaves, directions, strict=True):
        if direction is not None and (leaf is None or not leaf.is_floating_point()):
            kind = "None" if leaf is None else leaf.dtype
            raise ValueError(f"a leaf of condition that is {kind} has no tangent; use None for it")
    return [matching(d, leaf, "dcondition") for d, leaf in zip(directions, leaves, strict=True)]


def time_derivative(
    flow_map: Transport, s: Time, t: Time, x: Tensor, condition: Condition = None
) -> Tensor:
    """Return d/dt X_{s,t}(x), shape (batch, *event); arguments as in jvp.

    Raises:
        TypeError, ValueError, UntrainedTimes, UnsupportedTransform: as jvp.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + 3 * (t - s)[:, None]
        >>> fm.calculus.time_derivative(shift, 0.0, 1.0, torch.zeros(1, 1)).item()
        3.0
    """
    return jvp(flow_map, s, t, x, dt=1.0, condition=condition)[1]


def start_derivative(
    flow_map: Transport, s: Time, t: Time, x: Tensor, condition: Condition = None
) -> Tensor:
    """Return d/ds X_{s,t}(x), shape (batch, *event); arguments as in jvp.

    Raises:
        TypeError, ValueError, UntrainedTimes, UnsupportedTransform: as jvp.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = lambda s, t, x: x + 3 * (t - s)[:, None]
        >>> fm.calculus.start_derivative(shift, 0.0, 1.0, torch.zeros(1, 1)).item()
        -3.0
    """
    return jvp(flow_map, s, t, x, ds=1.0, condition=condition)[1]


def directional(
    flow_map: Transport, s: Time, t: Time, x: Tensor, v: Tensor, condition: Condition = None
) -> Tensor:
    """Return DX_{s,t}(x) v for v of x's shape, shape (batch, *event); arguments as in jvp.

    Raises:
        TypeError, ValueError, UntrainedTimes, UnsupportedTransform: as jvp.

    Example:
        >>> import torch, flowmaps as fm
        >>> double = lambda s, t, x: 2 * x
        >>> x, v = torch.zeros(1, 2), torch.ones(1, 2)
        >>> fm.calculus.directional(double, 0.0, 1.0, x, v).tolist()
        [[2.0, 2.0]]
    """
    return jvp(flow_map, s, t, x, dx=v, condition=condition)[1]

"""The one jvp from which every derivative of a flow map is made."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    check_condition,
    check_output,
    check_state,
    time_like,
)
from flowmaps._typing import Condition, Time, Transport
from flowmaps.errors import UnsupportedTransform

__all__ = ["call", "directional", "jvp", "pushforward", "start_derivative", "time_derivative"]


def call(flow_map: Transport, s: Tensor, t: Tensor, x: Tensor, condition: Condition) -> Tensor:
    """Evaluate a flow map or any callable like it; a plain callable sees times in x's dtype.

    Args:
        flow_map: ``(s, t, x)`` or ``(s, t, x, condition)``.
        s, t: clocks (batch,), float64.
        x: state (batch, *event).
        condition: pytree or None.
    """
    if not isinstance(flow_map, nn.Module):
        s, t = time_like(s, x), time_like(t, x)
    arguments = (s, t, x) if condition is None else (s, t, x, condition)
    return check_output(flow_map(*arguments), x, "the flow map")


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
    """Return X_{s,t}(x) and its derivative in the direction (ds, dt, dx, dcondition), by forward mode.

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
        ValueError: if a tangent's shape is not its primal's.
        UnsupportedTransform: under ``torch.inference_mode``, where forward mode loses tangents silently.

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
    tangents: list[Any] = [
        None if ds is None else as_clock(ds, x, "ds"),
        None if dt is None else as_clock(dt, x, "dt"),
        _matching(dx, x, "dx"),
    ]
    leaves, structure = pytree.tree_flatten(condition)
    directions = _condition_directions(dcondition, structure, leaves)

    def evaluate(s: Tensor, t: Tensor, x: Tensor, *leaves: Tensor) -> Tensor:
        rebuilt = pytree.tree_unflatten(list(leaves), structure)
        return call(flow_map, s, t, x, rebuilt)

    return pushforward(evaluate, primals + leaves, tangents + directions)


def pushforward(
    function: Callable[..., Tensor], primals: list[Any], tangents: list[Any]
) -> tuple[Tensor, Tensor]:
    """Return function(*primals) and its derivative along tangents; a None tangent leaves its argument fixed."""
    if torch.is_inference_mode_enabled():
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

    return torch.func.jvp(
        of_live, tuple(primals[i] for i in live), tuple(tangents[i] for i in live)
    )


def _matching(tangent: Tensor | None, primal: Tensor, name: str) -> Tensor | None:
    if tangent is not None and tangent.shape != primal.shape:
        raise ValueError(
            f"{name} must have its primal's shape {tuple(primal.shape)}, got {tuple(tangent.shape)}"
        )
    return None if tangent is None else tangent.to(primal.dtype)


def _condition_directions(dcondition: Condition, structure: Any, leaves: list) -> list:
    if dcondition is None:
        return [None] * len(leaves)
    directions, got = pytree.tree_flatten(dcondition)
    if got != structure:
        raise ValueError("dcondition must have condition's structure; use None for leaves without tangent")
    return [
        _matching(direction, leaf, "dcondition") if leaf is not None and leaf.is_floating_point() else None
        for direction, leaf in zip(directions, leaves, strict=True)
    ]


def time_derivative(
    flow_map: Transport, s: Time, t: Time, x: Tensor, condition: Condition = None
) -> Tensor:
    """Return d/dt X_{s,t}(x), shape (batch, *event); arguments as in jvp.

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

    Example:
        >>> import torch, flowmaps as fm
        >>> double = lambda s, t, x: 2 * x
        >>> fm.calculus.directional(double, 0.0, 1.0, torch.zeros(1, 2), torch.ones(1, 2)).tolist()
        [[2.0, 2.0]]
    """
    return jvp(flow_map, s, t, x, dx=v, condition=condition)[1]

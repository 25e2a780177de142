"""From what a user says of states, times and conditions to what is drawn from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, brief, is_number
from flowmaps.domains import Domain
from flowmaps.maps import FlowMap, TimeSet
from flowmaps.testing._draws import Space
from flowmaps.testing._interpolated import Interpolated

__all__ = ["space_of"]

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def space_of(
    flow_map: Any,
    domain: Any,
    times: Any,
    conditions: Any,
    directions: str | None,
    event_shape: Sequence[int] | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Space:
    """Return what verification draws from, as its user describes it.

    Args:
        flow_map: whose own times, if it has some, bound those that are drawn.
        domain, times, conditions, directions, event_shape, dtype, device: as for ``verify``.

    Raises:
        TypeError, ValueError: for what cannot be meant.
    """
    if not isinstance(domain, Domain):
        raise TypeError(
            "domain must be a domain of states such as flowmaps.testing.Box([-1.0], [1.0]), "
            f"got {brief(domain)}"
        )
    if directions not in (None, "both", "forward", "backward"):
        raise ValueError(f'directions must be "both", "forward" or "backward", got {directions!r}')
    own = flow_map.times if isinstance(flow_map, FlowMap) else TimeSet()
    if own.start is not None or own.end is not None:
        raise ValueError(
            "verification asks a map at any s and t of an interval, got a map of "
            f"{own}; measure fm.residuals.lagrangian or eulerian at its own times instead"
        )
    if directions is not None:
        own = replace(
            own,
            forward=own.forward and directions != "backward",
            backward=own.backward and directions != "forward",
        )
    low, high = own.lower, own.upper
    event = (domain.dim,)
    if isinstance(domain, Interpolated):
        event = domain.event
        low, high = max(low, domain.interpolant.times[0]), min(high, domain.interpolant.times[1])
        if conditions is not None:
            raise ValueError(
                "conditions come with the data of an Interpolated domain: give them to its Pairs, "
                f"got conditions={brief(conditions)}"
            )
    if times is not None:
        if not _are_two_numbers(times):
            raise TypeError(f"times must be (earliest, latest), got {brief(times)}")
        low, high = max(low, float(times[0])), min(high, float(times[1]))
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(
            "times must be (earliest, latest), finite, with earliest < latest and within the map's "
            f"own, got {brief(times)} for a map of {own}"
        )
    if not isinstance(dtype, torch.dtype) or dtype not in _DTYPES:
        known = ", ".join(map(str, _DTYPES))
        raise TypeError(f"dtype must be one of {known}, got {brief(dtype)}")
    event = event if event_shape is None else _shape(event_shape)
    _check_conditions(conditions)
    if torch.Size(event).numel() != domain.dim:
        raise ValueError(f"event_shape {event} does not have the domain's {domain.dim} coordinates")
    return Space(domain, (low, high), own, conditions, event, dtype, torch.device(device))


def _are_two_numbers(times: Any) -> bool:
    return hasattr(times, "__len__") and len(times) == 2 and all(is_number(a) for a in times)


def _shape(event_shape: Any) -> tuple[int, ...]:
    if not isinstance(event_shape, Sequence) or isinstance(event_shape, str):
        raise TypeError(f"event_shape must be a tuple of numbers, got {brief(event_shape)}")
    return tuple(as_count(n, "event_shape") for n in event_shape)


def _check_conditions(conditions: Any) -> None:
    """Raise unless conditions can be drawn from."""
    if conditions is None or isinstance(conditions, Domain):
        return
    if callable(conditions) and not isinstance(conditions, torch.Tensor):
        return
    leaves = [leaf for leaf in pytree.tree_leaves(conditions) if leaf is not None]
    if not leaves or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise TypeError(
            "conditions must be a domain of rows, a tensor or a pytree of tensors, or a function "
            f"(n, generator) that returns n rows, got {brief(conditions)}"
        )
    shapes = [tuple(leaf.shape) for leaf in leaves]
    if not all(shape and shape[0] > 0 for shape in shapes) or len({n for n, *_ in shapes}) > 1:
        raise ValueError(f"conditions must have rows, and as many in every leaf, got {shapes}")

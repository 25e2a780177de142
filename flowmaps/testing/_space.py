"""From what a user says of states, times and conditions to what is drawn from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from flowmaps._checks import brief, is_number
from flowmaps.domains import Domain
from flowmaps.maps import FlowMap, TimeSet
from flowmaps.testing._draws import Space

__all__ = ["space_of"]


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
    if directions is not None:
        own = replace(
            own,
            forward=own.forward and directions != "backward",
            backward=own.backward and directions != "forward",
        )
    low, high = own.lower, own.upper
    if times is not None:
        if len(times) != 2 or not all(is_number(a) for a in times):
            raise TypeError(f"times must be (earliest, latest), got {brief(times)}")
        low, high = max(low, float(times[0])), min(high, float(times[1]))
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(
            "times must be (earliest, latest), finite, with earliest < latest and within the map's "
            f"own, got {brief(times)} for a map of {own}"
        )
    event = (domain.dim,) if event_shape is None else tuple(int(n) for n in event_shape)
    if torch.Size(event).numel() != domain.dim:
        raise ValueError(f"event_shape {event} does not have the domain's {domain.dim} coordinates")
    return Space(domain, (low, high), own, conditions, event, dtype, torch.device(device))

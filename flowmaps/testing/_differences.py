"""Derivatives of a map by differences of its values: for black boxes, and to check forward mode."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_clock, repeat_rows, shaped_like
from flowmaps._typing import Condition, Mask, Time, Transport
from flowmaps.calculus._jvp import call

if TYPE_CHECKING:
    from flowmaps.testing._draws import Space

__all__ = ["difference_jvp"]

_POINTS = 5
_SHIFTS = (0, 1, -1, 2, -2)
"""How far the five points may be moved where the times allow none on one side."""
_PARTS = (1.0, 0.25, 0.0625, 2.0**-8, 2.0**-12)
"""Parts of the step that are tried where a longer one has no room."""


def difference_jvp(
    flow_map: Transport,
    s: Time,
    t: Time,
    x: Tensor,
    ds: Time | None = None,
    dt: Time | None = None,
    dx: Tensor | None = None,
    condition: Condition = None,
    *,
    step: float,
    within: "Space",
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
) -> tuple[Tensor, Tensor]:
    """Return X_{s,t}(x) and its derivative along (ds, dt, dx), by five values of fourth order.

    Args:
        flow_map, s, t, x, ds, dt, dx, condition: as for ``flowmaps.calculus.jvp``.
        step: between two values, as a part of the window of times, or less, so that states do not
            move by more than this part of their size.
        within: times are asked inside it alone.
        difference: ``difference(a, b)`` of two states, where that is not a - b, as for angles.
    """
    s, t = as_clock(s, x, "s"), as_clock(t, x, "t")
    ds = torch.zeros_like(s) if ds is None else as_clock(ds, x, "ds")
    dt = torch.zeros_like(s) if dt is None else as_clock(dt, x, "dt")
    h, shift = _placed(s, t, step * _reach(x, dx, within), ds, dt, within)
    numbers = torch.arange(-2, 3, device=x.device, dtype=torch.float64)[:, None] + shift
    offsets = numbers * h
    spread, rows = repeat_rows((x, condition), _POINTS), offsets.reshape(-1)
    states, conditions = spread
    if dx is not None:
        along = repeat_rows((dx,), _POINTS)[0]
        states = states + shaped_like(rows.to(x.dtype), x) * along
    times = (s + offsets * ds).reshape(-1), (t + offsets * dt).reshape(-1)
    values = call(flow_map, *times, states, conditions).reshape(_POINTS, *x.shape)
    weights = torch.from_numpy(_weights()).to(x.device)[shift + 2].mT / h
    wide = weights.to(x.dtype).reshape(_POINTS, len(x), *([1] * (x.ndim - 1)))
    center = (2 - shift).reshape(1, len(x), *([1] * (x.ndim - 1))).expand(1, *x.shape)
    value = values.gather(0, center)[0]
    # The weights sum to zero; states that wrap are close to each other only by their difference.
    apart = difference(values.flatten(0, 1), repeat_rows(value, _POINTS)).reshape(values.shape)
    return value, (wide * apart).sum(0)


def _reach(x: Tensor, dx: Tensor | None, within: "Space") -> Tensor:
    """Return the length of time, or of any parameter, over which states and times change."""
    window = within.window[1] - within.window[0]
    longest = torch.full((len(x),), window, dtype=torch.float64, device=x.device)
    if dx is None:
        return longest
    extent, speed = _largest(x).clamp_min(within.extent), _largest(dx)
    return torch.minimum(longest, extent / torch.where(speed > 0, speed, torch.inf) + 1e-300)


def _largest(a: Tensor) -> Tensor:
    return a.detach().double().abs().reshape(len(a), -1).amax(1)


def _placed(
    s: Tensor, t: Tensor, h: Tensor, ds: Tensor, dt: Tensor, within: "Space"
) -> tuple[Tensor, Tensor]:
    """Return the longest step, and with it the least shift, at which all times are allowed."""
    step, shift = h, torch.zeros_like(s, dtype=torch.long)
    settled = torch.zeros_like(s, dtype=torch.bool)
    for part in _PARTS:
        for moved in _SHIFTS:
            allowed = ~settled
            for k in range(-2, 3):
                reach = (k + moved) * part * h
                allowed = allowed & _admits(s + reach * ds, t + reach * dt, within)
            step = torch.where(allowed, part * h, step)
            shift = torch.where(allowed, moved, shift)
            settled = settled | allowed
        if bool(settled.all()):
            break
    return step, shift


def _admits(s: Tensor, t: Tensor, within: "Space") -> Mask:
    low, high = within.window
    inside = (torch.minimum(s, t) >= low) & (torch.maximum(s, t) <= high)
    return inside & torch.as_tensor(within.allowed.admits(s, t))


@cache
def _weights() -> Any:
    """Return, for every shift -2 to 2, the weights that differentiate at zero polynomials."""
    rows = []
    for shift in range(-2, 3):
        points = np.arange(-2, 3) + shift
        powers = np.vander(points, increasing=True).T.astype(float)
        rows.append(np.linalg.solve(powers, np.eye(_POINTS)[1]))
    return np.array(rows)

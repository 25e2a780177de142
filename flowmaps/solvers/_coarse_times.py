"""A warning where states in float32 make the field see its times too coarsely."""

import warnings

import torch
from torch import Tensor

from flowmaps._checks import time_like
from flowmaps._transforms import any_item, is_transforming
from flowmaps._typing import Clock, Mask, State
from flowmaps.solvers._bind import BoundField

__all__ = ["warn_of_coarse_times"]

_MUCH = 100
_FEWEST = 1000
"""With so many different times in a span, to round times costs little more than to round states."""


def warn_of_coarse_times(field: BoundField, s: Clock, t: Clock, x: State, first: Tensor) -> None:
    """Warn if a span holds few float32 times and that moves its end by much more than rounding x.

    Costs a look at the times, and one call of the field where they are coarse. A field that does
    not depend on time loses nothing. Compiled and transformed calls are left alone.

    Args:
        field: with its condition.
        s, t: clocks (batch,).
        x: states (batch, *event).
        first: field(s, x).
    """
    if x.dtype == torch.float64 or torch.compiler.is_compiling() or is_transforming():
        return
    s, t, x, first = s.detach(), t.detach(), x.detach(), first.detach()
    unit = torch.finfo(x.dtype).eps * torch.maximum(s.abs(), t.abs())
    coarse = (s != t) & (unit * _FEWEST > (t - s).abs())
    if x.is_meta or not x.numel() or not any_item(coarse):
        return
    harmed = coarse & _harmed(field, s, t, x, first)
    if not any_item(harmed):
        return
    k = int(harmed.nonzero()[0])
    warnings.warn(
        f"x is {x.dtype}, so the field sees times {unit[k].item():.2g} apart between "
        f"s = {s[k].item():.10g} and t = {t[k].item():.10g}; give x in float64, or count time "
        "from a nearer origin",
        stacklevel=5,
    )


def _harmed(field: BoundField, s: Clock, t: Clock, x: State, first: Tensor) -> Mask:
    """Tell where a unit of time, times the change of the field, is much beside the state's unit.

    The field is asked at the other end, or, where both ends are one to it, a few units further.
    """
    unit = torch.finfo(x.dtype).eps
    start, end = time_like(s, x), time_like(t, x)
    within = field.inside(t, x)
    further = end + 4 * unit * end.abs()
    with torch.no_grad():
        try:
            last = field.field(torch.where(start == end, further, within), x, *field.extra)
        except Exception:  # the state may have no place at that time
            return torch.ones_like(s, dtype=torch.bool)
    x, first, last = (a.reshape(len(x), -1).double() for a in (x, first, last))
    moved = (t - s)[:, None] * torch.maximum(first.abs(), last.abs())
    error = torch.maximum(s.abs(), t.abs()) * (last - first).abs().amax(1)
    return error > _MUCH * (x.abs() + moved.abs()).amax(1)

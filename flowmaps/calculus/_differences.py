"""Derivatives of a flow map by differences of its values: no forward mode, plain evaluations."""

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import (
    as_clock,
    as_positive,
    check_condition,
    check_state,
    per_sample,
    repeat_rows,
    shaped_like,
)
from flowmaps._typing import Clock, Condition, Mask, Time, Transport
from flowmaps.calculus._jvp import call, condition_directions, knows_times, matching

__all__ = ["Differences"]

_LOW = (torch.float16, torch.bfloat16)
_SHARE = {dtype: torch.finfo(dtype).eps ** (1 / 3) for dtype in (torch.float32, torch.float64)}
_LEAST = 1e-9
"""Part of the step below which nothing can be told from rounding."""


@final
class Differences:
    """A value and a derivative by three values in one call, called as ``jvp`` is; of second order.

    Along the tangent (ds, dt, dx) the values at -h, 0 and h give (f(h) - f(-h)) / 2h. Where the
    map's times end within h, as at s near t in a map for s <= t alone, the values at 0, h and 2h,
    on the side that has room, give (-3 f(0) + 4 f(h) - f(2h)) / 2h; where neither side has room, h
    shrinks until one has. Of a map with a ``mean_velocity`` v it is v that is differenced, in X =
    x + (t - s) v: over a short span a difference of states would be rounding.

    The error is of the order of h^2, which with the default step is eps^(2/3): for a wave of
    angular frequency w a share (h w)^2 / 6 of the derivative in the middle, twice that at an end of
    the times. Where no times beside (s, t) are the map's, the
    tangent is NaN; but a mean velocity needs none where s = t.

    Args:
        step: h as a fraction of the map's interval of time, or of its longest span if that is
            shorter; of one unit of time if it has neither. None for eps^(1/3) of the states' dtype,
            6e-6 in float64 and 5e-3 in float32.

    Raises:
        TypeError, ValueError: for a step that is not positive, or above 1/4; when called, TypeError
            for float16 and bfloat16, whose differences are rounding.

    Example:
        >>> import torch, flowmaps as fm
        >>> growth = lambda s, t, x: x * torch.exp(t - s)[:, None]
        >>> by_differences = fm.calculus.Differences()
        >>> x = torch.ones(1, 1, dtype=torch.float64)
        >>> value, tangent = by_differences(growth, 0.0, 0.0, x, dt=1.0)
        >>> value.item(), round(tangent.item(), 9)
        (1.0, 1.0)
    """

    def __init__(self, step: float | None = None):
        self.step = None if step is None else as_positive(step, "step")
        if self.step is not None and self.step > 0.25:
            raise ValueError(f"step must be at most 1/4 of the interval of time, got {step}")

    def __call__(
        self,
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
        """Return X_{s,t}(x) and its derivative along (ds, dt, dx, dcondition); see ``jvp``."""
        check_condition(condition, check_state(x))
        _require_digits(x.dtype, "states")
        if not torch.compiler.is_compiling() and torch.is_autocast_enabled(x.device.type):
            _require_digits(torch.get_autocast_dtype(x.device.type), "autocast")
        if knows_times(flow_map):
            flow_map.check_times(s, t)  # pyright: ignore[reportFunctionMemberAccess]
        at = as_clock(s, x, "s"), as_clock(t, x, "t")
        along = tuple(
            torch.zeros_like(clock) if d is None else as_clock(d, x, name)
            for clock, d, name in zip(at, (ds, dt), ("ds", "dt"), strict=True)
        )
        leaves, structure = pytree.tree_flatten(condition)
        slopes = [matching(dx, x, "dx"), *condition_directions(dcondition, structure, leaves)]
        times = flow_map.times if knows_times(flow_map) else None  # type: ignore[attr-defined]
        longest = _length(times) * (_SHARE[x.dtype] if self.step is None else self.step)
        offsets, weights, step = _rule(times, at, along, longest)
        reach = (offsets * step).reshape(-1)  # (3 batch,)
        start, end = (_shifted(a, d, reach) for a, d in zip(at, along, strict=True))
        states, *rest = [_shifted(a, d, reach) for a, d in zip([x, *leaves], slopes, strict=True)]
        values = _evaluated(flow_map, start, end, states, pytree.tree_unflatten(rest, structure))
        values = values.reshape(3, *x.shape)
        slope = _quotient(values, weights, step, _LEAST * longest)
        if not _has_mean(flow_map):
            return values[0], slope * per_sample(_nan_unless(step > _LEAST * longest), x)
        span, rate = (per_sample(pair[1] - pair[0], x) for pair in (at, along))
        known = (step > _LEAST * longest) | ((at[1] - at[0]).abs() <= 4 * _LEAST * longest)
        tangent = rate * values[0] + span * slope * per_sample(_nan_unless(known), x)
        return x + span * values[0], tangent if slopes[0] is None else tangent + slopes[0]

    def check(self, flow_map: nn.Module) -> None:
        """Refuse a map whose values are too coarse, or too noisy, to be differenced.

        Raises:
            TypeError: for weights in half precision.
            ValueError: for dropout.
        """
        for weight in flow_map.parameters():
            _require_digits(weight.dtype, "weights")
        for name, part in flow_map.named_modules():
            if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
                raise ValueError(
                    f"the map's part {name} is dropout, whose noise is all that differences of "
                    'values would see; take derivative="forward", or p=0'
                )


def _rule(
    times: Any, at: tuple[Clock, ...], along: tuple[Clock, ...], longest: float
) -> tuple[Tensor, Tensor, Clock]:
    """Return offsets and weights (3, batch) in units of a step, and the step (batch,)."""
    ahead, behind = (_room(times, at, along, sign) for sign in (1.0, -1.0))
    forward = (ahead >= behind).double() * 2 - 1  # the side with more room
    most, least = torch.maximum(ahead, behind) / 2, torch.minimum(ahead, behind)
    central = least >= most.clamp(max=longest)
    step = torch.where(central, least, most).clamp(max=longest)
    offsets = [
        torch.zeros_like(step),
        torch.where(central, 1.0, forward),
        torch.where(central, -1.0, 2 * forward),
    ]
    weights = [
        torch.where(central, 0.0, -1.5 * forward),
        torch.where(central, 0.5, 2.0 * forward),
        torch.where(central, -0.5, -0.5 * forward),
    ]
    return torch.stack(offsets), torch.stack(weights), step


def _quotient(values: Tensor, weights: Tensor, step: Clock, least: float) -> Tensor:
    """Return the sum of weights times values (3, batch, *event) over the step, 0 for too short."""
    wide = (weights / torch.where(step > least, step, torch.inf)).to(values.dtype)
    return (wide.reshape(*weights.shape, *[1] * (values.ndim - 2)) * values).sum(0)


def _nan_unless(known: Mask) -> Clock:
    return torch.where(known, 1.0, torch.nan).double()


def _length(times: Any) -> float:
    """Return the length of time that counts as one."""
    if times is None:
        return 1.0
    length = min(times.upper - times.lower, times.max_span)
    return length if length < torch.inf else 1.0


def _room(times: Any, at: tuple[Clock, ...], along: tuple[Clock, ...], sign: float) -> Clock:
    """Return how far one can go along the tangent, or against it, within the map's times."""
    room = torch.full_like(at[0], torch.inf)
    if times is None:
        return room
    (s, t), (ds, dt) = at, along
    slacks = [(s - times.lower, ds), (times.upper - s, -ds)]
    slacks += [(t - times.lower, dt), (times.upper - t, -dt)]
    slacks += [] if times.backward else [(t - s, dt - ds)]
    slacks += [] if times.forward else [(s - t, ds - dt)]
    slacks += [(times.max_span - (t - s), ds - dt), (times.max_span + (t - s), dt - ds)]
    for slack, rate in slacks:
        falls = sign * rate < 0
        until = slack.clamp(min=0) / torch.where(falls, -sign * rate, 1.0)
        room = torch.minimum(room, torch.where(falls, until, torch.inf))
    return room


def _shifted(leaf: Any, slope: Tensor | None, reach: Tensor) -> Any:
    """Return the leaf three times, moved along its slope."""
    leaf = repeat_rows(leaf, 3)
    if slope is None:
        return leaf
    return leaf + shaped_like(reach.to(leaf), leaf) * repeat_rows(slope, 3)


def _evaluated(flow_map: Any, s: Clock, t: Clock, x: Tensor, condition: Condition) -> Tensor:
    """Return the mean velocities of a map that has them, the states of any other."""
    if _has_mean(flow_map):
        return flow_map.mean_velocity(s, t, x, condition)
    return call(flow_map, s, t, x, condition)


def _has_mean(flow_map: Any) -> bool:
    return knows_times(flow_map) and hasattr(flow_map, "mean_velocity")


def _require_digits(dtype: torch.dtype, what: str) -> None:
    """Raise TypeError for half precision."""
    if dtype in _LOW:
        raise TypeError(
            f"differences of values in half precision are rounding, got {what} in {dtype}; convert "
            f'to float32, or take derivative="forward"'
        )

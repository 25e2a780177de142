"""One probe: a sample beside itself, beside another one, and alone."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line, time_bounds, time_like
from flowmaps._probing._first import ADVICE
from flowmaps._transforms import is_transformed
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.errors import FlowMapError

__all__ = ["probe", "rounding"]

_ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far coarser arithmetic inside the field may make its values depend on the batch, relative."""
_UNITS = 16
"""How many rounding units of x, by the field's own sensitivity to them, may do the same."""
_SHIFT = 0.125
_NOISE = (
    "the field must be a function of its arguments, but gave two values for the same ones; "
    "switch dropout and other noise off, with field.eval() for a module"
)


class _Rows(NamedTuple):
    """The arguments of one call on one or two samples."""

    t: Tensor
    x: Tensor
    condition: Condition

    def take(self, rows: list[int]) -> "_Rows":
        return _Rows(self.t[rows], self.x[rows], _picked(self.condition, rows))


def probe(
    field: Field,
    s: Clock,
    t: Clock,
    x: State,
    condition: Condition,
    elsewhere: bool = False,
    noisy: bool = False,
    coarsest: torch.dtype | None = None,
) -> bool:
    """Refuse a field that does not treat every sample alone.

    The sample with the largest state is put beside itself and then beside another sample; all
    kernels are the same in both calls, so every component must agree in its own scale. Then it is
    alone, where rounding may differ. Three calls on at most two samples; two more before refusing.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``; its values are plain tensors.
        s, t: clocks (batch,); a sample is asked at times of its own span.
        x: states (batch, *event), at least one.
        condition: pytree or None.
        elsewhere: ask outside the spans too, where else all times would be one.
        noisy: let a field pass that gives two values for the same arguments.
        coarsest: the dtype that the field computes in, if that is coarser than x's.

    Returns:
        Whether two times could be told apart.

    Raises:
        ValueError: if the values differ or the field fails on a smaller batch; names the cure.
    """
    pair, apart = _pair(s, t, x, condition)
    twice = _evaluate(field, pair.take([1, 1]))
    if is_transformed(twice):  # by what the field holds
        return False
    pair = pair._replace(x=_distinct(pair.x, twice[1]))
    beside = None if apart or not elsewhere else _elsewhere(field, pair)
    apart = apart or beside is not None
    beside = _evaluate(field, pair) if beside is None else beside
    single = _evaluate(field, pair.take([1]))
    relative = rounding(field, x, coarsest)
    unfelt = _unfelt(s, t, pair.x)
    fault = _fault(field, pair.take([1, 1]), twice, beside[1], single[0], relative, unfelt)
    if fault is not None and not (noisy and fault is _NOISE):
        raise ValueError(fault)
    return apart


def _fault(
    field: Field,
    twin: _Rows,
    twice: Tensor,
    beside: Tensor,
    single: Tensor,
    relative: float,
    unfelt: float,
) -> str | None:
    """Return what is wrong with the values of one sample beside itself, beside another and alone.

    Differences below ``unfelt`` are none. Two more calls on the twin rows tell noise and rounding
    from mixing.
    """
    own = relative * (_size(beside) + _size(twice[1]))
    whole = relative * (_size(single).amax() + _size(twice[1]).amax())
    mixed, sized = _excess(beside, twice[1], own), _excess(single, twice[1], whole)
    if not bool((mixed > 0).any() | (sized > 0).any()):
        return None
    again = _evaluate(field, twin)
    if bool((_excess(again, twice, whole) > 0).any()):
        return _NOISE
    allowed = _UNITS * torch.maximum(_change(again, twice), _sensitivity(field, twin, twice))
    allowed = allowed.clamp(min=unfelt)
    if bool((mixed > allowed).any()):
        return _refusal("another value for a sample beside itself than beside a second one")
    if bool((sized > allowed.amax()).any()):
        return _refusal("another value for a sample alone than beside a second one")
    return None


def _unfelt(s: Clock, t: Clock, x: Tensor) -> float:
    """Return the rate that moves no state by a rounding unit over the longest span; 0 for no span.

    Where a field should vanish, its values are rounding errors and differ with the batch.
    """
    span, size = float((t - s).abs().amax()), float(_size(x).amax())
    return torch.finfo(x.dtype).eps * size / span if span > 0 and math.isfinite(size) else 0.0


def _pair(s: Clock, t: Clock, x: State, condition: Condition) -> tuple[_Rows, bool]:
    """Return some other sample and the one with the largest state, and whether their times differ.

    Each has a time of its own span, the start or the middle, as far from the other's as may be.
    """
    size = torch.where(torch.isfinite(x), x.abs(), 0.0).reshape(len(x), -1).sum(1)
    j = int(size.argmax())
    i = (j + 1) % len(x)
    middle = s + (t - s) / 2
    first, second = torch.stack([s[i], middle[i], s[i]]), torch.stack([s[j], s[j], middle[j]])
    k = (first - second).abs().nan_to_num(nan=-1.0).argmax()
    low, high = time_bounds(s[[i, j]], t[[i, j]], x)
    times = torch.clamp(time_like(torch.stack([first[k], second[k]]), x), low, high)
    return _Rows(times, x[[i, j]], _picked(condition, [i, j])), bool(times[0] != times[1])


def _distinct(pair: Tensor, rate: Tensor) -> Tensor:
    """Let the first of two equal samples go some way along the flow, so that mixing shows.

    Where the flow rests, a hair's breadth towards the origin.
    """
    if not torch.equal(pair[0], pair[1]):
        return pair
    rate, size = torch.where(torch.isfinite(rate), rate, 0.0), float(_size(pair).amax())
    speed = float(_size(rate).amax())
    if not speed > 0:
        return torch.stack([pair[0] * (1 - 2**-10), pair[1]])
    length = 0.05 * size / max(speed, torch.finfo(pair.dtype).tiny)
    return torch.stack([pair[0] + min(length, torch.finfo(pair.dtype).max) * rate, pair[1]])


def _elsewhere(field: Field, pair: _Rows) -> Tensor | None:
    """Evaluate with another time for the first sample; None where the field may not exist."""
    early = pair.t[:1] - _SHIFT
    other = torch.where(pair.t[:1] > _SHIFT, early, pair.t[:1] + _SHIFT)
    try:
        return _evaluate(field, pair._replace(t=torch.cat([other, pair.t[1:]])))
    except Exception:
        return None


def _sensitivity(field: Field, twin: _Rows, value: Tensor) -> Tensor:
    """Return how far x by one rounding unit, in two patterns, moves the field, (*event)."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, twin.x.shape, generator=generator).to(twin.x) * 2 - 1
    return _change(
        _evaluate(field, twin._replace(x=torch.nextafter(twin.x, signs * math.inf))), value
    )


def _change(a: Tensor, b: Tensor) -> Tensor:
    return _size(a.double() - b.double()).amax(0)


def _evaluate(field: Field, rows: _Rows) -> Tensor:
    extra = () if rows.condition is None else (rows.condition,)
    count = f"{len(rows.x)} sample{'s' * (len(rows.x) > 1)}"
    try:
        value = field(rows.t, rows.x, *extra)
    except FlowMapError:
        raise
    except Exception as error:
        what = f"{type(error).__name__} ({first_line(error)}) on {count}"
        raise ValueError(_refusal(what)) from error
    shape = tuple(getattr(value, "shape", ()))
    if shape != rows.x.shape:
        raise ValueError(_refusal(f"shape {shape} for {count}"))
    return value


def _refusal(what: str) -> str:
    return f"the field must treat every sample alone, but gave {what}. {ADVICE}"


def _excess(a: Tensor, b: Tensor, allowed: Tensor) -> Tensor:
    """Return by how much |a - b| is above what is allowed, float64; infinite where not finite."""
    same = (a == b) | (a.isnan() & b.isnan())
    excess = ((a - b).double().abs() - allowed).nan_to_num(nan=math.inf)
    return torch.where(same, 0.0, excess)


def _size(a: Tensor) -> Tensor:
    return torch.where(torch.isfinite(a), a.double().abs(), 0.0)


def _picked(condition: Condition, rows: list[int]) -> Condition:
    return pytree.tree_map(lambda leaf: None if leaf is None else leaf[rows], condition)


def rounding(field: Field, x: State, coarsest: torch.dtype | None = None) -> float:
    """Return the relative rounding of the coarsest arithmetic that the field may use."""
    dtypes = {x.dtype} if coarsest is None else {coarsest}
    if torch.is_autocast_enabled(x.device.type):
        dtypes.add(torch.get_autocast_dtype(x.device.type))
    module = field if isinstance(field, nn.Module) else getattr(field, "__self__", None)
    if isinstance(module, nn.Module):
        dtypes |= {p.dtype for p in module.parameters()}
    return max(_ROUNDING.get(dtype, 0.0) for dtype in dtypes)

"""The probe at the door: does the field treat every sample alone?"""

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import first_line, time_like
from flowmaps._transforms import carries_tangent, is_transformed
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.errors import FlowMapError

__all__ = ["ADVICE", "probe"]

ADVICE = (
    "Pass whatever differs between samples as condition= (field(t, x, condition)), and mind that "
    "t has shape (batch,): write t[:, None] * x; flowmaps.fields.per_sample wraps a field written "
    "for one sample, scalar_time one for a 0-d t"
)
"""What to do with a field that does not treat every sample alone."""

_ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far rounding may make a value depend on the batch, relative, with room for large sums."""


def probe(field: Field, s: Clock, t: Clock, x: State, condition: Condition) -> None:
    """Refuse a field that does not treat every sample alone.

    Compares one sample with the same one beside a second. Costs two calls of the field, a third for
    a batch of one and before refusing. Compiled and transformed calls are not probed.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        s, t: clocks (batch,).
        x: states (batch, *event).
        condition: pytree or None.

    Raises:
        ValueError: if the values differ or the field fails on a smaller batch; names the cure.
    """
    if x.numel() == 0 or torch.compiler.is_compiling():
        return
    leaves = [a for a in pytree.tree_leaves((s, t, x, condition)) if a is not None]
    if any(map(is_transformed, leaves)) or carries_tangent(leaves):
        return
    with torch.no_grad():
        times, pair, extra = _two(s, t, x, condition)
        double = _evaluate(field, times, pair, extra)
        if is_transformed(double):  # by what the field holds
            return
        if torch.equal(pair[0], pair[1]) and double.shape == pair.shape:
            pair = _apart(pair, double)
            double = _evaluate(field, times, pair, extra)
        # The second: a field that takes the first one's time for all is right for the first.
        alone = pytree.tree_map(lambda leaf: None if leaf is None else leaf[1:], (pair, extra))
        single = _evaluate(field, times[1:], *alone)
        if single.shape != pair[1:].shape or double.shape != pair.shape:
            raise ValueError(_refusal(f"shape {tuple(single.shape)} for one sample"))
        allowed = _tolerance(field, x) * (_largest(single) + _largest(double) + _largest(pair))
        if not _differ(single, double[1:], allowed):
            return
        if _differ(single, _evaluate(field, times[1:], *alone), allowed):
            raise ValueError(
                "the field must be a function of its arguments, but gave two values for the same "
                "ones; switch dropout and other noise off, with field.eval() for a module"
            )
        raise ValueError(_refusal("another value for a sample alone than beside a second one"))


def _two(s: Clock, t: Clock, x: State, condition: Condition) -> tuple[Tensor, Tensor, Condition]:
    """Return times, states, conditions of two samples: some other one and the largest state."""
    size = torch.where(torch.isfinite(x), x.abs(), 0.0).reshape(len(x), -1).sum(1)
    j = int(size.argmax())
    i = (j + 1) % len(x)
    middle = (s[j] + t[j]) / 2
    times = torch.stack([torch.where(middle == s[j], s[i], middle), s[j]])
    extra = pytree.tree_map(lambda leaf: None if leaf is None else leaf[[i, j]], condition)
    return time_like(times, x), x[[i, j]], extra


def _apart(pair: Tensor, rate: Tensor) -> Tensor:
    """Let the first of two equal samples go some way along the flow, so that mixing shows."""
    rate = rate[0].nan_to_num()
    length = 0.05 * _largest(pair) / max(_largest(rate), torch.finfo(pair.dtype).tiny)
    return torch.stack([pair[0] + length * rate, pair[1]])


def _evaluate(field: Field, times: Tensor, x: Tensor, condition: Condition) -> Tensor:
    extra = () if condition is None else (condition,)
    try:
        return field(times, x, *extra)
    except FlowMapError:
        raise
    except Exception as error:
        what = (
            f"{type(error).__name__} ({first_line(error)}) on {len(x)} sample{'s' * (len(x) > 1)}"
        )
        raise ValueError(_refusal(what)) from error


def _refusal(what: str) -> str:
    return f"the field must treat every sample alone, but gave {what}. {ADVICE}"


def _differ(a: Tensor, b: Tensor, allowed: float) -> bool:
    return not bool(torch.isclose(a, b, rtol=0.0, atol=allowed, equal_nan=True).all())


def _largest(a: Tensor) -> float:
    finite = torch.where(torch.isfinite(a), a.abs(), 0.0)
    return float(finite.max()) if a.numel() else 0.0


def _tolerance(field: Field, x: State) -> float:
    """Return the relative rounding of the coarsest arithmetic that the field may use."""
    dtypes = {x.dtype}
    if torch.is_autocast_enabled(x.device.type):
        dtypes.add(torch.get_autocast_dtype(x.device.type))
    module = field if isinstance(field, nn.Module) else getattr(field, "__self__", None)
    if isinstance(module, nn.Module):
        dtypes |= {p.dtype for p in module.parameters()}
    return max(_ROUNDING.get(dtype, 0.0) for dtype in dtypes)

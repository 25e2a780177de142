"""Checks at the doors: what users hand in becomes clocks and states, or a clear error.

Static facts (shape, dtype, device, number-valued times) are checked always; values (finite, trained
times given as tensors) only at doors that are host code anyway and under ``checking("full")``.
"""

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._transforms import any_item, is_vmapped, peek
from flowmaps._typing import Condition, Time

__all__ = [
    "as_clock",
    "as_count",
    "as_numbers",
    "as_positive",
    "as_time",
    "brief",
    "check_condition",
    "check_output",
    "check_state",
    "checking",
    "checks_values",
    "finite_samples",
    "first_line",
    "fit_event",
    "is_number",
    "method_owner",
    "per_sample",
    "repeat_rows",
    "require_finite",
    "shaped_like",
    "time_bounds",
    "time_like",
]


class _Level:
    """Holds the state; an instance, because compiled code may not set attributes of a class."""

    full = False


_LEVEL = _Level()


class checking:  # noqa: N801  (reads as a verb: ``with fm.checking("full")``)
    """Context in which every call also checks values: finite states and times, trained times.

    That is one synchronisation a check. A compiled or vmapped call never checks values.

    Args:
        level: ``"full"`` or ``"static"`` (the default everywhere else).

    Raises:
        ValueError: for any other level.

    Example:
        >>> import torch, flowmaps as fm
        >>> with fm.checking("full"):
        ...     fm.maps.Identity()(0.0, 1.0, torch.tensor([[float("nan")]]))
        Traceback (most recent call last):
            ...
        ValueError: x holds values that are not finite in samples [0]; remove or repair them
    """

    def __init__(self, level: str = "full"):
        if level not in ("full", "static"):
            raise ValueError(f'checking level must be "full" or "static", got {level!r}')
        self.full = level == "full"
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(_LEVEL.full)
        _LEVEL.full = self.full

    def __exit__(self, *exception: object) -> None:
        _LEVEL.full = self.before.pop()


def checks_values(tensor: Tensor | None = None) -> bool:
    """Tell whether values, as of a tensor, are to be checked: not in compiled or vmapped code."""
    if not _LEVEL.full or torch.compiler.is_compiling():
        return False
    return tensor is None or not is_vmapped(tensor)


def check_state(x: Any, name: str = "x") -> Tensor:
    """Return x if it is a real floating-point tensor (batch, *event).

    Raises:
        TypeError: for anything else than a real tensor.
        ValueError: for a 0-d tensor, and under ``checking("full")`` for values that are not finite.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name} must be a torch tensor of shape (batch, *event), got {type(x).__name__}; "
            "convert it with torch.as_tensor"
        )
    if not x.dtype.is_floating_point:
        raise TypeError(
            f"{name} must have a real floating-point dtype, got {x.dtype}; convert it with "
            f"{'torch.view_as_real' if x.is_complex() else '.to(torch.float32)'}"
        )
    if x.ndim < 1:
        raise ValueError(
            f"{name} must have shape (batch, *event), got a 0-d tensor; "
            f"a single sample is {name}[None]"
        )
    if checks_values(x):
        require_finite(x, name)
    return x


def require_finite(x: Tensor, name: str) -> None:
    """Raise ValueError that names the samples of x (batch, *event) that are not finite."""
    bad = ~finite_samples(x.detach())
    if any_item(bad):
        samples = peek(bad).flatten().nonzero().flatten().tolist()
        raise ValueError(
            f"{name} holds values that are not finite in samples {shorten(samples)}; "
            "remove or repair them"
        )


def finite_samples(x: Tensor) -> Tensor:
    """Tell which samples of x (batch, *event) are finite, (batch,)."""
    finite = torch.isfinite(x)
    return finite.flatten(1).all(1) if x.ndim > 1 else finite


def shorten(samples: list[int], most: int = 8) -> str:
    """Print a list of samples, the first few of many."""
    if len(samples) <= most:
        return str(samples)
    return f"[{', '.join(map(str, samples[:most]))}, ... {len(samples)} in all]"


def brief(value: Any, most: int = 100) -> str:
    """Print what was got on one line, the beginning of what is long."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]} ..."


def first_line(error: BaseException) -> str:
    """Return what an error of foreign code says, without the stack that may follow."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def method_owner(function: Any) -> nn.Module | None:
    """Return the module whose bound method a callable is, or None."""
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def is_number(value: Any) -> bool:
    """Tell a real number from anything else, truth values among it."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def as_count(value: Any, name: str, least: int = 1) -> int:
    """Return a whole number of any kind, numpy's among them, as an int.

    Raises:
        TypeError: for anything else, truth values among it.
        ValueError: if it is less than ``least``.
    """
    wanted = f"{name} must be a whole number of at least {least}, got {brief(value)}"
    if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool:
        raise TypeError(wanted)
    try:
        count = operator.index(value)
    except TypeError as error:
        raise TypeError(wanted) from error
    if count < least:
        raise ValueError(wanted)
    return count


def as_positive(value: Any, name: str) -> float:
    """Return a positive, finite number of any kind as a float.

    Raises:
        TypeError: for anything else than a real number, truth values among it.
        ValueError: if it is not positive, not finite or not a number.
    """
    wanted = f"{name} must be a positive, finite number, got {brief(value)}"
    if not is_number(value):
        raise TypeError(wanted)
    if not 0 < value < math.inf:
        raise ValueError(wanted)
    return float(value)


def as_numbers(value: float | Sequence[Any] | np.ndarray | Tensor, name: str) -> Tensor:
    """Return a constant in float64: a number, a (nested) list, an array or a tensor, detached.

    Raises:
        TypeError: for anything else.
    """
    try:
        tensor = torch.as_tensor(value)
        if tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(f"got dtype {tensor.dtype}")
        return torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a real number, a list of numbers or a tensor, got {brief(value)}"
        ) from error


def fit_event(value: Tensor, x: Tensor, name: str) -> Tensor:
    """Return value in x's dtype and device if it broadcasts against x's event, never its batch.

    Raises:
        ValueError: if it does not.
    """
    event = x.shape[1:]
    own = value.shape
    if len(own) > len(event) or any(
        a not in (1, b) for a, b in zip(reversed(own), reversed(event), strict=False)
    ):
        raise ValueError(
            f"{name} has shape {tuple(own)}, which does not broadcast against one sample's "
            f"shape {tuple(event)}"
        )
    return value.to(x)


def as_time(time: Time, x: Tensor, name: str) -> float | Tensor:
    """Return a time as a float if it is a number, else as a clock: float64 (batch,) on x's device.

    Raises:
        TypeError: if it is neither a real number nor a real tensor.
        ValueError: if a number is not finite (a tensor's values: only under ``checking("full")``),
            or a tensor has another shape or device.
    """
    if isinstance(time, np.ndarray):
        time = torch.as_tensor(time, device=x.device)
    if isinstance(time, Tensor):
        return _tensor_time(time, x, name)
    if is_number(time):
        # Compiled code makes a number that changes from call to call symbolic: compare it only.
        if not -math.inf < time < math.inf:
            raise ValueError(f"{name} must be a finite time, got {time}")
        return float(time)
    raise TypeError(
        f"{name} must be a number or a tensor of shape () or (batch,), "
        f"got {type(time).__name__} {brief(time)}"
    )


def _tensor_time(time: Tensor, x: Tensor, name: str) -> Tensor:
    if time.dtype.is_complex or time.dtype == torch.bool:
        raise TypeError(f"{name} must be real, got dtype {time.dtype}")
    if time.ndim > 1 or (time.ndim == 1 and time.shape[0] != x.shape[0]):
        raise ValueError(
            f"{name} must have shape () or ({x.shape[0]},), one time for every sample, "
            f"got {tuple(time.shape)}"
        )
    if time.device != x.device:
        if time.ndim:
            raise ValueError(
                f"{name} is on {time.device} but the state is on {x.device}; "
                "move one with .to(device)"
            )
        time = time.to(x.device)
    time = time.to(torch.float64)
    # Compiled forward mode accepts no expanded view: primal and tangent must be laid out alike.
    time = time if time.ndim else time.expand(x.shape[0]).contiguous()
    if checks_values(time):
        require_finite(time, name)
    return time


def as_clock(time: Time, x: Tensor, name: str = "t") -> Tensor:
    """Return a time as a float64 tensor of shape (batch,) on x's device; errors as in as_time."""
    time = as_time(time, x, name)
    if isinstance(time, Tensor):
        return time
    return torch.full((x.shape[0],), time, dtype=torch.float64, device=x.device)


def time_like(clock: Tensor, x: Tensor) -> Tensor:
    """Return a clock (batch,) as fields and networks see it: x's dtype, float32 for half ones."""
    return clock.to(x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32)


def time_bounds(a: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last time between two clocks (batch,), as fields see times.

    Rounded to float32 an end may lie outside; the bounds do not, but where a span holds no float32.
    Differentiable: a bound moves with its clock.
    """
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    if x.dtype == torch.float64:
        return low, high
    first, last = time_like(low, x), time_like(high, x)
    up, down = _inwards(first, low, math.inf), _inwards(last, high, -math.inf)
    some = (first + up).detach() <= (last + down).detach()
    return first + torch.where(some, up, 0.0), last + torch.where(some, down, 0.0)


def _inwards(time: Tensor, clock: Tensor, towards: float) -> Tensor:
    """Return the one rounding unit that takes a rounded clock back across the clock, or zero."""
    fixed = time.detach()
    crossed = fixed < clock.detach() if towards > 0 else fixed > clock.detach()
    further = torch.nextafter(fixed, torch.full_like(fixed, towards))
    return torch.where(crossed, further - fixed, 0.0)


def shaped_like(value: Tensor, x: Tensor) -> Tensor:
    """Return value (batch,) with shape (batch, 1, ..., 1), ready to be broadcast against x."""
    return value.reshape(-1, *([1] * (x.ndim - 1)))


def per_sample(value: Tensor, x: Tensor) -> Tensor:
    """Return value (batch,) in x's dtype with shape (batch, 1, ..., 1), ready to multiply x."""
    return shaped_like(value.to(x.dtype), x)


def repeat_rows(tree: Any, n: int) -> Any:
    """Repeat the batch of every tensor in a pytree n times, end to end; None stays None."""
    return pytree.tree_map(
        lambda leaf: None if leaf is None else leaf.repeat(n, *([1] * (leaf.ndim - 1))), tree
    )


def check_condition(condition: Condition, x: Tensor) -> Condition:
    """Return the condition if every leaf is a tensor with x's batch and device, or None.

    Raises:
        TypeError: for a leaf that is no tensor.
        ValueError: for a leaf of another batch or device.
    """
    for leaf in pytree.tree_leaves(condition):
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor):
            raise TypeError(
                "condition must be a tensor or a pytree of tensors, "
                f"got a leaf of type {type(leaf).__name__}"
            )
        if leaf.ndim == 0 or leaf.shape[0] != x.shape[0]:
            raise ValueError(
                f"condition must have one row for each of the {x.shape[0]} samples, got a leaf of "
                f"shape {tuple(leaf.shape)}; expand it with condition.expand({x.shape[0]}, ...)"
            )
        if leaf.device != x.device:
            raise ValueError(
                f"condition is on {leaf.device} but the state is on {x.device}; "
                "move one with .to(device)"
            )
        if leaf.is_floating_point() and checks_values(leaf):
            require_finite(leaf, "condition")
    return condition


def check_output(y: Any, x: Tensor, what: str) -> Tensor:
    """Return y if it has x's shape, dtype and device; raise an error that names ``what`` if not."""
    if not isinstance(y, Tensor):
        raise TypeError(f"{what} must return a tensor, got {type(y).__name__}")
    if y.shape != x.shape:
        raise ValueError(
            f"{what} must return the state's shape {tuple(x.shape)}, got {tuple(y.shape)}"
        )
    if y.dtype != x.dtype:
        raise TypeError(
            f"{what} must return the state's dtype {x.dtype}, got {y.dtype}; "
            "convert constants and networks to it"
        )
    if y.device != x.device:
        raise ValueError(f"{what} must return a tensor on {x.device}, got {y.device}")
    return y

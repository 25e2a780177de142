"""The field's derivatives in state and time, of which linearly implicit steps are made."""

from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from flowmaps._transforms import is_transforming
from flowmaps._typing import Clock, Field, PerSample, SquareMatrix, State
from flowmaps.solvers._bind import BoundField

__all__ = ["linearize"]

CHUNK = 64
"""How many directions are followed at a time."""


def linearize(field: Field, t: Clock, x: State) -> tuple[SquareMatrix, Tensor]:
    """Return db/dx (batch, n, n) over the flattened event, and db/dt (batch, n).

    By forward mode along the n unit vectors and the time, all at once; by reverse mode where torch
    has no forward mode to give. If the field has an attribute ``undetached``, the field with its
    derivatives, that one is followed, and the results are detached: then by reverse mode first,
    which for small fields takes a third of the time.

    Args:
        field: ``b(t, x)``.
        t: clocks (batch,).
        x: states (batch, *event) with n = event.numel() components.

    Example:
        >>> import torch
        >>> clock = torch.zeros(1, dtype=torch.float64)
        >>> jacobian, rate = linearize(lambda t, x: 3 * x + t[:, None], clock, torch.ones(1, 1))
        >>> jacobian.item(), rate.item()
        (3.0, 1.0)
    """
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():  # which drops tangents
            return linearize(field, t.clone(), x.clone())
    whole = getattr(field, "undetached", field)
    ask, at = (whole.at, whole.inside(t, x)) if isinstance(whole, BoundField) else (whole, t)
    if whole is field:
        return (_by_rows if _is_forward_taken() else _by_columns)(ask, at, x)
    jacobian, rate = _by_either(ask, at, x)
    return jacobian.detach(), rate.detach()


def _by_either(field: Field, t: PerSample, x: State) -> tuple[SquareMatrix, Tensor]:
    """Differentiate by reverse mode, or by forward mode a field that works in place."""
    if _is_forward_taken():
        return _by_rows(field, t, x)
    try:
        return _by_rows(field, t, x)
    except RuntimeError:  # an error of the field itself comes again
        return _by_columns(field, t, x)


def _by_columns(field: Field, t: PerSample, x: State) -> tuple[SquareMatrix, Tensor]:
    """Push the n + 1 unit tangents of (x, t) forward."""
    n = x.shape[1:].numel()
    unit = torch.eye(n + 1, dtype=x.dtype, device=x.device)
    times = unit[:, n:].to(t.dtype).repeat(1, t.shape[0])
    states = unit[:, :n].reshape(n + 1, 1, *x.shape[1:]).expand(n + 1, *x.shape)

    def along(dt: Tensor, dx: Tensor) -> Tensor:
        pair: Any = torch.func.jvp(field, (t, x), (dt, dx))
        return pair[1]

    columns = _each(along, times, states).reshape(n + 1, x.shape[0], n)
    return columns[:n].permute(1, 2, 0), columns[n]


def _by_rows(field: Field, t: PerSample, x: State) -> tuple[SquareMatrix, Tensor]:
    """Pull the n unit cotangents of b back."""
    n = x.shape[1:].numel()
    unit = torch.eye(n, dtype=x.dtype, device=x.device)
    unit = unit.reshape(n, 1, *x.shape[1:]).expand(n, *x.shape)
    pull: Any = torch.func.vjp(field, t, x)[1]

    def against(cotangent: Tensor) -> Tensor:
        dt, dx = pull(cotangent)
        return torch.cat([dx.reshape(-1, n), dt.to(dx.dtype)[:, None]], dim=1)

    rows = _each(against, unit).transpose(0, 1)
    return rows[:, :, :n], rows[:, :, n]


def _each(function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Map a function over leading axes: together, or one by one where ``torch.vmap`` refuses."""
    chunk = None if len(arguments[0]) <= CHUNK else CHUNK
    together = torch.func.vmap(function, randomness="same", chunk_size=chunk)
    if torch.compiler.is_compiling():
        return together(*arguments)
    try:
        return together(*arguments)
    except RuntimeError:  # an error of the field itself comes again
        return torch.stack([function(*each) for each in zip(*arguments, strict=True)])


def _is_forward_taken() -> bool:
    """Tell where forward mode is closed to a step.

    It cannot be nested in compiled code (torch 2.13), nor inside a plain
    ``forward_ad.dual_level``.
    """
    if torch.compiler.is_compiling():
        return True
    return forward_ad._current_level >= 0 and not is_transforming()

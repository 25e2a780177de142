"""A probe at the door: is a Hamiltonian separable, as symplectic methods need it to be?"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import time_bounds, time_like
from flowmaps._probing import occasion, rounding
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.solvers._symplectic import Symplectic

__all__ = ["check_separable"]

_FURTHER = 0.125
"""How far the probe goes from the states that are given, relative to their size."""


def check_separable(
    method: Symplectic,
    field: Field,
    s: Clock,
    t: Clock,
    x: State,
    condition: Condition,
    origin: Any,
    coarsest: torch.dtype | None = None,
) -> None:
    """Refuse a field that is not of the form that a symplectic method needs.

    Once for every field, kind of state and method; three or four calls on two samples. Where the
    field fails or is not finite near the states, nothing is found out.

    Args:
        method: whose parts tell at which times it asks.
        field: ``b(t, x)`` or ``b(t, x, condition)`` of a raveled state.
        s, t: clocks (batch,).
        x: raveled states (batch, *event).
        condition: pytree or None.
        origin: the field as the user gave it.
        coarsest: the dtype that the field computes in, if that is coarser than x's.

    Raises:
        ValueError: if dq/dt depends on q or dp/dt on p; or one on time, and the method asks for it
            outside its steps.
    """
    half = method.half(x)
    met = occasion(field, s, t, x, condition, origin, False, coarsest, repr(method))
    if met is None:
        return
    with met.quiet():
        fault = _fault(method, half, met.field, *met.arguments, coarsest=coarsest)
    if fault is not None:
        raise ValueError(fault)
    met.remember()


def _fault(
    method: Symplectic,
    half: int,
    field: Field,
    s: Clock,
    t: Clock,
    x: State,
    condition: Condition,
    coarsest: torch.dtype | None,
) -> str | None:
    rows = [0, len(x) - 1]
    s, t, x = s[rows], t[rows], x[rows]
    extra = () if condition is None else (_picked(condition, rows),)
    span = time_bounds(s, t, x)
    early, late = (torch.clamp(time_like(s + a * (t - s), x), *span) for a in (0.3, 0.8))
    here, there = _apart(x), _apart(_apart(x))
    other_q = torch.cat([there[..., :half], here[..., half:]], dim=-1)
    other_p = torch.cat([here[..., :half], there[..., half:]], dim=-1)
    calls = (early, here), (early, other_q), (early, other_p), (late, here)
    try:
        values = [field(*call, *extra).split(half, dim=-1) for call in calls]
    except Exception:  # the field may not exist there
        return None
    (by_p, by_q), (moved_by_q, _), (_, moved_by_p), later = values
    relative = rounding(field, x, coarsest)
    for own, rate, other, value, moved in (
        ("q", "dq/dt", "p", by_p, moved_by_q),
        ("p", "dp/dt", "q", by_q, moved_by_p),
    ):
        if _differ(moved, value, relative):
            return (
                f"{type(method).__name__} needs a separable Hamiltonian, with {rate} of {other} "
                f"and time alone, but {rate} of this field depends on {own} too; the state is "
                "positions and then as many momenta. Choose a method such as Tsit5() or RK4()"
            )
    outside = {part.drifts for part in method.parts if not 0 <= part.time <= 1}
    for drifts, rate, value, moved in (
        (True, "dq/dt", by_p, later[0]),
        (False, "dp/dt", by_q, later[1]),
    ):
        if drifts in outside and _differ(moved, value, relative):
            return (
                f"{method!r} asks for {rate} at times outside its steps, so that it must not "
                "depend on time, but that of this field does; take Yoshida4(kinetic_time=True) or "
                "StormerVerlet()"
            )
    return None


def _picked(condition: Condition, rows: list[int]) -> Condition:
    return pytree.tree_map(lambda leaf: None if leaf is None else leaf[rows], condition)


def _apart(x: Tensor) -> Tensor:
    """Return states some way off, every component by its own part of the sample's size."""
    flat = x.reshape(len(x), -1)
    size = torch.where(torch.isfinite(flat), flat.abs(), 0.0).amax(1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    way = (torch.rand(flat.shape[1], generator=generator, dtype=torch.float64) + 0.5).to(flat)
    return (flat + _FURTHER * way * torch.where(size > 0, size, 1.0)).reshape(x.shape)


def _differ(a: Tensor, b: Tensor, relative: float) -> bool:
    """Tell whether finite values differ by more than rounding."""
    change = (a - b).double().abs()
    size = torch.maximum(a.abs(), b.abs()).double()
    known = torch.isfinite(change)
    change, size = torch.where(known, change, 0.0), torch.where(known, size, 0.0)
    return bool((change > relative * size.amax()).any())

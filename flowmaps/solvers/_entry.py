"""What enters a solve: the state as one real tensor, clocks, and the field bound and probed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_clock, brief, check_condition, check_state, shaped_like
from flowmaps._probing import probe_once
from flowmaps._transforms import carries_derivative, carries_tangent
from flowmaps._typing import Condition, Mask, State, Time
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._bound_event import check_events
from flowmaps.solvers._captured import held
from flowmaps.solvers._coarse_times import warn_of_coarse_times
from flowmaps.solvers._dense import check_inside, time_rows
from flowmaps.solvers._drive import Start
from flowmaps.solvers._numbers import half_precision
from flowmaps.solvers._options import Options, refuse_half, refuse_lost_tangents
from flowmaps.solvers._ravel import ravel
from flowmaps.solvers._separable import check_separable
from flowmaps.solvers._symplectic import Symplectic

__all__ = ["Entry", "enter"]


@dataclass(frozen=True)
class Entry:
    """Where a solve starts.

    Args:
        given, state, condition: field, state and condition as the user gave them.
        x: the state as one real tensor; that of ``start`` has, for a sample at rest, no derivative
            where none is to pass through the field.
        start: of the whole way.
        rows: times of ``save_at``, (n_times, batch), if there are any.
        rebuild: turns a raveled state into the user's own structure.
        free: whether derivatives of samples at rest, too, are those of the field.
    """

    given: Callable[..., Any]
    state: Any
    condition: Condition
    x: State
    start: Start
    rows: Tensor | None
    rebuild: Callable[[Tensor], Any]
    free: bool

    @property
    def half(self) -> torch.dtype | None:
        """The dtype of a state in half precision."""
        return half_precision(self.state)

    @property
    def still(self) -> Mask:
        """The samples whose span is zero."""
        return self.start.s == self.start.t

    @property
    def kind(self) -> Hashable:
        """The kinds of state and condition, one of which a compiled march serves."""
        leaves, structure = pytree.tree_flatten(self.state)
        kinds = tuple((leaf.shape[1:], leaf.dtype, leaf.device) for leaf in leaves)
        parts, given = pytree.tree_flatten(self.condition)
        there = tuple(part is not None for part in parts)
        return str(structure), kinds, str(given), there


def enter(
    field: Callable[..., Any], s: Time, t: Time, x: Any, condition: Condition, options: Options
) -> Entry:
    """Check and bring to one form what a solve is given; errors are those of ``solve``."""
    if not callable(field):
        raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
    given, state = field, x
    x, field, rebuild = ravel(x, field)
    _check_solvable(x)
    check_condition(condition, x)
    begin, end = as_clock(s, x, "s"), as_clock(t, x, "t")
    rows = None if options.save_at is None else time_rows(options.save_at, begin, "save_at")
    if rows is not None:
        check_inside(rows, begin, end, "save_at")
    plain = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    holds = held(given) if plain else ()
    bound = BoundField(field, condition, between=(begin, end, x), holds=holds)
    # A sample at rest ends where it starts, whatever the field is there.
    carries = carries_derivative if torch.is_grad_enabled() else carries_tangent
    free = options.record or torch.compiler.is_compiling() or carries((begin, end))
    moving = x if free else torch.where(shaped_like(begin == end, x), x.detach(), x)
    start = Start(bound, begin, end, moving, bound.first(begin, moving))
    refuse_lost_tangents((begin, end, x, condition, start.first))
    entry = Entry(given, state, condition, x, start, rows, rebuild, free)
    _probe(entry, options)
    return entry


def _probe(entry: Entry, options: Options) -> None:
    """Ask field and events whether they are what the solve takes them for."""
    field, s, t, _, first, _ = entry.start
    x, call = entry.x, (field.field, s, t, entry.x, entry.condition, entry.given)
    if options.check_field:
        probe_once(*call, elsewhere=False, coarsest=entry.half)
        if isinstance(options.method, Symplectic):
            check_separable(options.method, *call, coarsest=entry.half)
    warn_of_coarse_times(field, s, t, x, first)
    if options.events:
        refuse_half(entry.half)
        check_events(options.events, field, entry.rebuild, s, t, x, options.check_field)


def _check_solvable(x: Tensor) -> None:
    check_state(x)
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            "solvers take float32, float64, complex64, complex128, bfloat16 and float16, "
            f"got {x.dtype}; convert x with .float()"
        )

"""A probe for every field and kind of state, and no second one."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import checking, time_like
from flowmaps._probing._first import first_value
from flowmaps._probing._probe import probe
from flowmaps._transforms import carries_tangent, is_transforming, is_vmapping, peek
from flowmaps._typing import Clock, Condition, Field, State

__all__ = ["occasion", "probe_once"]

_PROBED: dict[tuple[int, str], set[tuple]] = {}
"""The kinds of state that a field was probed with, forgotten when the field is."""


def probe_once(
    field: Field,
    s: Clock,
    t: Clock,
    x: State,
    condition: Condition = None,
    origin: Any = None,
    through: bool = False,
    elsewhere: bool = True,
    noisy: bool = False,
    coarsest: torch.dtype | None = None,
) -> None:
    """Refuse a field that does not treat every sample alone; see ``probe``.

    The first time that a field is met with states of a shape and dtype; later ones cost a look into
    a table, and compiled and vmapped calls nothing. A function is known by its code unless it holds
    values of its own. The state of random number generators stays as it is.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        s, t: clocks (batch,).
        x: states (batch, *event).
        condition: pytree or None.
        origin: what the user gave, if the field is made of it.
        through: probe inside a running jvp or grad as well, on the values under it.
        elsewhere: ask outside the spans too, where else all times would be one.
        noisy: let a field pass that gives two values for the same arguments.
        coarsest: the dtype that the field computes in, if that is coarser than x's.

    Raises:
        TypeError: if the field takes other arguments or returns another type.
        ValueError: if it is refused; names the cure.
    """
    met = occasion(field, s, t, x, condition, origin, through, coarsest)
    if met is None:
        return
    s, t, x, condition = met.arguments
    with met.quiet():
        refusal, told = None, False
        try:
            told = probe(met.field, s, t, x, condition, elsewhere, noisy, coarsest)
        except ValueError as error:
            refusal = error
        if refusal is not None:  # what fails on all samples as well says so by itself
            extra = () if condition is None else (condition,)
            first_value(lambda t, x: met.field(time_like(t, x), x, *extra), s, x, bool(extra))
            raise refusal
    if told:
        met.remember()


class Occasion(NamedTuple):
    """A field met with a kind of state for the first time: plain, with plain arguments."""

    field: Field
    arguments: tuple[Clock, Clock, State, Condition]
    kind: tuple
    probed: set[tuple]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Leave no trace: no derivatives, random numbers as they were."""
        x = self.arguments[2]
        cuda = [x.device.index] if x.device.type == "cuda" else []
        with checking("static"), torch.no_grad(), torch.random.fork_rng(cuda):
            yield

    def remember(self) -> None:
        """Let there be no second time."""
        self.probed.add(self.kind)


def occasion(
    field: Field,
    s: Clock,
    t: Clock,
    x: State,
    condition: Condition,
    origin: Any,
    through: bool,
    *facts: Any,
) -> Occasion | None:
    """Return what to probe a field with, or None if that has been done or cannot be.

    Args:
        field, s, t, x, condition, origin, through: as in ``probe_once``.
        facts: what else the outcome of the probe depends on.
    """
    if torch.compiler.is_compiling() or is_vmapping() or x.is_meta or not x.numel():
        return None
    if not through and (is_transforming() or carries_tangent((s, t, x, condition))):
        return None
    given = field if origin is None else origin
    probed = _memory(given)
    owner = given if isinstance(given, nn.Module) else getattr(given, "__self__", None)
    kind = (x.shape[1:], x.dtype, condition is None, getattr(owner, "training", None), *facts)
    if kind in probed:
        return None
    arguments = pytree.tree_map(_plain, (s, t, x, condition))
    return Occasion(_Plain(field, owner), arguments, kind, probed)


def _memory(field: Any) -> set[tuple]:
    """Return the kinds that a field was probed with; a new set for what cannot be remembered."""
    anchor, name = field, ""
    if isinstance(field, MethodType):  # made anew by every access
        anchor, name = field.__self__, field.__func__.__qualname__
    elif isinstance(field, FunctionType) and not _holds(field):
        anchor = field.__code__
    key = id(anchor), name
    if key not in _PROBED:
        try:
            weakref.finalize(anchor, _PROBED.pop, key, None).atexit = False
        except TypeError:
            return set()
        _PROBED[key] = set()
    return _PROBED[key]


def _holds(function: FunctionType) -> bool:
    return bool(function.__closure__ or function.__defaults__ or function.__kwdefaults__)


class _Plain:
    """A field whose values are plain tensors, so that a running jvp or grad is no obstacle."""

    def __init__(self, field: Field, owner: Any):
        self.field = field
        self.__self__ = owner  # whose weights say how precise the values are

    def __call__(self, t: Tensor, x: Tensor, *condition: Condition) -> Tensor:
        value = self.field(t, x, *condition)
        return _plain(value) if isinstance(value, Tensor) else value


def _plain(leaf: Any) -> Any:
    return None if leaf is None else peek(leaf.detach())

"""The probe that maps give to a field which they evaluate."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import checking
from flowmaps._transforms import is_vmapping, peek
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._probe import probe

__all__ = ["FieldProbe"]

_SHIFT = 0.125


class FieldProbe:
    """Refuses a field that does not treat every sample alone, once for every kind of state.

    Costs two evaluations on at most two samples the first time that states of a shape and dtype
    come; none in compiled and vmapped calls, which are left unprobed.
    """

    def __init__(self) -> None:
        self._seen: set[tuple] = set()

    def __call__(
        self, field: Field, s: Clock, t: Clock, x: State, condition: Condition = None
    ) -> None:
        """Probe the field at the times between s and t (batch,), unless its like was probed before.

        Raises:
            ValueError: naming the cure.
        """
        if torch.compiler.is_compiling() or is_vmapping() or x.is_meta or not len(x):
            return
        kind = (x.shape[1:], x.dtype, condition is None)
        if kind in self._seen:
            return
        s, t, x, condition = pytree.tree_map(_plain, (s, t, x, condition))
        bound = BoundField(field, condition)
        with checking("static"), torch.no_grad():
            bound.first(s, x)
            probe(_Plain(field), s, _apart(bound, s, t, x), x, condition)
        self._seen.add(kind)


class _Plain:
    """A field whose values are plain tensors, so that a running jvp or grad is no obstacle."""

    def __init__(self, field: Field):
        self.field = field
        # Whose weights say how precise the values are.
        self.__self__ = getattr(field, "__self__", field)

    def __call__(self, t: Tensor, x: Tensor, *condition: Condition) -> Tensor:
        value = self.field(t, x, *condition)
        return _plain(value) if isinstance(value, Tensor) else value


def _apart(field: BoundField, s: Clock, t: Clock, x: State) -> Clock:
    """Return t, or other times if all are one, where a field that misreads t goes unnoticed."""
    if bool((torch.cat([s, t]) != s[0]).any()):
        return t
    other = torch.where(s > _SHIFT, s - _SHIFT, s + _SHIFT)
    try:
        field(other, x)
    except Exception:  # the field may not exist there; the probe then has no other time to ask at
        return t
    return other


def _plain(leaf: Any) -> Any:
    return None if leaf is None else peek(leaf.detach())

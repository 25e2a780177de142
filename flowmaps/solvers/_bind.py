"""The field as the solvers call it: condition bound, clocks rounded, outputs checked, probed at the door."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from flowmaps._checks import check_output, time_like
from flowmaps._transforms import carries_tangent, is_transformed
from flowmaps._typing import Clock, Condition, Field, State

__all__ = ["BoundField", "probe", "ravel"]


class BoundField:
    """``b(clock, x)`` with the condition inside; checks shape, dtype and device of every value."""

    def __init__(self, field: Field, condition: Condition):
        self.field = field
        self.extra = () if condition is None else (condition,)

    def __call__(self, t: Clock, x: State) -> Tensor:
        return check_output(self.field(time_like(t, x), x, *self.extra), x, "the field")

    def first(self, t: Clock, x: State) -> Tensor:
        """Evaluate at the door, where a failure is most often a misread t; raise ValueError that says so."""
        try:
            return self(t, x)
        except (RuntimeError, IndexError) as error:
            if torch.compiler.is_compiling():
                raise
            raise ValueError(
                f"the field failed with t of shape {tuple(t.shape)} and x of shape {tuple(x.shape)}: {error}. "
                + _ADVICE
            ) from error

    def parameters(self) -> Iterator[Tensor]:
        """Give the parameters of a field that is a module."""
        return self.field.parameters() if isinstance(self.field, nn.Module) else iter(())


def probe(field: Field, s: Clock, t: Clock, x: State, condition: Condition) -> None:
    """Refuse a field that does not treat every sample alone: compare one sample with the same one among two.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        s, t: clocks (batch,); the two samples stand at s and in the middle of the first span.
        x: states (batch, *event).
        condition: pytree or None.

    Raises:
        ValueError: if the values differ or the field fails on a smaller batch; names the cure.
    """
    if len(x) == 0 or torch.compiler.is_compiling() or is_transformed(x) or carries_tangent(x):
        return
    with torch.no_grad():
        pair = [0, min(1, len(x) - 1)]
        times = time_like(torch.stack([s[0], (s[0] + t[0]) / 2]), x)
        arguments = pytree.tree_map(lambda leaf: leaf if leaf is None else leaf[pair], (x, condition))
        single = _evaluate(field, times[:1], *pytree.tree_map(_first, arguments))
        double = _evaluate(field, times, *arguments)
        if single.shape != x[:1].shape or double.shape != x[pair].shape:
            raise ValueError(_CURE.format(f"shape {tuple(single.shape)} for one sample"))
        scale = single.abs().nan_to_num().max() if single.numel() else 0.0
        tolerance = torch.finfo(x.dtype).eps ** 0.5 * (1.0 + scale)
        same = torch.isclose(single, double[:1], rtol=0.0, atol=float(tolerance), equal_nan=True)
        if not bool(same.all()):
            raise ValueError(_CURE.format("another value for a sample alone than beside a second one"))


def _first(leaf: Any) -> Any:
    return leaf if leaf is None else leaf[:1]


def _evaluate(field: Field, times: Tensor, x: State, condition: Condition) -> Tensor:
    extra = () if condition is None else (condition,)
    try:
        value = field(times, x, *extra)
    except Exception as error:
        raise ValueError(_CURE.format(f"{type(error).__name__} ({error}) on {len(x)} samples")) from error
    return value


_ADVICE = (
    "Pass whatever differs between samples as condition= (field(t, x, condition)), and mind that t has shape "
    "(batch,): write t[:, None] * x; flowmaps.fields.per_sample wraps a field written for one sample, "
    "scalar_time one for a 0-d t"
)
_CURE = "the field must treat every sample alone, but gave {}. " + _ADVICE


def ravel(
    x: Any, field: Field
) -> tuple[Tensor, Field, Callable[[Tensor], Any]]:
    """Turn a pytree state into one tensor (batch, n), with its field and the way back; one tensor stays as it is.

    Raises:
        TypeError: if a leaf is not a tensor or the leaves differ in dtype.
        ValueError: if the leaves differ in batch.
    """
    if isinstance(x, Tensor):
        return x, field, lambda y: y
    leaves, structure = pytree.tree_flatten(x)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.ndim for leaf in leaves):
        raise TypeError("a state must be a tensor or a pytree of tensors with a leading batch axis")
    if len({leaf.dtype for leaf in leaves}) > 1:
        raise TypeError(f"the leaves of a state must share one dtype, got {[leaf.dtype for leaf in leaves]}")
    if len({len(leaf) for leaf in leaves}) > 1:
        raise ValueError(f"the leaves of a state must share one batch, got {[len(leaf) for leaf in leaves]}")
    events = [leaf.shape[1:] for leaf in leaves]
    sizes = [event.numel() for event in events]

    def rebuild(y: Tensor) -> Any:
        parts = y.split(sizes, dim=-1)
        shaped = [p.reshape(*y.shape[:-1], *event) for p, event in zip(parts, events, strict=True)]
        return pytree.tree_unflatten(shaped, structure)

    def flat(y: Any) -> Tensor:
        return torch.cat([leaf.reshape(len(leaf), -1) for leaf in pytree.tree_leaves(y)], dim=1)

    return flat(x), lambda t, y, *extra: flat(field(t, rebuild(y), *extra)), rebuild

"""Guidance of conditional fields, as fields."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import brief, is_number, method_owner, shaped_like
from flowmaps._typing import Condition, Field
from flowmaps.fields._adapter import Adapter, as_finite, require_callable
from flowmaps.fields._forgetting import SEQUENCES, check_empty, emptied

__all__ = ["autoguided", "guided"]


@final
class guided(Adapter):  # noqa: N801  (reads as the function that it is to its users)
    """Classifier-free guidance: v(t, x, none) + a (v(t, x, condition) - v(t, x, none)).

    Scale a = 1 is the field with its condition, 0 the one without. The field is called once, on a
    batch of twice the samples. For the velocity of an interpolant this is guidance of the score
    with the same scale; its flow does not transport the base to the conditional law unless a = 1,
    nor to any tempered law in general.

    With ``scale=None`` the scale is an input, as for the distillation of guided teachers: the
    condition is a dict with the scale (batch,) under ``"guidance"``. The field gets the rest: a
    dict if ``empty`` is one, else the value of the only other entry.

    Args:
        field: v, a callable ``(t, x, condition)``.
        scale: a, a finite number; None to read it from the condition.
        empty: the condition that says "none" to the field, as in ``forgotten``; None in a leaf's
            place leaves that leaf as it is.
        interval: times (t0, t1), ends included, outside of which the scale is 1; None for all
            times. The field jumps at its ends: give them to a solver's grid.

    Raises:
        TypeError, ValueError: if an argument is none of that kind; at calls, if the condition is
            missing or does not fit ``empty``.

    Source:
        Ho and Salimans (2022), arXiv:2207.12598, equation 6 with a = 1 + w; for velocities, Zheng
        et al. (2023), arXiv:2311.13443; intervals, Kynkaanniemi et al. (2024), arXiv:2404.07724;
        the scale as an input, Meng et al. (2022), arXiv:2210.03142.

    Example:
        >>> import torch, flowmaps as fm
        >>> towards = lambda t, x, label: label[:, None] - x
        >>> field = fm.fields.guided(towards, scale=3.0, empty=0.0)
        >>> t, x, label = torch.zeros(1), torch.ones(1, 1), torch.tensor([2.0])
        >>> field(t, x, label).item()
        5.0
        >>> field = fm.fields.guided(towards, scale=None, empty=0.0)
        >>> field(t, x, {"label": label, "guidance": torch.tensor([0.5])}).item()
        0.0
    """

    def __init__(
        self,
        field: Field,
        scale: float | None,
        empty: Any,
        interval: Sequence[float] | None = None,
    ):
        super().__init__(field)
        check_empty(empty)
        self.field = field
        self.scale = None if scale is None else as_finite(scale, "the scale of guidance")
        self.interval = _as_interval(interval)
        self._tensors = 0
        # a tensor's place holds the name of the buffer that moves with the module
        self._places = _mapped(self._registered, empty)

    @property
    def empty(self) -> Any:
        """The condition that says "none"."""
        return _mapped(lambda at: getattr(self, at) if isinstance(at, str) else at, self._places)

    def forward(self, t: Tensor, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the guided velocity (batch, *event)."""
        empty = self.empty
        scale, inner = (
            (self.scale, condition) if self.scale is not None else _split(condition, x, empty)
        )
        if inner is None:
            raise ValueError(
                "a guided field needs a condition: call it, or its flow map, with condition=..."
            )
        both = _joined(inner, emptied(inner, empty))
        values = self.field(torch.cat([t, t]), torch.cat([x, x]), both)
        given, none = values[: len(x)], values[len(x) :]
        return none + _acting(scale, t, x, self.interval) * (given - none)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "field": self.field,
            "scale": self.scale,
            "empty": self.empty,
            "interval": self.interval,
        }

    def _registered(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        name = f"empty_{self._tensors}"
        self._tensors += 1
        self.register_buffer(name, leaf.detach(), persistent=False)
        return name


@final
class autoguided(Adapter):  # noqa: N801
    """Guidance by a worse version of the field: weak + a (field - weak).

    Both are called at the same (t, x, condition). Scale a = 1 is the field itself.

    Args:
        field: the better field, ``(t, x)`` or ``(t, x, condition)``.
        weak: the worse one, such as one of a smaller or less trained network.
        scale: a, a finite number.
        interval: times (t0, t1), ends included, outside of which the scale is 1; None for all
            times.

    Raises:
        TypeError, ValueError: if an argument is none of that kind.

    Source:
        Karras et al. (2024), arXiv:2406.02507, section 3, for denoisers; velocities of one
        interpolant are the same affine function of theirs.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = fm.fields.autoguided(lambda t, x: -x, lambda t, x: -x / 2, scale=2.0)
        >>> field(torch.zeros(1), torch.ones(1, 1)).item()
        -1.5
    """

    def __init__(
        self,
        field: Field,
        weak: Field,
        scale: float,
        interval: Sequence[float] | None = None,
    ):
        super().__init__(field)
        require_callable(weak)
        self._weak_owner = method_owner(weak)
        self.field, self.weak = field, weak
        self.scale = as_finite(scale, "the scale of guidance")
        self.interval = _as_interval(interval)

    def forward(self, t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        """Return the guided velocity (batch, *event)."""
        weak = self.weak(t, x, *condition)
        scale = _acting(self.scale, t, x, self.interval)
        return weak + scale * (self.field(t, x, *condition) - weak)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "field": self.field,
            "weak": self.weak,
            "scale": self.scale,
            "interval": self.interval,
        }


def _acting(
    scale: float | Tensor, t: Tensor, x: Tensor, interval: tuple[float, float] | None
) -> float | Tensor:
    """Return the scale at times t, a number or like x: 1 outside the interval."""
    scale = shaped_like(scale.to(x.dtype), x) if isinstance(scale, Tensor) else scale
    if interval is None:
        return scale
    inside = shaped_like((t >= interval[0]) & (t <= interval[1]), x)
    one = torch.ones((), dtype=x.dtype, device=x.device)
    return torch.where(inside, scale * one, one)


def _split(condition: Condition, x: Tensor, empty: Any) -> tuple[Tensor, Condition]:
    """Return the scale (batch,) that a condition holds, and what it holds for the field."""
    if not isinstance(condition, dict) or "guidance" not in condition:
        raise ValueError(
            "with scale=None the condition must be a dict with the scale of every sample under "
            f'"guidance", got {brief(condition)}'
        )
    scale = condition["guidance"]
    rest = {name: leaf for name, leaf in condition.items() if name != "guidance"}
    if not isinstance(scale, Tensor) or scale.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(
            f'condition["guidance"] must be a tensor of shape ({len(x)},), one scale for every '
            f"sample, got {brief(scale)}"
        )
    if isinstance(empty, dict):
        return scale.reshape(len(x)), rest
    if len(rest) != 1:
        raise ValueError(
            'beside "guidance" the condition must have one entry, as empty is no dict, got '
            f"{list(rest)}"
        )
    return scale.reshape(len(x)), next(iter(rest.values()))


def _joined(condition: Condition, other: Condition) -> Condition:
    return pytree.tree_map(lambda a, b: None if a is None else torch.cat([a, b]), condition, other)


def _mapped(function: Any, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _mapped(function, part) for name, part in tree.items()}
    if isinstance(tree, SEQUENCES):
        return [_mapped(function, part) for part in tree]
    return function(tree)


def _as_interval(interval: Any) -> tuple[float, float] | None:
    if interval is None:
        return None
    pair = isinstance(interval, list | tuple) and len(interval) == 2
    if not pair or not all(map(is_number, interval)):
        raise TypeError(f"interval must be two times (t0, t1) or None, got {brief(interval)}")
    low, high = float(interval[0]), float(interval[1])
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ValueError(f"interval must be two times t0 <= t1, got {interval}")
    return low, high

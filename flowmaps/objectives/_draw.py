"""A batch of everything random that a loss needs, drawn before the loss is computed."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import Condition

__all__ = ["Draw"]


@dataclass(frozen=True)
class Draw:
    """One batch of times, points and data; a pytree whose leaves are its tensors.

    Draws are made outside the compiled step, so that a loss is a deterministic function of (map,
    draw).

    Args:
        s: start times (batch,), float64.
        t: end times (batch,), float64.
        points: states at the start times (batch, *event).
        u: times between s and t (batch,), float64, where a principle needs them.
        velocity: a sample of the field at (s, points), (batch, *event): the interpolant's velocity.
        noise: the base samples x0 that the points were made from, (batch, *event).
        images: recorded states X_{s,t}(points) at the end times, (batch, *event), where the source
            knows them.
        condition: tensor or pytree with leading batch axis.
        diagonal: how many rows, the first ones, have s = t by design; a number, known without
            reading values.

    Example:
        >>> import torch, flowmaps as fm
        >>> draw = fm.objectives.Draw(torch.zeros(4), torch.ones(4), torch.zeros(4, 2), diagonal=2)
        >>> half = draw[1:3]
        >>> len(half), half.points.shape, half.diagonal, half.velocity is None
        (2, torch.Size([2, 2]), 1, True)
    """

    s: Tensor
    t: Tensor
    points: Tensor
    u: Tensor | None = None
    velocity: Tensor | None = None
    noise: Tensor | None = None
    images: Tensor | None = None
    condition: Condition = None
    diagonal: int = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.points.shape[0]

    def __getitem__(self, rows: slice) -> "Draw":
        """Return some of the rows, in order; parts ``[i::n]`` share the diagonal evenly.

        Raises:
            ValueError: for a backward slice, which would not leave the diagonal's rows first.
        """
        kept = range(len(self))[rows]  # not rows.indices, which torch 2.11 does not compile
        if kept.step < 0:
            raise ValueError(f"rows must be a forward slice, got step {kept.step}")
        left = len(range(kept.start, min(kept.stop, self.diagonal), kept.step))
        return replace(pytree.tree_map(lambda leaf: leaf[rows], self), diagonal=left)

    def to(self, device: torch.device | str) -> "Draw":
        """Return the draw on a device."""
        return pytree.tree_map(lambda leaf: leaf.to(device, non_blocking=True), self)


_TENSORS = ("s", "t", "points", "u", "velocity", "noise", "images", "condition")


def _present(draw: Draw) -> list[str]:
    # Fields that are None are left out, so that every leaf is a tensor.
    return [name for name in _TENSORS if getattr(draw, name) is not None]


def _flatten(draw: Draw) -> tuple[list[Any], tuple[tuple[str, ...], int]]:
    names = _present(draw)
    return [getattr(draw, name) for name in names], (tuple(names), draw.diagonal)


def _flatten_with_keys(draw: Draw) -> tuple[list[tuple[Any, Any]], tuple[tuple[str, ...], int]]:
    children, context = _flatten(draw)
    return [(pytree.GetAttrKey(n), c) for n, c in zip(context[0], children, strict=True)], context


def _unflatten(children: Any, context: tuple[tuple[str, ...], int]) -> Draw:
    names, diagonal = context
    return Draw(**dict(zip(names, children, strict=True)), diagonal=diagonal)


pytree.register_pytree_node(
    Draw,
    _flatten,
    _unflatten,
    serialized_type_name="flowmaps.objectives.Draw",
    flatten_with_keys_fn=_flatten_with_keys,
)

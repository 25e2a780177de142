"""A batch of everything random that a loss needs, drawn before the loss is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_count, brief, check_condition, check_state
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
        middle: states at the times u on the same path of the interpolant, (batch, *event).
        path: recorded states X_{s,t_i}(points) at several times, (batch, n, *event), where the law
            of points draws whole paths.
        path_times: the times t_i of the path, (batch, n), float64.
        progress: fraction of training done, the same for every row, (batch,), float64.
        condition: tensor or pytree with leading batch axis.
        diagonal: how many rows, the first ones, have s = t by design; a number, known without
            reading values.

    Raises:
        TypeError: for what is no tensor of real numbers, or a count that is no whole number.
        ValueError: for another shape, or more rows of the diagonal than rows.

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
    middle: Tensor | None = None
    path: Tensor | None = None
    path_times: Tensor | None = None
    progress: Tensor | None = None
    condition: Condition = None
    diagonal: int = 0

    def __post_init__(self) -> None:
        points = check_state(self.points, "points")
        for name in ("s", "t", "u", "progress"):
            _check_part(getattr(self, name), points.shape[:1], name, name in ("u", "progress"))
        for name in ("velocity", "noise", "images", "middle"):
            _check_part(getattr(self, name), points.shape, name, True)
        _check_path(self.path, self.path_times, points)
        check_condition(self.condition, points)
        if as_count(self.diagonal, "diagonal", least=0) > len(points):
            raise ValueError(
                f"diagonal must be at most the {len(points)} rows, got {self.diagonal}"
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.points.shape[0]

    def __getitem__(self, rows: slice) -> "Draw":
        """Return some of the rows, in order; parts ``[i::n]`` share the diagonal evenly.

        Raises:
            TypeError: for anything but a slice.
            ValueError: for a backward slice, which would not leave the diagonal's rows first.
        """
        if not isinstance(rows, slice):
            raise TypeError(f"rows must be a slice such as draw[0:1], got {brief(rows)}")
        kept = range(len(self))[rows]  # not rows.indices, which torch 2.11 does not compile
        if kept.step < 0:
            raise ValueError(f"rows must be a forward slice, got step {kept.step}")
        left = len(range(kept.start, min(kept.stop, self.diagonal), kept.step))
        return self._changed(lambda leaf: leaf[rows], left)

    def to(self, device: torch.device | str) -> "Draw":
        """Return the draw on a device."""
        return self._changed(lambda leaf: leaf.to(device, non_blocking=True), self.diagonal)

    def _changed(self, change: Callable[[Tensor], Tensor], diagonal: int) -> "Draw":
        """Return the draw with every tensor changed; a condition may hold None."""
        leaves, (names, _) = _flatten(self)
        changed = pytree.tree_map(lambda leaf: None if leaf is None else change(leaf), leaves)
        return _unflatten(changed, (names, diagonal))


def _check_part(part: Any, shape: torch.Size, name: str, optional: bool) -> None:
    """Raise unless a part of a draw is real numbers of a shape."""
    if part is None and optional:
        return
    if not isinstance(part, Tensor) or not part.is_floating_point():
        what = str(part.dtype) if isinstance(part, Tensor) else brief(part)
        raise TypeError(f"{name} must be a tensor of real numbers, got {what}")
    if part.shape != shape:
        raise ValueError(
            f"{name} must have shape {tuple(shape)}, as the points say, got {tuple(part.shape)}"
        )


def _check_path(path: Any, times: Any, points: Tensor) -> None:
    """Raise unless a path (batch, n, *event) and its times (batch, n) fit, or both are None."""
    if path is None and times is None:
        return
    n = times.shape[1] if isinstance(times, Tensor) and times.ndim == 2 else 0
    if n == 0:
        raise ValueError(
            f"path_times must have shape ({len(points)}, n), one time of a path at least, "
            f"got {brief(times)}"
        )
    _check_part(times, torch.Size([len(points), n]), "path_times", False)
    _check_part(path, torch.Size([len(points), n, *points.shape[1:]]), "path", False)


_TENSORS = (
    "s",
    "t",
    "points",
    "u",
    "velocity",
    "noise",
    "images",
    "middle",
    "path",
    "path_times",
    "progress",
    "condition",
)


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
    # Unchecked: transformations build trees of axes, wrapped tensors and placeholders.
    draw, parts = object.__new__(Draw), dict(zip(names, children, strict=True))
    for name in _TENSORS:
        object.__setattr__(draw, name, parts.get(name))
    object.__setattr__(draw, "diagonal", diagonal)
    return draw


pytree.register_pytree_node(
    Draw,
    _flatten,
    _unflatten,
    serialized_type_name="flowmaps.objectives.Draw",
    flatten_with_keys_fn=_flatten_with_keys,
)

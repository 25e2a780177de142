"""A few numbers by which a run knows its data again."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps.objectives import Draw

__all__ = ["fingerprint", "unlike"]

_CLOSE = 1e-3
"""Other machines round a draw otherwise; other data differ by much more."""


def fingerprint(draw: Draw) -> dict[str, list[Any]]:
    """Return shape, mean, root mean square and a projection of every tensor of a draw, by name."""
    leaves, _ = pytree.tree_flatten_with_path(draw)
    named = {pytree.keystr(path).lstrip("."): leaf for path, leaf in leaves}
    return {name: _numbers(leaf) for name, leaf in named.items() if leaf is not None}


def _numbers(leaf: Tensor) -> list[Any]:
    values = leaf.detach().cpu().double().flatten()
    weights = torch.arange(1, len(values) + 1, dtype=torch.float64).cos()  # tells their order
    root = math.sqrt(max(len(values), 1))
    numbers = [values.sum() / root**2, values.norm() / root, (weights * values).sum() / root]
    return [list(leaf.shape), *(_json(float(number)) for number in numbers)]


def _json(number: float) -> float | str:
    return number if math.isfinite(number) else "not finite"


def unlike(found: Any, expected: dict[str, list[Any]]) -> list[str]:
    """Return the names of the tensors that differ by more than rounding."""
    if not isinstance(found, dict):
        return sorted(expected)
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if not _alike(found.get(name), expected.get(name))]


def _alike(a: Any, b: Any) -> bool:
    if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b) or a[0] != b[0]:
        return False
    sizes = [abs(number) for number in (a[2], b[2]) if isinstance(number, float)]
    near = _CLOSE * max(sizes, default=0.0)
    return all(
        abs(x - y) <= near if isinstance(x, float) and isinstance(y, float) else x == y
        for x, y in zip(a[1:], b[1:], strict=True)
    )

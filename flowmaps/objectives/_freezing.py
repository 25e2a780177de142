"""Frozen copies of the modules that a callable holds."""

import copy
import functools
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn

__all__ = ["Freezer"]


class Freezer:
    """Copies a callable with every module that it holds copied, frozen and in eval mode.

    It looks into modules and their methods, ``functools.partial``, and functions: the variables of
    an outer function that they use, and their defaults. Not into global variables, containers and
    objects of other kinds.

    Example:
        >>> import torch
        >>> scale = torch.nn.Linear(1, 1)
        >>> freezer = Freezer()
        >>> fixed = freezer.frozen(lambda t, x, by=scale: by(x))
        >>> len(freezer.copies), freezer.copies[0].weight.requires_grad
        (1, False)
    """

    def __init__(self):
        self.copies: list[nn.Module] = []
        self._memo: dict[int, Any] = {}
        """What was met before, by its id: one module is copied once."""

    def frozen(self, value: Any) -> Any:
        """Return the value with its modules frozen; the value itself if it holds none."""
        if id(value) not in self._memo:
            self._memo[id(value)] = value  # for what holds itself
            self._memo[id(value)] = self._copied(value)
        return self._memo[id(value)]

    def _copied(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            self.copies.append(copy.deepcopy(value).requires_grad_(False).eval())
            return self.copies[-1]
        if isinstance(value, MethodType):
            owner = self.frozen(value.__self__)
            return value if owner is value.__self__ else MethodType(value.__func__, owner)
        if isinstance(value, functools.partial):
            held = [self.frozen(part) for part in (value.func, *value.args)]
            named = {name: self.frozen(part) for name, part in value.keywords.items()}
            before = [value.func, *value.args, *value.keywords.values()]
            return value if _same(before, [*held, *named.values()]) else type(value)(*held, **named)
        return self._function(value) if isinstance(value, FunctionType) else value

    def _function(self, function: FunctionType) -> FunctionType:
        cells, defaults = function.__closure__ or (), function.__defaults__ or ()
        named = function.__kwdefaults__ or {}
        before = [_content(cell) for cell in cells] + [*defaults, *named.values()]
        after = [self.frozen(part) for part in before]
        if _same(before, after):
            return function
        first, last = len(cells), len(cells) + len(defaults)
        closure = tuple(
            cell if _same([a], [b]) else CellType(b)
            for cell, a, b in zip(cells, before, after, strict=False)
        )
        made = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            tuple(after[first:last]) or None,
            closure,
        )
        made.__kwdefaults__ = dict(zip(named, after[last:], strict=True)) or None
        made.__qualname__ = function.__qualname__
        return made


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None


def _same(before: list[Any], after: list[Any]) -> bool:
    return all(a is b for a, b in zip(before, after, strict=True))

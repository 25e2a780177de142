"""What was compiled for a field, a method and a controller, kept no longer than they live."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from types import MethodType
from typing import Any, NamedTuple

from flowmaps.solvers._controllers import Controller
from flowmaps.solvers._method import Method

__all__ = ["MarchCache"]


class _Entry(NamedTuple):
    value: Any
    held: list[Any]
    """Owners that cannot be watched; held, so that their identity is not given to others."""
    watches: list[weakref.finalize]


class MarchCache:
    """The last values that were made for objects that own them; a value goes when an owner does.

    Owners are known by identity: two that compare equal may still differ. Methods and controllers
    of this package are known by type and arguments instead, so that each new ``Tsit5()`` is the
    same.

    Args:
        most: how many values to keep.
    """

    def __init__(self, most: int):
        self._most = most
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def value(self, owners: Sequence[Any], kind: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made for these owners and this kind, made now if it is not there.

        Args:
            owners: what the value belongs to; the value itself must not hold them.
            kind: what else tells values apart.
            make: makes the value.
        """
        known = [_known(owner) for owner in owners]
        key = kind, *(name for name, _ in known)
        if key not in self._entries:
            value, held, watches = make(), [], []
            for _, anchor in known:
                if anchor is None:
                    continue
                try:
                    # No function of Python's: torch would compile that, if an owner goes while
                    # compiled code runs.
                    watches.append(weakref.finalize(anchor, self._entries.pop, key, None))
                    watches[-1].atexit = False
                except TypeError:
                    held.append(anchor)
            self._entries[key] = _Entry(value, held, watches)
        entry = self._entries[key]
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            _, oldest = self._entries.popitem(last=False)
            for watch in oldest.watches:
                watch.detach()
        return entry.value


def _known(owner: Any) -> tuple[Hashable, Any]:
    """Return the name of an owner, and the object whose life is the owner's (None: for ever)."""
    ours = type(owner).__module__.startswith("flowmaps.solvers.")
    if ours and isinstance(owner, Method | Controller):
        return (type(owner), str(owner.config())), None
    if isinstance(owner, MethodType):  # made anew by every access
        return (id(owner.__self__), id(owner.__func__)), owner.__self__
    return id(owner), owner

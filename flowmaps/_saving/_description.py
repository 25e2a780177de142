"""Objects as JSON and back: what a saved map's structure is made of."""

import math
from importlib import import_module
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowmaps.errors import LoadError

__all__ = ["Builder", "Describer"]

_ROOMS = ("maps", "networks", "solvers", "interpolants", "problems", "domains", "fields")


class Describer:
    """Turns objects into JSON; an object met twice is described once.

    ``objects`` holds all that were met, by the number that their description gives them.
    """

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.objects: dict[int, Any] = {}
        self.names: set[str] = set()

    def describe(self, value: Any, name: str) -> Any:
        """Return a value as JSON; ``name`` is what to call it if it must be supplied again.

        Raises:
            TypeError: for a dictionary with keys other than text.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            return float(value) if math.isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, list | tuple):
            return [self.describe(item, name) for item in value]
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"keys of {name} must be text to be saved, got {list(value)}")
            return {"dict": {key: self.describe(item, key) for key, item in value.items()}}
        if isinstance(value, Tensor):
            kind = str(value.dtype).removeprefix("torch.")
            return {"tensor": self.describe(value.tolist(), name), "dtype": kind}
        if id(value) in self.seen:
            return {"same": self.seen[id(value)]}
        return self._object(value, name)

    def _object(self, value: Any, name: str) -> dict[str, Any]:
        number = self.seen[id(value)] = len(self.seen)
        self.objects[number] = value
        owner, method = getattr(value, "__self__", None), getattr(value, "__name__", "")
        if _has_method(owner, method) and getattr(owner, method) == value:
            return {"method": method, "of": self.describe(owner, name), "number": number}
        if _describes_itself(value):
            config = {key: self.describe(item, key) for key, item in value.config().items()}
            return {"class": room(type(value)), "config": config, "number": number}
        return {"supplied": self._unused(name), "type": _type_name(value), "number": number}

    def _unused(self, name: str) -> str:
        free, count = name, 1
        while free in self.names:
            count += 1
            free = f"{name}_{count}"
        self.names.add(free)
        return free


class Builder:
    """Turns JSON back into objects.

    ``built`` holds the objects by the number that their description gives them.

    Args:
        supplied: the objects that could not be described, by name.
    """

    def __init__(self, supplied: dict[str, Any]):
        self.supplied = supplied
        self.used: set[str] = set()
        self.built: dict[int, Any] = {}

    def build(self, node: Any) -> Any:
        """Return the object that a description stands for.

        Raises:
            LoadError: if the description makes none, or a part is not supplied.
        """
        try:
            return self._build(node)
        except LoadError:
            raise
        except Exception as error:  # a description can be wrong in any way
            raise LoadError(f"the map's description is malformed: {error!r}") from error

    def _build(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._build(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "float" in node:
            return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[node["float"]]
        if "tensor" in node:
            return _tensor(self._build(node["tensor"]), node["dtype"])
        if "dict" in node:
            return {key: self._build(item) for key, item in node["dict"].items()}
        if "same" in node:
            return self.built[node["same"]]
        number, value = node["number"], self._object(node)
        if not isinstance(number, int) or number in self.built:
            raise LoadError(f"the map's description is malformed: an object has number {number!r}")
        self.built[number] = value
        return value

    def _object(self, node: dict[str, Any]) -> Any:
        if "supplied" in node:
            return self._supplied(node["supplied"], node["type"])
        if "method" in node:
            return _method(self._build(node["of"]), node["method"])
        kind = _class(node["class"])
        config = {key: self._build(item) for key, item in node["config"].items()}
        try:
            return kind(**config)
        except Exception as error:  # whatever a constructor makes of arguments not meant for it
            raise LoadError(f"cannot rebuild {node['class']}: {error}") from error

    def _supplied(self, name: str, kind: str) -> Any:
        self.used.add(name)
        if name not in self.supplied:
            raise LoadError(
                f"this map was saved with a {name} ({kind}) that only you have: "
                f"load(folder, {name}=...)"
            )
        found = self.supplied[name]
        adapter = room(type(found)) or ""
        if adapter.startswith("fields:") and not kind.startswith("flowmaps.fields."):
            raise LoadError(
                f"the {name} that this map asks for ({kind}) stands inside an adapter that was "
                f"saved; supply it as it is, not {adapter.removeprefix('fields:')}(...) of it"
            )
        return found


def room(kind: type) -> str | None:
    """Return "room:Class" for a public class of flowmaps that may be saved."""
    path = kind.__module__.split(".")
    if len(path) < 2 or path[0] != "flowmaps" or path[1] not in _ROOMS:
        return None
    public = import_module(f"flowmaps.{path[1]}").__all__
    return f"{path[1]}:{kind.__name__}" if kind.__name__ in public else None


def _describes_itself(value: Any) -> bool:
    return room(type(value)) is not None and hasattr(value, "config")


def _has_method(owner: Any, name: Any) -> bool:
    """Tell whether name is a public method of an object that may be saved; runs no property."""
    public = isinstance(name, str) and name.isidentifier() and not name.startswith("_")
    return public and _describes_itself(owner) and callable(getattr(type(owner), name, None))


def _class(name: Any) -> Any:
    """Return the class that "room:Class" names, one that may be saved and no other."""
    place, _, kind = str(name).partition(":")
    module = import_module(f"flowmaps.{place}") if place in _ROOMS else None
    found = getattr(module, kind, None) if kind in getattr(module, "__all__", ()) else None
    if not isinstance(found, type) or not hasattr(found, "config") or room(found) != name:
        raise LoadError(f"this version of flowmaps has no {name}")
    return found


def _method(owner: Any, name: Any) -> Any:
    """Return a public bound method of an object of flowmaps."""
    found = getattr(owner, name) if _has_method(owner, name) else None
    if getattr(found, "__self__", None) is not owner:
        raise LoadError(f"{type(owner).__name__} has no method {name!r} to be used by a map")
    return found


def _tensor(values: Any, kind: Any) -> Tensor:
    dtype = getattr(torch, str(kind), None)
    if not isinstance(dtype, torch.dtype):
        raise LoadError(f"torch has no dtype {kind}")
    return torch.tensor(values, dtype=dtype)


def _type_name(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"

"""Saving and loading maps: weights as safetensors, structure as JSON, no pickle.

A class that can be rebuilt has ``config()``: its constructor's keyword arguments. What cannot be described (a
user's field, a user's network) is recorded by name and handed in again at loading.
"""

import hashlib
import json
import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowmaps._version import __version__
from flowmaps.errors import LoadError

__all__ = ["load", "save"]

_FORMAT = 1
_STRUCTURE, _WEIGHTS = "flowmap.json", "flowmap.safetensors"
_ROOMS = ("maps", "networks", "solvers", "interpolants", "problems", "domains")


def save(flow_map: nn.Module, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a map into a folder: ``flowmap.json`` and ``flowmap.safetensors``.

    Args:
        flow_map: any module of flowmaps with a ``config()``.
        folder: made if missing.
        overwrite: replace a map that is already there.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder holds a map and overwrite is false.
        TypeError: if the map does not describe itself.

    Example:
        >>> import tempfile, torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fm.save(learned, folder + "/run").name
        'run'
    """
    from safetensors.torch import save_file

    if not isinstance(flow_map, nn.Module) or not hasattr(flow_map, "config"):
        raise TypeError(f"save needs a flow map of flowmaps, got {type(flow_map).__name__}")
    folder = Path(folder)
    if (folder / _STRUCTURE).exists() and not overwrite:
        raise FileExistsError(f"{folder} already holds a map; pass overwrite=True or another folder")
    structure = _Describer().describe(flow_map, "flow_map")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous().clone() for k, v in flow_map.state_dict().items()}
    new_weights = folder / (_WEIGHTS + ".new")
    save_file(weights, new_weights)
    written = {
        "format": _FORMAT,
        "flowmaps": __version__,
        "sha256": hashlib.sha256(new_weights.read_bytes()).hexdigest(),
        "flow_map": structure,
    }
    new_structure = folder / (_STRUCTURE + ".new")
    new_structure.write_text(json.dumps(written, indent=1, allow_nan=False))
    os.replace(new_weights, folder / _WEIGHTS)
    os.replace(new_structure, folder / _STRUCTURE)
    return folder


def load(folder: str | os.PathLike[str], **supplied: Any) -> Any:
    """Read a map that ``save`` has written.

    Args:
        folder: where it lies.
        supplied: the parts that could not be described, by the names in ``flowmap.json`` (such as ``field=``).

    Raises:
        LoadError: if the folder or a file is missing or corrupt, the format is newer, or a part is not supplied.

    Example:
        >>> import tempfile, torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = fm.load(fm.save(learned, folder + "/run"))
        >>> x = torch.ones(1, 2)
        >>> torch.equal(again(0.0, 1.0, x), learned(0.0, 1.0, x))
        True
    """
    folder = Path(folder)
    structure, weights = _read(folder)
    flow_map = _Builder(supplied).build(structure)
    try:
        flow_map.load_state_dict(weights)
    except RuntimeError as error:
        raise LoadError(f"the weights in {folder} do not fit the map: {error}") from error
    return flow_map.eval()


def _read(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    from safetensors.torch import load as parse

    if not folder.is_dir():
        raise LoadError(f"there is no folder {folder}")
    try:
        written = json.loads((folder / _STRUCTURE).read_text())
        raw = (folder / _WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise LoadError(f"{folder} holds no saved map: {Path(error.filename).name} is missing") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise LoadError(f"{folder / _STRUCTURE} is corrupt: {error}") from error
    if not isinstance(written, dict) or not {"format", "sha256", "flow_map"} <= set(written):
        raise LoadError(f"{folder / _STRUCTURE} is not a map's description")
    if written["format"] != _FORMAT:
        raise LoadError(
            f"{folder} has format {written['format']}, this version reads {_FORMAT}; install a newer flowmaps"
        )
    if hashlib.sha256(raw).hexdigest() != written["sha256"]:
        raise LoadError(f"{folder / _WEIGHTS} is corrupt or truncated: its checksum differs")
    return written["flow_map"], parse(raw)


class _Describer:
    """Turns a map into JSON; an object met twice is described once."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.keep: list[Any] = []
        self.names: list[str] = []

    def describe(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, list | tuple):
            return [self.describe(item, name) for item in value]
        if isinstance(value, dict):
            return {"dict": {key: self.describe(item, key) for key, item in value.items()}}
        if id(value) in self.seen:
            return {"same": self.seen[id(value)]}
        number = self.seen[id(value)] = len(self.seen)
        self.keep.append(value)
        owner = getattr(value, "__self__", None)
        if owner is not None and _room(type(owner)) and hasattr(owner, "config"):
            return {"method": value.__name__, "of": self.describe(owner, name), "number": number}
        if _room(type(value)) and hasattr(value, "config"):
            config = {key: self.describe(item, key) for key, item in value.config().items()}
            return {"class": _room(type(value)), "config": config, "number": number}
        return {"supplied": self._unused(name), "type": _type_name(value), "number": number}

    def _unused(self, name: str) -> str:
        count = sum(used.rsplit("_", 1)[0] == name or used == name for used in self.names)
        self.names.append(name if not count else f"{name}_{count + 1}")
        return self.names[-1]


class _Builder:
    """Turns JSON back into a map."""

    def __init__(self, supplied: dict[str, Any]):
        self.supplied = supplied
        self.built: dict[int, Any] = {}

    def build(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.build(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "float" in node:
            return float(node["float"])
        if "dict" in node:
            return {key: self.build(item) for key, item in node["dict"].items()}
        if "same" in node:
            return self.built[node["same"]]
        value = self._object(node)
        self.built[node["number"]] = value
        return value

    def _object(self, node: dict[str, Any]) -> Any:
        if "supplied" in node:
            name = node["supplied"]
            if name not in self.supplied:
                raise LoadError(
                    f"this map was saved with a {name} ({node['type']}) that only you have: load(folder, {name}=...)"
                )
            return self.supplied[name]
        if "method" in node:
            return getattr(self.build(node["of"]), node["method"])
        config = {key: self.build(item) for key, item in node["config"].items()}
        try:
            return _class(node["class"])(**config)
        except (TypeError, ValueError) as error:
            raise LoadError(f"cannot rebuild {node['class']}: {error}") from error


def _room(kind: type) -> str | None:
    """Return "room:Class" for a public class of flowmaps that may be saved."""
    path = kind.__module__.split(".")
    if len(path) < 2 or path[0] != "flowmaps" or path[1] not in _ROOMS:
        return None
    return f"{path[1]}:{kind.__qualname__}"


def _class(name: str) -> type:
    room, _, kind = name.partition(":")
    found = getattr(import_module(f"flowmaps.{room}"), kind, None) if room in _ROOMS else None
    if not isinstance(found, type):
        raise LoadError(f"this version of flowmaps has no {name}")
    return found


def _type_name(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


"""A saved map on disk: weights as safetensors, structure as JSON, no pickle.

A class that can be rebuilt has ``config()``: its constructor's keyword arguments. What cannot be
described (a user's field, a user's network) is recorded by name and handed in again at loading.

The structure names the file of its weights by their checksum and is written last, in one atomic
replacement: whenever a save is interrupted, the folder holds the old map or the new one, whole.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowmaps._saving._atomic import replace
from flowmaps._saving._description import Builder, Describer
from flowmaps._version import __version__
from flowmaps.errors import LoadError

__all__ = ["load", "save"]

_FORMAT = 1
_STRUCTURE = "flowmap.json"
_WEIGHTS = re.compile(r"flowmap-[0-9a-f]{64}\.safetensors")


def save(flow_map: nn.Module, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a map into a folder: ``flowmap.json`` and ``flowmap-<checksum>.safetensors``.

    Every parameter and buffer is kept bit for bit. An interrupted save leaves what was there.

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
    from safetensors.torch import save as serialise

    if not isinstance(flow_map, nn.Module) or not hasattr(flow_map, "config"):
        raise TypeError(f"save needs a flow map of flowmaps, got {type(flow_map).__name__}")
    folder = Path(folder)
    if (folder / _STRUCTURE).exists() and not overwrite:
        raise FileExistsError(
            f"{folder} already holds a map; pass overwrite=True or another folder"
        )
    describer = Describer()
    structure = describer.describe(flow_map, "flow_map")
    tensors = {k: v.detach().cpu().contiguous() for k, v in _tensors(describer.objects).items()}
    raw = serialise({k: v.clone() for k, v in tensors.items()})
    weights = f"flowmap-{hashlib.sha256(raw).hexdigest()}.safetensors"
    written = {
        "format": _FORMAT,
        "flowmaps": __version__,
        "weights": weights,
        "flow_map": structure,
        "sha256": _checksum(structure),
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / weights, raw)
    replace(folder / _STRUCTURE, json.dumps(written, indent=1, allow_nan=False).encode())
    for old in folder.iterdir():
        if _WEIGHTS.fullmatch(old.name.removesuffix(".new")) and old.name != weights:
            old.unlink()
    return folder


def load(folder: str | os.PathLike[str], **supplied: Any) -> Any:
    """Read a map that ``save`` has written.

    Args:
        folder: where it lies.
        supplied: the parts that could not be described, by the names in ``flowmap.json`` (such as
            ``field=``). Weights that they own were saved too, and are put into them.

    Returns:
        The map, on the CPU, in eval mode.

    Raises:
        LoadError: if the folder or a file is missing or corrupt, the format is newer, a part is not
            supplied, or one is that the map does not ask for.

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
    builder = Builder(supplied)
    flow_map = builder.build(structure)
    if not isinstance(flow_map, nn.Module) or builder.built.get(0) is not flow_map:
        raise LoadError(f"{folder / _STRUCTURE} is not a map's description")
    if unused := sorted(set(supplied) - builder.used):
        raise LoadError(f"this map asks for {sorted(builder.used)}, but was also given {unused}")
    _restore(builder.built, weights, folder)
    for _, part in _roots(builder.built):
        part.eval()
    return flow_map


def _roots(objects: dict[int, Any]) -> Iterator[tuple[int, nn.Module]]:
    """Yield the map, number 0, and the modules beside its own, such as a method's owner."""
    covered: set[int] = set()
    for number, part in sorted(objects.items()):
        if isinstance(part, nn.Module) and id(part) not in covered:
            covered.update(id(module) for module in part.modules())
            yield number, part


def _tensors(objects: dict[int, Any]) -> dict[str, Tensor]:
    """Return every parameter and buffer, also those that a state_dict leaves out."""
    found: dict[str, Tensor] = {}
    for number, part in _roots(objects):
        prefix = f"{number}:" if number else ""
        for name, tensor in chain(
            part.named_parameters(remove_duplicate=False),
            part.named_buffers(remove_duplicate=False),
        ):
            found[prefix + name] = tensor
    return found


def _restore(objects: dict[int, Any], weights: dict[str, Tensor], folder: Path) -> None:
    """Put the weights into the modules, in the dtype in which they were saved."""
    own = _tensors(objects)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if shapes != saved:
        names = sorted(k for k in shapes | saved if shapes.get(k) != saved.get(k))
        raise LoadError(f"the weights in {folder} do not fit the map: look at {names[:5]}")
    for name, tensor in own.items():
        tensor.data = weights[name].to(tensor.device)


def _read(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    if not folder.is_dir():
        raise LoadError(f"there is no folder {folder}")
    written = _read_structure(folder)
    name = written["weights"]
    if not isinstance(name, str) or not _WEIGHTS.fullmatch(name):
        raise LoadError(f"{folder / _STRUCTURE} names no file of weights, but {name!r}")
    try:
        raw = (folder / name).read_bytes()
    except OSError as error:
        raise LoadError(f"{folder} holds no whole map: {name} cannot be read ({error})") from error
    if f"flowmap-{hashlib.sha256(raw).hexdigest()}.safetensors" != name:
        raise LoadError(f"{folder / name} is corrupt or truncated: its checksum differs")
    try:
        return written["flow_map"], parse(raw)
    except (SafetensorError, KeyError, ValueError) as error:
        raise LoadError(f"{folder / name} is no file of weights: {error}") from error


def _read_structure(folder: Path) -> dict[str, Any]:
    path = folder / _STRUCTURE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LoadError(f"{folder} holds no saved map: {_STRUCTURE} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"{path} is corrupt: {error}") from error
    if not isinstance(written, dict) or not isinstance(written.get("format"), int):
        raise LoadError(f"{path} is not a map's description")
    if written["format"] != _FORMAT:
        newer = "; install a newer flowmaps" * (written["format"] > _FORMAT)
        raise LoadError(
            f"{folder} has format {written['format']}, this version reads {_FORMAT}{newer}"
        )
    if not {"weights", "sha256", "flow_map"} <= set(written):
        raise LoadError(f"{path} is not a map's description")
    if _checksum(written["flow_map"]) != written["sha256"]:
        raise LoadError(f"{path} is corrupt: its checksum differs")
    return written


def _checksum(structure: Any) -> str:
    return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()

"""From words on the command line to objects: imported ones, boxes, saved maps."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

import flowmaps as fm
from flowmaps._checks import first_line
from flowmaps.cli._questions import Question
from flowmaps.cli._runs import open_run
from flowmaps.domains import Box
from flowmaps.errors import FlowMapError, UsageError

__all__ = ["box_or_object", "foreign", "imported", "map_of", "numbers", "question_of"]


def imported(name: str, what: str) -> Any:
    """Return the object that "module:object" names, imported from the current folder.

    Args:
        name: with a dotted path on either side.
        what: it is, as messages call it, such as "--field".

    Raises:
        UsageError: if the name is none, or what it names cannot be imported.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise UsageError(f"{what} takes MODULE:OBJECT, such as my_maps:flow_map; got {name!r}")
    _check_dotted(module, f"{what} {name}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as python -m does
    with foreign(f"{what} {name}: {module!r} cannot be imported from {here}"):
        found = import_module(module)
    for part in path.split("."):
        with foreign(f"{what} {name}: {part!r} cannot be read"):
            there = hasattr(found, part)
        if not there:
            public = [one for one in dir(found) if not one.startswith("_")][:10]
            raise UsageError(
                f"{what} {name}: there is no {part!r} in {module}; it has {', '.join(public)}"
            )
        found = getattr(found, part)
    return found


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one sentence; an exit of its own among it."""
    try:
        yield
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:  # it comes from outside
            raise
        raise UsageError(
            f"{what}: it ends the program ({stop.code}); put what runs as a script below "
            'if __name__ == "__main__":'
        ) from stop
    except Exception as error:
        raise UsageError(f"{what} ({type(error).__name__}: {first_line(error)})") from error


def _check_dotted(module: str, what: str) -> None:
    if all(part.isidentifier() for part in module.split(".")):
        return
    plain = module.removesuffix(".py").replace("/", ".").strip(".")
    raise UsageError(
        f"{what}: name the module by its dotted path from the current folder, such as "
        f"{plain or 'package.module'}; got {module!r}"
    )


def map_of(name: str, field: Any) -> Any:
    """Return the map of a run, of a saved map's folder, or the one that "module:object" names.

    Args:
        name: a folder or "module:object".
        field: handed to a saved map that asks for it.

    Raises:
        UsageError: if there is no such map.
    """
    folder = Path(name)
    if not folder.is_dir():
        if ":" in name:
            found = imported(name, "the map")
            if isinstance(found, type) and issubclass(found, nn.Module):
                raise UsageError(f"the map {name} is a class; name an object made of it")
            return found
        raise UsageError(
            f"there is no folder {name}; give that of a finished run or of a saved map, or "
            "MODULE:OBJECT"
        )
    try:
        if not (folder / "flowmap.json").exists():
            return open_run(folder).flow_map()
        if '"supplied": "field"' in (folder / "flowmap.json").read_text() and field is not None:
            return fm.load(folder, field=field)
        return fm.load(folder)
    except (FlowMapError, OSError) as error:
        raise UsageError(str(error)) from error


def question_of(name: str, flow_map: Any) -> Question | None:
    """Return what a run's map should be the flow map of; None for what is no run's folder.

    Args:
        name: a folder or "module:object".
        flow_map: as ``map_of`` returns it.
    """
    folder = Path(name)
    if not folder.is_dir() or (folder / "flowmap.json").exists():
        return None
    run = open_run(folder)
    return run.kind.question(run.recipe, flow_map)


def box_or_object(text: str, what: str) -> Any:
    """Return the box of "lower:upper,lower:upper", or the object that "module:object" names.

    Raises:
        UsageError: if it is neither.
    """
    try:
        bounds = [[float(number) for number in part.split(":")] for part in text.split(",")]
    except ValueError:
        if text.count(":") == 1 and text.partition(":")[0].replace(".", "").isidentifier():
            return imported(text, what)
        bounds = []
    if not bounds or any(len(pair) != 2 for pair in bounds):
        raise UsageError(
            f'{what} takes "lower:upper" for every coordinate, such as "-2:2,0:1", or '
            f"MODULE:OBJECT; got {text!r}"
        )
    try:
        return Box(*([pair[k] for pair in bounds] for k in (0, 1)))
    except ValueError as error:
        raise UsageError(f"{what} {text}: {error}") from error


def numbers(text: str, what: str, count: int) -> tuple[float, ...]:
    """Return so many numbers separated by commas.

    Raises:
        UsageError: if they are not.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise UsageError(f"{what} takes {count} numbers separated by a comma; got {text!r}")
    return found

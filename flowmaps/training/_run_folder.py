"""The folder of one run: its lock, its layout, its configuration."""

import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, final

import torch

from flowmaps._saving._atomic import replace
from flowmaps._version import __version__
from flowmaps.errors import RunFolderError, RunFolderExistsError
from flowmaps.training._lock import Lock
from flowmaps.training._log import require_json
from flowmaps.training._told import told

__all__ = ["RunFolder", "versions"]

_OWN = re.compile(  # what a run writes, beside its lock
    r"configuration\.json(\.new)?"
    r"|log\.jsonl(\.new)?"
    r"|checkpoints/step-\d+(-[0-9a-f]{64}\.safetensors|\.new)"
    r"|map/flowmap(\.json|-[0-9a-f]{64}\.safetensors)(\.new)?"
    r"|evaluation/(report\.html|facts\.json|\w+\.png)"
    r"|samples/steps-[\d-]+-seed-\d+\.png"
)
_ROOMS = ("checkpoints", "map", "evaluation", "samples")


@final
class RunFolder:
    """The folder of one run, held under a lock while the context is open.

    It holds ``configuration.json``, ``log.jsonl``, ``checkpoints/``, ``map/``, and ``lock``, in
    which the process that works here stands. The lock ends with that process, however it ends, and
    its forked children do not hold it. One process of a distributed run opens the folder.

    Args:
        path: made if missing.
        resume: go on with the run that is there.
        overwrite: remove the run that is there, file by file, when the configuration of the new one
            is written; nothing that no run writes is ever removed.

    Raises:
        ValueError: for both of them, or an empty path.
        RunFolderExistsError: on entering, if the folder holds a run and neither is true, or, unless
            it is resumed, things that no run writes.
        RunFolderError: on entering, if another process works there, if there is no run to resume,
            or if it is no folder that can be written.

    Example:
        >>> import tempfile
        >>> from flowmaps.training._run_folder import RunFolder
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with RunFolder(parent + "/run") as run:
        ...         run.write_configuration({"steps": 100})
        ...     with RunFolder(parent + "/run", resume=True) as run:
        ...         run.read_configuration()
        {'steps': 100}
    """

    def __init__(
        self, path: str | os.PathLike[str], *, resume: bool = False, overwrite: bool = False
    ):
        if resume and overwrite:
            raise ValueError(
                "give resume=True (--resume) or overwrite=True (--overwrite), not both"
            )
        if not os.fspath(path):
            raise ValueError("the path of a run's folder is empty; give it a name")
        self.path = Path(path).expanduser().absolute()
        self.resume, self.overwrite = resume, overwrite
        self._lock, self._replaces = Lock(self.path / "lock"), overwrite

    @property
    def configuration(self) -> Path:
        """The file of the configuration."""
        return self.path / "configuration.json"

    @property
    def log(self) -> Path:
        """The file of the log, for ``JsonLines``."""
        return self.path / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints, for ``Checkpoints``."""
        return self.path / "checkpoints"

    @property
    def map(self) -> Path:
        """The folder of the finished map, for ``fm.save``."""
        return self.path / "map"

    def __enter__(self) -> "RunFolder":
        with self._told():
            if not self._lock.path.exists():
                self._require_usable()  # leave no lock where this run has no business
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                self._require_usable()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def write_configuration(self, configuration: dict[str, Any]) -> None:
        """Write ``configuration.json``, all of it or nothing: the run begins.

        A run that is to be overwritten is removed here, the first time, and not before.

        Args:
            configuration: of values that JSON gives back as they are: None, bool, int, finite
                float, str, and lists and dicts (keys str) of them.

        Raises:
            TypeError, ValueError: for any other value, by its place.
            RunFolderError: if the folder is not entered, or cannot be written.
        """
        if type(configuration) is not dict:
            raise TypeError(f"a configuration is a dict, got {type(configuration).__qualname__}")
        require_json(configuration, "configuration")
        if not self._lock.held:
            raise RunFolderError(f"{self.path} is not entered; use `with RunFolder(...) as run:`")
        with self._told():
            if self._replaces:
                self._clear()
                self._replaces = False
            replace(self.configuration, (json.dumps(configuration, indent=1) + "\n").encode())

    def read_configuration(self) -> dict[str, Any]:
        """Return what ``configuration.json`` holds; the folder need not be entered.

        Raises:
            RunFolderError: if it is missing or corrupt.
        """
        try:
            found = json.loads(self.configuration.read_bytes())
        except FileNotFoundError as error:
            raise RunFolderError(
                f"{self.path} holds no run: configuration.json is missing; give a run's folder"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise self.corrupt(str(error)) from error
        if not isinstance(found, dict):
            raise self.corrupt(f"it holds a {type(found).__qualname__}, not an object")
        return found

    def _told(self) -> AbstractContextManager[None]:
        return told(
            f"{self.path} cannot be used as a run's folder",
            "free space there, or give one that can be written",
        )

    def corrupt(self, reason: str) -> RunFolderError:
        """Return the error that tells why the configuration is none, and what to do."""
        return RunFolderError(
            f"{self.configuration} is corrupt ({reason}); put it back from a copy, or start the "
            "run anew with overwrite=True (--overwrite)"
        )

    def _require_usable(self) -> None:
        """Raise unless the folder is as resume and overwrite say."""
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; give a folder for the run")
        if self.resume:
            if not self.configuration.is_file():
                raise RunFolderError(
                    f"{self.path} holds no run to resume: configuration.json is missing; leave out "
                    "resume=True (--resume), or give a run's folder"
                )
            return
        contents = dict(_contents(self.path))
        own = [name for name, is_own in contents.items() if is_own]
        others = [name for name, is_own in contents.items() if not is_own]
        if own and not self.overwrite:
            raise RunFolderExistsError(
                f"{self.path} already holds a run; pass resume=True (--resume) to go on with it, "
                "overwrite=True (--overwrite) to replace it, or give another folder"
            )
        if others:
            raise RunFolderExistsError(
                f"{self.path} holds what no run writes ({_some(others)}) and is left as it is; "
                "give another folder, or move these away"
            )
        if own and not self._lock.path.is_file():
            raise RunFolderExistsError(
                f"{self.path} holds {_some(own)}, but no run was made here (there is no file named "
                "lock), so it is not overwritten; give another folder, or remove it yourself"
            )

    def _clear(self) -> None:
        own = [name for name, is_own in _contents(self.path) if is_own]
        # The configuration goes first: what is half removed must not be resumed.
        for name in sorted(own, key=lambda name: not name.startswith("configuration")):
            (self.path / name).unlink()


def _contents(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield the name of everything in a folder but its lock, and whether a run writes it."""
    for path in sorted(folder.iterdir()) if folder.exists() else []:
        if path.name in _ROOMS and path.is_dir():
            inside = [(f"{path.name}/{inner.name}", inner) for inner in sorted(path.iterdir())]
        else:
            inside = [(path.name, path)] if path.name != "lock" else []
        for name, found in inside:
            yield name, bool(_OWN.fullmatch(name)) and not found.is_dir()


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# ---------------------------------------------------------------------------- what it ran on


def versions() -> dict[str, str | int | None]:
    """Return what a run's numbers depend on beside its configuration.

    Example:
        >>> sorted(versions())
        ['accelerator', 'cores', 'flowmaps', 'platform', 'processor', 'python', 'threads', 'torch']
    """
    return {
        "flowmaps": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": _accelerator(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not on Linux
        pass
    return platform.processor() or platform.machine()


def _accelerator() -> str | None:
    if not torch.accelerator.is_available():
        return None
    kind = str(torch.accelerator.current_accelerator())
    name_of = getattr(torch.get_device_module(kind), "get_device_name", lambda number: kind)
    names = [str(name_of(number)) for number in range(torch.accelerator.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))

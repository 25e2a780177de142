"""What a run writes into its folder, and reads when it is resumed; nothing where there is none."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from flowmaps._checks import brief, is_number
from flowmaps._saving import save
from flowmaps.errors import RunFolderError
from flowmaps.training._checkpoints import Checkpoint, Checkpoints
from flowmaps.training._encoding import encode
from flowmaps.training._fingerprint import unlike
from flowmaps.training._log import JsonLines
from flowmaps.training._run_folder import RunFolder, versions
from flowmaps.training._told import told

__all__ = ["Archive", "open_archive"]

_NUMBERS = ("loss", "gradient_norm", "learning_rate", "seconds")


@contextmanager
def open_archive(
    path: str | os.PathLike[str] | None, resume: bool, overwrite: bool, save_seconds: float
) -> Iterator["Archive"]:
    """Hold the run's folder while the context is open; None for a run that writes nothing.

    A folder that holds nothing, or only what a run killed in its first moment leaves, is resumed
    from the start.
    """
    if path is None:
        if resume or overwrite:
            raise ValueError("resume and overwrite need folder=, that of the run")
        yield Archive(None, False, save_seconds)
        return
    path = Path(path).expanduser()
    resumed = resume and (path / "configuration.json").exists()
    if begun := resume and not resumed and path.is_dir():
        _refuse_to_resume_elsewhere(path)
    with RunFolder(path, resume=resumed, overwrite=overwrite or begun) as folder:
        yield Archive(folder, resumed, save_seconds)


def _refuse_to_resume_elsewhere(path: Path) -> None:
    if others := sorted(entry.name for entry in path.iterdir() if not _is_first(entry)):
        raise RunFolderError(
            f"{path} holds no run to resume (there is {', '.join(others[:5])}, but no "
            "configuration.json); give a run's folder, or a new one"
        )


def _is_first(entry: Path) -> bool:
    """Tell whether this may be all that a run killed before its configuration leaves."""
    if entry.name in ("checkpoints", "map", "evaluation", "samples") and entry.is_dir():
        return not any(entry.iterdir())
    return entry.name in ("lock", "configuration.json.new")


class Archive:
    """The files of a run: configuration, log, checkpoints, map.

    Args:
        folder: of the run, open; None to write nothing.
        resumed: whether it holds the beginning of this run.
        save_seconds: least time between checkpoints.
    """

    def __init__(self, folder: RunFolder | None, resumed: bool, save_seconds: float):
        self.folder, self.resumed, self.save_seconds = folder, resumed, save_seconds
        self._log = None if folder is None else JsonLines(folder.log)
        self._checkpoints = None if folder is None else Checkpoints(folder.checkpoints)
        self._saved_at = time.monotonic()
        self._saved_step: int | None = None

    @property
    def path(self) -> Path | None:
        """The folder's path."""
        return None if self.folder is None else self.folder.path

    def begin(self, configuration: dict[str, Any]) -> None:
        """Replace what is to be overwritten; write down what the run is, and what it runs on."""
        if self.folder is not None:
            self.folder.write_configuration({**configuration, "versions": versions()})

    def configuration(
        self, expected: dict[str, Any], first_draw: dict[str, list[Any]]
    ) -> dict[str, Any]:
        """Return the resumed run's configuration.

        Raises:
            RunFolderError: if it is corrupt, or not that of the arguments and data given now; names
                the differences.
        """
        assert self.folder is not None
        found = self.folder.read_configuration()
        compared = {name: found.get(name) for name in expected}
        if differences := _differences(compared, expected):
            raise RunFolderError(
                f"{self.path} was started with other settings: {'; '.join(differences)}; resume it "
                "with the same ones, or start anew in another folder"
            )
        if names := unlike(found.get("first draw"), first_draw):
            raise RunFolderError(
                f"{self.path} was started with other data: {', '.join(names)} of the first draw "
                "differ; resume it with the same source, or start anew in another folder"
            )
        _check_steps(found, self.folder)
        return found

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, and cut the log back to it."""
        assert self._checkpoints is not None and self._log is not None
        found = self._checkpoints.newest()
        self._log.truncate_from(0 if found is None else found.step)
        self._saved_step = None if found is None else found.step
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the steps in the log; raise RunFolderError for one that is none."""
        found = [] if self._log is None else [r for r in self._log.read() if "loss" in r]
        for record in found:
            if not _is_record(record):
                raise RunFolderError(
                    f"the log in {self.path} holds what is no step's record ({brief(record)}); "
                    "repair or remove the line"
                )
        return found

    def write(self, records: list[dict[str, Any]]) -> None:
        """Append steps, or events, to the log."""
        if self._log is not None:
            for record in records:
                self._log.write(**record)

    def cut(self, step: int) -> None:
        """Take this step and all after it out of the log."""
        if self._log is not None:
            self._log.truncate_from(step)

    def checkpoint(self, step: int, state: Any, now: bool = False) -> None:
        """Write a checkpoint if there is none of this step, and it is time or ``now``."""
        due = now or time.monotonic() - self._saved_at >= self.save_seconds
        if self._checkpoints is None or not due or step == self._saved_step:
            return
        self._checkpoints.write(step, state)
        self._saved_at, self._saved_step = time.monotonic(), step

    def try_saving(self, learned: nn.Module, state: dict[str, Any]) -> None:
        """Save map and state for a moment: what cannot be saved must not be learned after hours."""
        if self.folder is not None:
            encode(state, {})
            with TemporaryDirectory() as trial:
                save(learned, trial)

    def finish(self, learned: nn.Module) -> None:
        """Save the finished map.

        Raises:
            RunFolderError: if it cannot be written; the map in memory is whole.
        """
        if self.folder is None:
            return
        with told(
            f"the finished map cannot be written to {self.folder.map}",
            "it is whole in memory and in the last checkpoint: free space there and go on with "
            "resume=True (--resume), or fm.save it elsewhere",
        ):
            self.folder.map.mkdir(exist_ok=True)  # not the folder above: who removed it meant it
            save(learned, self.folder.map, overwrite=True)

    def whereabouts(self, step: int) -> str:
        """Say where the last good state is."""
        if self._checkpoints is None or self._saved_step is None:
            return f"the last good state, of step {step}, is left in the map (no folder was given)"
        path = self._checkpoints.folder
        return f"the last good checkpoint is that of step {self._saved_step} in {path}"


def _differences(found: dict[str, Any], expected: dict[str, Any], place: str = "") -> list[str]:
    listed = []
    for name in dict.fromkeys([*expected, *found]):
        there, value = found.get(name), expected.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            listed += _differences(there, value, f"{place}{name}.")
        elif there != value:
            listed.append(f"{place}{name} was {_brief(there)}, now {_brief(value)}")
    return listed


def _check_steps(found: dict[str, Any], folder: RunFolder) -> None:
    """Raise RunFolderError unless the configuration's number of steps is one of its settings."""
    steps, settings = found.get("steps"), found["settings"]
    asked, exactly = settings["steps"], settings["seconds"] is None
    if isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1:
        if steps == asked or not exactly and (asked is None or steps < asked):
            return
    raise folder.corrupt(f"it names {steps!r} steps")


def _is_record(record: dict[str, Any]) -> bool:
    """Tell whether a log's record has the numbers of a step."""
    parts = record.get("parts")
    return (
        isinstance(record.get("step"), int)
        and isinstance(parts, dict)
        and all(is_number(record.get(name)) for name in _NUMBERS)
        and all(map(is_number, parts.values()))
    )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

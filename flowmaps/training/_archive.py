"""What a run writes into its folder, and reads when it is resumed; nothing where there is none."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from flowmaps._saving import save
from flowmaps.errors import RunFolderError
from flowmaps.training._checkpoints import Checkpoint, Checkpoints
from flowmaps.training._log import JsonLines
from flowmaps.training._run_folder import RunFolder, versions

__all__ = ["Archive", "open_archive"]


@contextmanager
def open_archive(
    path: str | os.PathLike[str] | None, resume: bool, overwrite: bool, save_seconds: float
) -> Iterator["Archive"]:
    """Hold the run's folder while the context is open; None for a run that writes nothing.

    A folder that holds nothing, or only what a run killed in its first moment leaves, is resumed
    from the start.
    """
    if path is None:
        yield Archive(None, False, save_seconds)
        return
    resumed = resume and (Path(path) / "configuration.json").exists()
    if begun := resume and not resumed and Path(path).is_dir():
        _refuse_to_resume_elsewhere(Path(path))
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
    if entry.name in ("checkpoints", "map", "evaluation") and entry.is_dir():
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
        """Write down what the run is, and what it runs on."""
        if self.folder is not None:
            self.folder.write_configuration({**configuration, "versions": versions()})

    def configuration(self, expected: dict[str, Any]) -> dict[str, Any]:
        """Return the resumed run's configuration.

        Raises:
            RunFolderError: if it is not that of the arguments given now; names the differences.
        """
        assert self.folder is not None
        found = self.folder.read_configuration()
        if differences := _differences(found, expected):
            raise RunFolderError(
                f"{self.path} was started with other settings: {'; '.join(differences)}; resume it "
                "with the same ones, or start anew in another folder"
            )
        return found

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, and cut the log back to it."""
        assert self._checkpoints is not None and self._log is not None
        found = self._checkpoints.newest()
        self._log.truncate_from(0 if found is None else found.step)
        self._saved_step = None if found is None else found.step
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the steps in the log."""
        return [] if self._log is None else [r for r in self._log.read() if "loss" in r]

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

    def try_saving(self, learned: nn.Module) -> None:
        """Save the map for a moment: what cannot be saved must not be learned after hours."""
        if self.folder is not None:
            with TemporaryDirectory() as trial:
                save(learned, trial)

    def finish(self, learned: nn.Module) -> None:
        """Save the finished map."""
        if self.folder is not None:
            save(learned, self.folder.map, overwrite=True)

    def whereabouts(self, step: int) -> str:
        """Say where the last good state is."""
        if self._checkpoints is None or self._saved_step is None:
            return f"the last good state, of step {step}, is left in the map (no folder was given)"
        path = self._checkpoints.folder
        return f"the last good checkpoint is that of step {self._saved_step} in {path}"


def _differences(found: dict[str, Any], expected: dict[str, Any], place: str = "") -> list[str]:
    listed = []
    for name, value in expected.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            listed += _differences(there, value, f"{place}{name}.")
        elif there != value:
            listed.append(f"{place}{name} was {_brief(there)}, now {_brief(value)}")
    return listed


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Checkpoints of a run: whole, or not there."""

import hashlib
import os
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from flowmaps._saving._atomic import sync_folder
from flowmaps._version import __version__
from flowmaps.errors import CheckpointError, RunFolderError
from flowmaps.training._encoding import decode, encode

__all__ = ["Checkpoint", "Checkpoints"]

_FORMAT = 1
_WHOLE = re.compile(r"step-(\d+)-([0-9a-f]{64})\.safetensors")
_FRESH = re.compile(r"step-\d+\.new")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Args:
        step: number of the step that it was written at.
        state: what was written, its tensors on the CPU.
        path: its file.
        refused: name and reason of every newer one that is not whole, newest first.
    """

    step: int
    state: Any
    path: Path
    refused: tuple[tuple[str, str], ...] = ()


@final
class Checkpoints:
    """The checkpoints of a run, one file a step: ``step-<number>-<checksum>.safetensors``.

    The name holds the SHA-256 of the whole file, and a file gets its name once it is whole and on
    the disk: whenever a writer dies, those before stay and no part of the new one reads as valid.
    There may be one writer at a time, and any number of readers; the disk needs room for
    ``keep + 1``.

    A state is a nested dict (keys str or int), OrderedDict, list or tuple of None, bool, int,
    float, str and dense tensors of any dtype and device. It comes back bit for bit and type for
    type, tensors on the CPU and without gradients: a parameter comes back as a tensor. Tensors that
    are one and the same memory are written once and come back as one.

    Args:
        folder: made by the first ``write``, in one that is there.
        keep: how many of the newest remain.

    Raises:
        ValueError: for ``keep`` below 1.

    Example:
        >>> import tempfile, torch
        >>> from flowmaps.training._checkpoints import Checkpoints
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(folder, keep=2)
        ...     for step in (10, 20, 30):
        ...         path = checkpoints.write(step, {"weights": torch.ones(2), "steps": (step, 100)})
        ...     checkpoints.steps(), checkpoints.newest().state
        ([20, 30], {'weights': tensor([1., 1.]), 'steps': (30, 100)})
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
        if not _is_count(keep) or keep < 1:
            raise ValueError(f"keep must be a positive number of checkpoints, got {keep!r}")
        self.folder = Path(folder).absolute()
        self.keep = keep
        self._passed_over: set[Path] = set()

    def write(self, step: int, state: Any) -> Path:
        """Write a checkpoint, then remove those that it makes superfluous.

        They are: all but ``keep`` up to this step, those that ``newest`` has passed over, and all
        beyond this step, left by a run that was taken up again before them.

        Args:
            step: its number, from 0.
            state: see the class.

        Returns:
            Its file.

        Raises:
            TypeError, ValueError: for a step that is no number from 0, or a state with anything
                else in it, by its place.
            RunFolderError: if it cannot be written (a full disk, say); those before are untouched.
        """
        if not _is_count(step):
            raise ValueError(f"a checkpoint's step must be a whole number from 0, got {step!r}")
        pieces = encode(state, {"format": _FORMAT, "flowmaps": __version__, "step": step})
        fresh = self.folder / f"step-{step:09d}.new"
        try:
            self.folder.mkdir(exist_ok=True)  # not those above: who removed them meant it
            self._remove_unfinished()
            path = self.folder / f"step-{step:09d}-{_write(fresh, pieces)}.safetensors"
            os.replace(fresh, path)
            sync_folder(self.folder)
        except OSError as error:
            raise RunFolderError(
                f"the checkpoint of step {step} cannot be written to {self.folder} "
                f"({error.strerror or error}); those before it are untouched: free space there, or "
                "write elsewhere"
            ) from error
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        self._remove_superfluous(step, path)
        return path

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; None if there are none at all.

        One that is truncated or corrupt is passed over with a ``UserWarning``.

        Raises:
            CheckpointError: if there are checkpoints and none is whole, or if the newest is of a
                newer format, which nothing older should quietly replace.
        """
        refused: list[tuple[str, str]] = []
        # A listing during which the writer adds one and removes another may show neither.
        for step, path in reversed(self._files() or self._files()):
            try:
                state = _read(path)
            except FileNotFoundError:
                return self.newest()  # the writer has a newer one, and has removed this since
            except _Refused as refusal:
                if refusal.newer:
                    raise CheckpointError(f"the checkpoint {path} {refusal}") from refusal
                refused.append((path.name, str(refusal)))
                self._passed_over.add(path)
                continue
            if refused:
                _warn(refused, path)
            return Checkpoint(step, state, path, tuple(refused))
        if refused:
            raise CheckpointError(
                f"{self.folder} holds no whole checkpoint: {_list(refused)}; put one back from a "
                "copy, or start the run anew with overwrite=True (--overwrite)"
            )
        return None

    def read(self, which: int | str | os.PathLike[str]) -> Checkpoint:
        """Read one checkpoint and no other.

        Args:
            which: its step, or its file.

        Raises:
            CheckpointError: if it is missing, truncated, corrupt, or of a newer format.
        """
        path = self._file_of(which) if isinstance(which, int) else Path(which)
        try:
            state = _read(path)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"there is no checkpoint {path}; {self.folder} has steps {self.steps()}"
            ) from error
        except _Refused as refusal:
            raise CheckpointError(f"the checkpoint {path} {refusal}") from refusal
        return Checkpoint(_step(path), state, path)

    def steps(self) -> list[int]:
        """Return the steps that have a file, whole or not, in order."""
        return sorted({step for step, _ in self._files()})

    def _files(self) -> list[tuple[int, Path]]:
        """Return the files of checkpoints with their steps, oldest first."""
        found = []
        for path in _entries(self.folder):
            if _WHOLE.fullmatch(path.name):
                try:
                    # Two files of a step: the writer died before it had removed the first.
                    found.append((_step(path), path.lstat().st_mtime_ns, path))
                except FileNotFoundError:
                    return self._files()  # the writer has removed it since
        return [(step, path) for step, _, path in sorted(found)]

    def _file_of(self, step: int) -> Path:
        files = [path for found, path in self._files() if found == step]
        if not files:
            raise CheckpointError(
                f"there is no checkpoint of step {step!r} in {self.folder}, which has steps "
                f"{self.steps()}"
            )
        return files[-1]

    def _remove_unfinished(self) -> None:
        for path in _entries(self.folder):
            if _FRESH.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _remove_superfluous(self, step: int, written: Path) -> None:
        files = [path for _, path in self._files() if path != written]
        before = [path for path in files if _step(path) < step and path not in self._passed_over]
        kept = before[max(0, len(before) - self.keep + 1) :]
        for path in files:
            if path not in kept:
                # Windows does not, while it is read: the next write will.
                with suppress(PermissionError, IsADirectoryError):
                    path.unlink(missing_ok=True)


class _Refused(Exception):
    """Why a file is no checkpoint to go on from."""

    def __init__(self, reason: str, newer: bool = False):
        super().__init__(reason)
        self.newer = newer


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> str:
    """Write a file through to the disk and return its checksum."""
    checksum = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
            checksum.update(piece)
        file.flush()
        os.fsync(file.fileno())
    return checksum.hexdigest()


def _read(path: Path) -> Any:
    """Return the state in a file; raise _Refused, or FileNotFoundError if there is none."""
    name = _WHOLE.fullmatch(path.name)
    if not name:
        raise _Refused("is not named like one: step-<number>-<checksum>.safetensors")
    try:
        raw = path.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise
        raise _Refused(f"cannot be read ({error.strerror or error})") from error
    if hashlib.sha256(raw).hexdigest() != name[2]:
        raise _Refused("is truncated or corrupt: its checksum differs from that in its name")
    try:
        facts, build = decode(raw)
        _check_facts(facts, int(name[1]))
        return build()
    except ValueError as error:
        raise _Refused(f"was not written by flowmaps: {error}") from error


def _check_facts(facts: dict[str, Any], step: int) -> None:
    written = facts.get("format")
    if not isinstance(written, int) or written < _FORMAT:
        raise _Refused(f"has the unknown format {written!r}, expected {_FORMAT}")
    if written > _FORMAT:
        raise _Refused(
            f"has format {written}, of flowmaps {facts.get('flowmaps')}, this version reads "
            f"{_FORMAT}; install a newer flowmaps, or remove it to go on from the one before",
            newer=True,
        )
    if facts.get("step") != step:
        raise _Refused(f"is misnamed: it was written at step {facts.get('step')!r}")


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise RunFolderError(
            f"{folder} is not a folder; give a folder for the checkpoints"
        ) from error


def _warn(refused: list[tuple[str, str]], used: Path) -> None:
    warnings.warn(
        f"passed over {len(refused)} of the checkpoints in {used.parent}: {_list(refused)}; "
        f"using {used.name} instead",
        UserWarning,
        stacklevel=3,
    )


def _list(refused: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {reason}" for name, reason in refused)

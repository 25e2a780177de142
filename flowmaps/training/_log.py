"""A run's log: one JSON object a line."""

import json
import math
import mmap
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, final

from flowmaps._saving._atomic import replace
from flowmaps.errors import RunFolderError
from flowmaps.training._told import told

__all__ = ["JsonLines", "require_json"]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@final
class JsonLines:
    """A file of records, one JSON object a line, that outlives its writer at any instant.

    A record is in the system's hands when ``write`` returns. A last line without its end, of a
    writer that was killed, is not read, and is dropped before the next is written.

    Strict JSON has no NaN and no infinities: they are written as the texts "nan", "inf" and "-inf",
    and these texts are read as numbers.

    Args:
        path: the file; made by the first ``write``.

    Example:
        >>> import tempfile
        >>> from flowmaps.training._log import JsonLines
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = JsonLines(folder + "/log.jsonl")
        ...     for step in range(3):
        ...         log.write(step=step, loss=1 / 2**step)
        ...     log.truncate_from(1)
        ...     log.write(step=1, loss=float("inf"))
        ...     log.read()
        [{'step': 0, 'loss': 1.0}, {'step': 1, 'loss': inf}]
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).absolute()

    def write(self, /, **fields: Any) -> None:
        """Append a record.

        Args:
            fields: its values by name: None, bool, int, float, str, and lists and dicts of them.

        Raises:
            TypeError: for a value that is none of them, by its name.
            RunFolderError: if it cannot be written (a full disk, say); the file stays as it was.
        """
        record = {name: _as_text(value) for name, value in fields.items()}
        for name, value in record.items():
            require_json(value, name)
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with self._told(), open(self.path, "a+b", buffering=0) as file:
            _append(file, line)

    def truncate_from(self, step: int) -> None:
        """Drop every record of this step or a later one, in one atomic replacement.

        The step of a record is its "step", of an event its "to_step", else its "at_step".

        Args:
            step: the first that a resumed run writes again.

        Raises:
            RunFolderError: if a line is no JSON object, or the file cannot be written.
        """
        kept = [line for line, record in self._lines() if not _is_from(record, step)]
        content = b"".join(line + b"\n" for line in kept)
        if self.path.exists() and self.path.stat().st_size != len(content):
            with self._told():
                replace(self.path, content)

    def read(self) -> list[dict[str, Any]]:
        """Return all records, none if there is no file.

        Raises:
            RunFolderError: if a line is no JSON object.
        """
        return [_as_numbers(record) for _, record in self._lines()]

    def _told(self) -> AbstractContextManager[None]:
        return told(f"cannot write the log {self.path}", "free space there, or use another folder")

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole = content.split(b"\n")[:-1]  # what follows the last end of line is nothing, or torn
        for number, line in enumerate(whole, start=1):
            yield line, self._record(line, number)

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise RunFolderError(
                f"line {number} of the log {self.path} is no JSON object, but {line[:60]!r}; "
                "repair or remove the line"
            )
        return record


def require_json(value: Any, place: str) -> None:
    """Raise TypeError or ValueError if JSON would not give a value back as it is.

    Args:
        value: None, bool, int, finite float, str, and lists and dicts (keys str) of them.
        place: what to call it.

    Example:
        >>> require_json({"betas": (0.9, 0.99)}, "configuration")
        Traceback (most recent call last):
        ...
        TypeError: configuration['betas'] is a tuple, which JSON does not have; ...
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON does not have; use None or a text")
    elif kind is list:
        for number, item in enumerate(value):
            require_json(item, f"{place}[{number}]")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{place} has the key {key!r}; keys in JSON are text: use str()")
            require_json(item, f"{place}[{key!r}]")
    else:
        raise TypeError(
            f"{place} is a {kind.__qualname__}, which JSON does not have; convert it to a number, "
            "a text, a list or a dict (.item() or .tolist() for tensors and arrays)"
        )


def _append(file: BinaryIO, line: bytes) -> None:
    """Write a line after the last whole one, all of it or nothing."""
    end = _end_of_lines(file)
    file.truncate(end)
    try:
        written = file.write(line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written")
    except OSError:
        file.truncate(end)
        raise


def _end_of_lines(file: BinaryIO) -> int:
    """Return the length of a file without a last line that has no end."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return size
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(b"\n") + 1


def _is_from(record: dict[str, Any], step: int) -> bool:
    found = record.get("step", record.get("to_step", record.get("at_step")))
    return isinstance(found, int | float) and found >= step


def _as_text(value: Any) -> Any:
    """Replace every number that is not finite by its text."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    return value


def _as_numbers(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, list):
        return [_as_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_numbers(item) for key, item in value.items()}
    return value

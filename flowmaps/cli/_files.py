"""Files that commands write reports to: looked at before the work, written after it."""

from collections.abc import Iterable
from pathlib import Path

from flowmaps.errors import UsageError

__all__ = ["check_files", "write_file"]


def check_files(paths: Iterable[Path | None], overwrite: bool) -> None:
    """Raise UsageError if a file is there already, could not be written, or is named twice."""
    named = [path for path in paths if path is not None]
    for path in named:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give a file")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} is there already; give another file, or --overwrite")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise UsageError(f"{path} cannot be written: {above} is no folder")
    if len({path.absolute() for path in named}) < len(named):
        raise UsageError("every report needs a file of its own; one is named twice")


def write_file(path: Path, text: str) -> None:
    """Write a file, and the folders that lead to it; raise UsageError if that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}") from error

"""A lock on a file that ends with the process that holds it."""

import os
import socket
import sys
import warnings
import weakref
from pathlib import Path
from typing import final

from flowmaps.errors import RunFolderError

__all__ = ["Lock"]


@final
class Lock:
    """An exclusive lock, which the system takes back however its process ends.

    The file holds the process and its machine ("1234 node7"), nothing after an orderly end. It is
    never removed: another process might just be opening it. Children made by ``os.fork`` do not
    hold the lock.

    Where a file system has no locks, a warning says so and work goes on without. Under Windows one
    byte far behind the end of the file is locked.

    Args:
        path: the file; made if missing, in a folder that must exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it through this object."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunFolderError: if another process holds it (or this one, through another object).
            OSError: if the file cannot be written.
        """
        if self.held:
            raise RunFolderError(f"{self.path.parent} is entered already; leave it first")
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _take(descriptor):
                raise RunFolderError(
                    f"{self.path.parent} is in use by process {_holder(descriptor)}; wait for it, "
                    "stop it, or give another folder"
                )
            _write(descriptor, f"{os.getpid()} {socket.gethostname()}\n")
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Give the lock back, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            try:
                _write(descriptor, "")
            finally:
                os.close(descriptor)

    def abandon(self) -> None:
        """Close a forked child's copy, through which it would hold its parent's lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _abandon_all() -> None:
    for lock in list(_held):
        lock.abandon()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text.encode())


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    pid, _, machine = os.read(descriptor, 300).decode(errors="replace").strip().partition(" ")
    return f"{pid} on {machine}" if pid else "of unknown number"


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a locked byte cannot be read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            warnings.warn(
                f"this file system has no locks ({error}): make sure that no other process works "
                "in the folder",
                UserWarning,
                stacklevel=4,
            )
        return True

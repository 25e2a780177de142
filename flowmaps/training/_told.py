"""Errors of the system, told with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from flowmaps.errors import FlowMapError, RunFolderError

__all__ = ["told"]


@contextmanager
def told(what: str, cure: str) -> Iterator[None]:
    """Turn an OSError of the system into a RunFolderError.

    Args:
        what: cannot be done.
        cure: what the user may do about it.

    Example:
        >>> with told("the picture cannot be written", "free space there"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        flowmaps.errors.RunFolderError: the picture cannot be written ([Errno 28] No space ...
    """
    try:
        yield
    except FlowMapError:
        raise
    except OSError as error:
        raise RunFolderError(f"{what} ({error}); {cure}") from error

"""Work in a fresh interpreter, as a user's own program would do it, which ends in time."""

import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flowmaps._checks import first_line

__all__ = ["NotPortable", "run_fresh"]

_ENDED_BY, _UNREAD = "it was ended by", "it could not be read"
_PROGRAM = "from flowmaps.testing.doctor._fresh import work; work()"


class NotPortable(Exception):
    """What a task needs does not get into another interpreter: pickle cannot take it there."""


def run_fresh(task: Callable[..., dict[str, Any]], job: tuple[Any, ...], seconds: float) -> Any:
    """Run a task in a fresh interpreter, with this one's paths for imports.

    Args:
        task: defined at the top of a module; returns what JSON holds.
        job: its arguments, of which pickle makes copies.
        seconds: after which it is ended.

    Raises:
        NotPortable: if the arguments do not get there.
        TimeoutError: if it does not end in time; it is killed then.
        RuntimeError: if it ends without a result.
    """
    with TemporaryDirectory(prefix="flowmaps-doctor-") as folder:
        given, made, said = (Path(folder) / name for name in ("given", "made.json", "said"))
        try:
            given.write_bytes(pickle.dumps(job))
        except Exception as error:
            raise NotPortable(first_line(error)) from error
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        command = [sys.executable, "-c", _PROGRAM, task.__module__, task.__name__, folder]
        with said.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # compilers that it starts are ended with it
            )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"it did not end within {seconds:g} s; give it more by seconds= (--seconds)"
            ) from None
        finally:
            _end(process)
        if not made.exists():
            last = said.read_text(errors="replace").strip().splitlines()[-1:]
            told = f": {last[0]}" if last else ""
            raise RuntimeError(f"a fresh interpreter ended with status {process.returncode}{told}")
        found = json.loads(made.read_text(encoding="utf-8"))
    if _UNREAD in found:
        raise NotPortable(found[_UNREAD])
    if _ENDED_BY in found:
        raise RuntimeError(found[_ENDED_BY])
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it started, which may outlive it."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def work() -> None:
    """Be the fresh interpreter: read the arguments, run the task, write what it returns."""
    module, name, folder = sys.argv[1:]
    made = Path(folder) / "made.json"
    try:
        job = pickle.loads((Path(folder) / "given").read_bytes())
    except Exception as error:
        found = {_UNREAD: first_line(error)}
    else:
        found = _done(getattr(importlib.import_module(module), name), job)
    partial = made.with_suffix(".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.rename(made)


def _done(task: Callable[..., dict[str, Any]], job: tuple[Any, ...]) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return task(*job)
    except Exception as error:
        return {_ENDED_BY: f"{type(error).__name__}: {first_line(error)}"}

"""Work in processes of its own, which may hang or break what they run in, and end in time."""

import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from flowmaps._checks import first_line

__all__ = ["Apart", "run_apart"]

_ENDED_BY = "the process was ended by"

Apart = Callable[..., dict[str, Any]]
"""A task: takes what pickle takes, returns what JSON holds; defined at the top of a module."""


def run_apart(task: Apart, jobs: Sequence[tuple[Any, ...]], seconds: float) -> list[dict[str, Any]]:
    """Run a task once for every job, each in its own process, all at the same time.

    Where it is safe the processes are forked, so that networks need not be importable; on other
    systems, and once CUDA has been used, they are started anew and the network is pickled.

    Raises:
        TimeoutError: if they do not end in time; they are killed then.
        RuntimeError: if one ends without a result.
    """
    forks = sys.platform == "linux" and not torch.cuda.is_initialized()
    context = multiprocessing.get_context("fork" if forks else "spawn")
    with TemporaryDirectory(prefix="flowmaps-doctor-") as folder:
        paths = [Path(folder) / f"{number}.json" for number in range(len(jobs))]
        processes: list[BaseProcess] = [
            context.Process(target=_child, args=(task, job, str(path)), daemon=True)  # pyright: ignore[reportAttributeAccessIssue]
            for job, path in zip(jobs, paths, strict=True)
        ]
        try:
            for process in processes:
                process.start()
            _wait(processes, time.monotonic() + seconds, seconds)
        finally:
            for process in processes:
                _end(process)
        return [_result(path, process) for path, process in zip(paths, processes, strict=True)]


def _wait(processes: list[BaseProcess], deadline: float, seconds: float) -> None:
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.0))
        if process.is_alive():
            raise TimeoutError(
                f"it did not end within {seconds:g} s; give it more by seconds= (--seconds)"
            )


def _end(process: BaseProcess) -> None:
    if process.pid is None:
        return
    if process.is_alive():
        with suppress(OSError):  # it leads a group of its own, once it has begun
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join()


def _result(path: Path, process: BaseProcess) -> dict[str, Any]:
    if not path.exists():
        raise RuntimeError(f"a process of its own ended with status {process.exitcode}")
    found = json.loads(path.read_text(encoding="utf-8"))
    if _ENDED_BY in found:
        raise RuntimeError(found[_ENDED_BY])
    return found


def _child(task: Apart, job: tuple[Any, ...], path: str) -> None:
    """Run one job and write its result; what it prints is nobody's concern."""
    if hasattr(os, "setsid"):
        os.setsid()
    silent = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silent, descriptor)
    torch.set_num_threads(1)  # threads do not survive a fork
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = task(*job)
    except Exception as error:
        found = {_ENDED_BY: f"{type(error).__name__}: {first_line(error)}"}
    partial = Path(path + ".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.rename(path)

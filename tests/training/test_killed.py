"""A run that is killed anywhere and taken up again ends with the bits of one that never was.

Run as a program, this file is a nursery: a process that has imported everything and forks a child
for each run it is asked for, so that runs can be killed by the dozen.
"""

import contextlib
import importlib.util
import json
import math
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flowmaps as fm
from flowmaps.errors import RunFolderError
from flowmaps.training import _loop

pytestmark = pytest.mark.usefixtures("as_users_do")
needs_soap = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_optimizer") is None, reason="needs pytorch-optimizer"
)


class Nursery:
    """The process that forks a child for each run, one at a time."""

    def __init__(self, errors: Path):
        self.errors = errors
        with open(errors, "wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                bufsize=0,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )

    def start(self, **order: Any) -> int:
        """Start a run and return its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
        return int(self._line())

    def ended(self) -> bool:
        """Tell whether the run has ended."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def status(self) -> int:
        """Wait for the run's end and return how it ended: -9 killed, 0 finished."""
        status = int(self._line())
        assert status in (0, -signal.SIGKILL), self.errors.read_text()
        return status

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()
        return line

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    opened = Nursery(tmp_path_factory.mktemp("nursery") / "errors.txt")
    yield opened
    opened.close()


posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def tell(outcome_path: Path, result: fm.training.FitResult) -> None:
    history = {k: v for k, v in asdict(result.history).items() if k != "seconds"}
    outcome_path.write_text(json.dumps({"history": history, "steps": result.steps}))


@pytest.fixture
def left_by(runs: SimpleNamespace) -> Callable[[Path], dict[str, Any]]:
    """``left_by(folder)``: what a finished run has left and told, but for times of day."""
    return lambda folder: runs.on_disk(folder) | json.loads(folder.with_suffix(".json").read_text())


def grown(path: Path, by: int) -> Callable[[], bool]:
    size = path.stat().st_size if path.exists() else 0
    return lambda: path.exists() and path.stat().st_size > size + by


def moment(kind: str, folder: Path, chance: random.Random) -> Callable[[], bool]:
    """Return a condition to kill a run at, by what it has written since now."""
    if kind == "start-up":
        known = time.time_ns()
        return lambda: (folder / "lock").stat().st_mtime_ns > known
    if kind == "step":
        return grown(folder / "log.jsonl", chance.randrange(6000))
    if kind == "checkpoint":
        written = grown(folder / "log.jsonl", chance.randrange(3000))
        return lambda: written() and any((folder / "checkpoints").glob("*.new"))
    return (folder / "map").exists


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["sgd", pytest.param("soap", marks=needs_soap), "noise", "seconds"]
)
def test_killed_again_and_again_a_run_ends_as_if_it_never_was(
    case: str, nursery: Nursery, tmp_path: Path, left_by: Callable[[Path], dict[str, Any]]
) -> None:
    folder, chance = tmp_path / "killed", random.Random(case)
    order: dict[str, Any] = {"case": case, "steps": 100, "keep_every": 4}
    if case == "seconds":
        order |= {"case": "noise", "seconds": 3.0}  # for so many steps at most
    kills = 0
    for kind in ("step", "checkpoint", "start-up", "checkpoint", "step", "map"):
        reached = moment(kind, folder, chance)
        pid = nursery.start(folder=folder, **order)
        wait_for(nursery, reached)
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(pid, signal.SIGKILL)
        kills += nursery.status() == -signal.SIGKILL
    assert kills >= 3
    nursery.start(folder=folder, **order)
    assert nursery.status() == 0
    written = json.loads((folder / "configuration.json").read_text())["steps"]
    nursery.start(folder=tmp_path / "whole", **{**order, "steps": written, "seconds": None})
    assert nursery.status() == 0
    assert left_by(folder) == left_by(tmp_path / "whole")


def wait_for(nursery: Nursery, condition: Callable[[], bool]) -> None:
    while not (condition() or nursery.ended()):
        time.sleep(1e-4)  # a file that is being written is there for a millisecond


@posix
@pytest.mark.slow
def test_killed_before_any_touch_of_its_folder_a_run_can_go_on(
    nursery: Nursery, tmp_path: Path, left_by: Callable[[Path], dict[str, Any]]
) -> None:
    """Every opening, renaming, removing and syncing of a file, from the first to the last."""
    order: dict[str, Any] = {"case": "adamw", "steps": 3, "warmup": 0, "keep_every": 2}
    nursery.start(folder=tmp_path / "whole", **order)
    assert nursery.status() == 0
    expected, touches, early = left_by(tmp_path / "whole"), 0, 0
    while True:
        folder = tmp_path / f"killed{touches}"
        nursery.start(folder=folder, touches=touches, **order)
        if nursery.status() == 0:
            break
        touches += 1
        if (folder / "configuration.json.new").exists():
            early += 1  # see test_half_a_configuration_is_no_obstacle
            continue
        nursery.start(folder=folder, **order)
        assert nursery.status() == 0
        assert left_by(folder) == expected, touches
        shutil.rmtree(folder)
    assert touches > 30 and early < 4


@posix
def test_a_folder_in_use_names_the_process(
    nursery: Nursery, tmp_path: Path, refused: Callable[..., None], runs: SimpleNamespace
) -> None:
    pid = nursery.start(case="adamw", steps=100_000, folder=tmp_path)
    wait_for(nursery, (tmp_path / "configuration.json").exists)
    learned = runs.make_map()
    before = runs.bits(learned)
    for options in ({"resume": True}, {"overwrite": True}):
        refused(
            lambda options=options: runs.train(learned=learned, folder=tmp_path, **options),
            OSError,
            f"is in use by process {pid} on .*; wait for it, stop it, or give another folder",
            RunFolderError,
        )
    assert runs.bits(learned) == before and not nursery.ended()
    os.kill(pid, signal.SIGKILL)
    assert nursery.status() == -signal.SIGKILL


# ---------------------------------------------------------------------------- the nursery


def kill_at(touches: int, folder: str) -> None:
    """Have this process killed just before it touches the folder for the n-th time."""
    left = iter(range(touches, -1, -1))

    def touch() -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and folder in str(arguments[0]):
            touch()

    sync = os.fsync
    os.fsync = lambda descriptor: (touch(), sync(descriptor))[1]
    sys.addaudithook(watch)


def work(case: str, folder: str, touches: int | None = None, **more: Any) -> None:
    if touches is not None:
        kill_at(touches, folder)
    result = train(case, folder=folder, resume=True, **more)
    tell(Path(folder).with_suffix(".json"), result)


def nurse() -> None:
    torch.set_num_threads(1)
    _loop._OVERTIME = math.inf  # a busy machine must not cut a run short
    train(steps=4)  # so that the children need not warm up
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(**json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    from conftest import train  # the one beside this file

    nurse()

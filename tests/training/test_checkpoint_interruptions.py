"""A write that is interrupted, or read while it goes on, leaves whole checkpoints."""

import copy
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flowmaps.errors import RunFolderError
from flowmaps.training import _checkpoints
from flowmaps.training._checkpoints import Checkpoints


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_those_before(
    call: str,
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: SimpleNamespace,
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2, keep=2)

    def failing(*arguments: Any, **options: Any) -> None:
        raise copy.copy(error)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises((RunFolderError, OSError, KeyboardInterrupt)) as caught:
        checkpoints.write(3, kept.small(3))
    monkeypatch.undo()
    if isinstance(error, OSError) and call != "unlink":
        assert "step 3 cannot be written" in str(caught.value)
        assert "No space left" in str(caught.value)
    found = kept.quiet_newest(checkpoints)
    assert found.step == (3 if call == "unlink" else 2) and kept.same(
        found.state, kept.small(found.step)
    )
    checkpoints.write(4, kept.small(4))
    assert len(os.listdir(tmp_path)) == 2 and kept.quiet_newest(checkpoints).step == 4


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit to the size of files")
def test_a_full_disk_leaves_those_before(tmp_path: Path, kept: SimpleNamespace) -> None:
    import resource

    checkpoints = kept.written(tmp_path, 1, 2)
    before = sorted(os.listdir(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="step 3 cannot be written.*untouched: free space"):
            checkpoints.write(3, torch.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == before
    assert kept.quiet_newest(checkpoints).step == 2


KILLING = """
import os, random, shutil, signal, sys, time, warnings
from pathlib import Path
import torch
from flowmaps._saving import _atomic
from flowmaps.training import _checkpoints
from flowmaps.training._checkpoints import Checkpoints

warnings.simplefilter("error")
torch.set_num_threads(1)
FILES = {module.__file__ for module in (_atomic, _checkpoints)}  # which touch files


def state(step, size):
    return {"step": step, "weights": [torch.full((size,), float(step)), (step, None)]}


def check(found, size):
    expected = state(found.step, size)
    assert torch.equal(found.state["weights"][0], expected["weights"][0]), found
    assert found.state["step"] == found.step and found.state["weights"][1] == (found.step, None)
    assert not found.refused
    return found.step


def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def at_every_line(folder):
    def killed_at(limit, checkpoints):
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename not in FILES:
                return None
            count += event == "line"
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        checkpoints.write(3, state(3, 2))

    limit, visible = 0, 2
    while True:
        limit += 1
        shutil.rmtree(folder, ignore_errors=True)
        checkpoints = Checkpoints(folder, keep=1)
        checkpoints.write(2, state(2, 2))
        status = os.waitpid(forked(lambda: killed_at(limit, checkpoints)), 0)[1]
        step = check(checkpoints.newest(), 2)
        assert step in (2, 3) and step >= visible, (limit, step, visible)
        visible = step
        checkpoints.write(4, state(4, 2))
        assert checkpoints.steps() == [4] and len(os.listdir(folder)) == 1, limit
        if os.WIFEXITED(status):
            break
    assert visible == 3
    return limit


def at_random_moments(folder, times):
    generator, size, last = random.Random(0), 100_000, 0

    def write_on(first, tell):
        for step in range(first, first + 10_000):
            Checkpoints(folder, keep=2).write(step, state(step, size))
            os.write(tell, b"%d\\n" % step)

    for _ in range(times):
        hear, tell = os.pipe()
        child = forked(lambda: write_on(last + 1, tell))
        os.close(tell)
        os.read(hear, 1)  # it has begun
        time.sleep(generator.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = os.read(hear, 1_000_000).split()
        os.close(hear)
        step = check(Checkpoints(folder).newest(), size)
        assert step >= int(told[-1] if len(told) > 1 else 0) and step > last, (step, told, last)
        last = step
    return last


sync, os.fsync = os.fsync, lambda descriptor: None  # a killed process needs none
lines = at_every_line(Path(sys.argv[1]) / "lines")
os.fsync = sync
last = at_random_moments(Path(sys.argv[1]) / "moments", 12)
print(lines, last)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_writer_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """SIGKILL before every line of a write that could touch a file, then at random moments."""
    command = [sys.executable, "-c", KILLING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines, last = map(int, done.stdout.split())
    assert lines > 60 and last >= 12


def test_a_reader_beside_the_writer_sees_whole_checkpoints(
    tmp_path: Path, kept: SimpleNamespace
) -> None:
    checkpoints = kept.written(tmp_path, 0, keep=1)
    writer = threading.Thread(
        target=lambda: [checkpoints.write(k, kept.small(k)) for k in range(1, 80)]
    )
    writer.start()
    seen = [0]
    while writer.is_alive():
        found = kept.quiet_newest(Checkpoints(tmp_path))
        assert kept.same(found.state, kept.small(found.step))
        seen.append(found.step)
    writer.join()
    assert seen == sorted(seen)
    assert kept.quiet_newest(checkpoints).step == 79


def test_a_listing_may_miss_what_the_writer_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: SimpleNamespace
) -> None:
    checkpoints = kept.written(tmp_path, 2)
    gone = tmp_path / f"step-000000001-{64 * '0'}.safetensors"
    whole = list(tmp_path.iterdir())
    for stale in ([], [gone]):
        answers = iter([stale, whole])
        monkeypatch.setattr(_checkpoints, "_entries", lambda folder, found=answers: next(found))
        assert kept.quiet_newest(checkpoints).step == 2


def test_one_that_vanishes_before_it_is_read_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: SimpleNamespace
) -> None:
    checkpoints = kept.written(tmp_path, 1)
    read = Path.read_bytes

    def slow(self: Path) -> bytes:
        if "step-000000001-" in self.name:
            kept.written(tmp_path, 2, keep=1)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", slow)
    assert kept.quiet_newest(checkpoints).step == 2

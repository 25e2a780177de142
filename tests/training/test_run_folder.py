"""A run's folder belongs to one process, and nothing in it is lost that was not given up."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import flowmaps as fm
from flowmaps.errors import FlowMapError, RunFolderError, RunFolderExistsError
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._log import JsonLines
from flowmaps.training._run_folder import RunFolder, versions


def enter(*arguments: Any, **options: Any) -> None:
    with RunFolder(*arguments, **options):
        pass


def make_run(path: Path) -> RunFolder:
    """Leave all that a run writes."""
    with RunFolder(path) as run:
        run.write_configuration({"steps": 3})
        JsonLines(run.log).write(step=0)
        for step in (1, 2):
            Checkpoints(run.checkpoints).write(step, torch.ones(2))
        fm.save(fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=2, depth=1)), run.map)
    return run


def files(path: Path) -> dict[str, bytes]:
    """Return every file but the lock."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "lock"
    }


# ---------------------------------------------------------------------------- what may be entered


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_new_folder_is_made(overwrite: bool, tmp_path: Path) -> None:
    with RunFolder(str(tmp_path / "a" / "run"), overwrite=overwrite) as run:
        assert run.path == tmp_path / "a" / "run" and run.path.is_dir()
        assert run.configuration == run.path / "configuration.json"
        assert run.log == run.path / "log.jsonl"
        assert run.checkpoints == run.path / "checkpoints"
        assert run.map == run.path / "map"
        assert run.path.joinpath("lock").read_text().split()[0] == str(os.getpid())


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    enter(tmp_path)
    enter(tmp_path)  # the one before has left nothing but its lock
    (tmp_path / "checkpoints").mkdir()
    enter(tmp_path)


def test_a_run_is_not_entered_unasked(tmp_path: Path, refused: Callable[..., None]) -> None:
    make_run(tmp_path)
    before = files(tmp_path)
    message = r"already holds a run; .*--resume.*--overwrite.*another folder"
    refused(lambda: enter(tmp_path), FileExistsError, message, RunFolderExistsError)
    assert files(tmp_path) == before


def test_a_run_is_resumed_as_it_is(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "output.txt").write_text("what the user's shell has written")
    before = files(tmp_path)
    with RunFolder(tmp_path, resume=True) as run:
        assert run.read_configuration() == {"steps": 3}
    assert files(tmp_path) == before


def test_a_copied_run_is_resumed(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "lock").unlink()
    enter(tmp_path, resume=True)


def test_a_run_is_overwritten(tmp_path: Path) -> None:
    make_run(tmp_path)
    for name in ("configuration.json", "log.jsonl", "map/flowmap.json", "checkpoints/step-7"):
        (tmp_path / f"{name}.new").write_text("left by a killed writer")
    before = files(tmp_path)
    with RunFolder(tmp_path, overwrite=True) as run:
        assert files(run.path) == before  # until the new run begins
        run.write_configuration({"steps": 4})
        assert files(tmp_path).keys() == {"configuration.json"}
        (tmp_path / "log.jsonl").touch()
        run.write_configuration({"steps": 5})
    assert files(tmp_path).keys() == {"configuration.json", "log.jsonl"}


def test_the_folders_of_a_run_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "big")
    make_run(tmp_path / "run")
    assert len(files(tmp_path / "big")) == 2
    with RunFolder(tmp_path / "run", overwrite=True) as run:
        run.write_configuration({})
    assert files(tmp_path / "big") == {} and (tmp_path / "run" / "checkpoints").is_symlink()


@pytest.mark.parametrize("options", [{}, {"overwrite": True}], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    "name",
    [
        "thesis.tex", "data/x.npy", "checkpoints/best.pt", "map/notes.txt", "checkpoints.txt",
        "log.jsonl/x", "step-1.new", "checkpoints/step-1.new/x", "map",
    ],
)  # fmt: skip
def test_other_things_are_never_touched(
    name: str, options: dict[str, bool], tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("years of work")
    message = "holds what no run writes .*give another folder, or move"
    refused(lambda: enter(tmp_path, **options), FileExistsError, message, RunFolderExistsError)
    assert files(tmp_path) == {name: b"years of work"}
    assert not (tmp_path / "lock").exists()


def test_a_run_among_other_things_is_not_overwritten(
    tmp_path: Path, refused: Callable[..., None]
) -> None:
    make_run(tmp_path)
    for number in range(7):
        (tmp_path / f"paper{number}.pdf").write_text("")
    before = files(tmp_path)
    message = r"no run writes \(paper0.pdf, .* paper4.pdf and 2 more\)"
    refused(lambda: enter(tmp_path, overwrite=True), FileExistsError, message, RunFolderExistsError)
    assert files(tmp_path) == before


def test_files_that_are_only_called_like_a_runs_are_not_overwritten(
    tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / "configuration.json").write_text("of some other program")
    refused(
        lambda: enter(tmp_path, overwrite=True),
        FileExistsError,
        "no file named lock",
        RunFolderExistsError,
    )
    assert os.listdir(tmp_path) == ["configuration.json"]


@pytest.mark.parametrize("make", [None, "empty", "other"])
def test_without_a_run_there_is_nothing_to_resume(
    make: str | None, tmp_path: Path, refused: Callable[..., None]
) -> None:
    path = tmp_path / "run"
    if make:
        path.mkdir()
    if make == "other":
        (path / "thesis.tex").write_text("")
    before = sorted(tmp_path.rglob("*"))
    message = "holds no run to resume: configuration.json is missing; .*--resume"
    refused(lambda: enter(path, resume=True), OSError, message, RunFolderError)
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_arguments(tmp_path: Path, refused: Callable[..., None]) -> None:
    both: Any = {"resume": True, "overwrite": True}
    refused(lambda: RunFolder(tmp_path, **both), ValueError, "--resume.* or .*--overwrite.*, not b")
    refused(lambda: RunFolder(""), ValueError, "path of a run's folder is empty")


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_file_is_no_folder(
    options: dict[str, bool], tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / "file").write_text("x")
    refused(
        lambda: enter(tmp_path / "file", **options),
        OSError,
        "file is a file; give a folder",
        RunFolderError,
    )
    if not options:
        refused(
            lambda: enter(tmp_path / "file" / "run"),
            OSError,
            "cannot be used as a run's folder .*can be written",
            RunFolderError,
        )
    assert (tmp_path / "file").read_text() == "x"


@contextlib.contextmanager
def read_only_folder() -> Iterator[Path]:
    """A folder in which this process, even if it belongs to root, may not write."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "read_only"
        folder.mkdir()
        os.chmod(parent, 0o755)
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of Unix")
def test_a_read_only_folder_is_refused(refused: Callable[..., None]) -> None:
    message = "cannot be used as a run's folder .*[Pp]ermission denied.*can be written"
    with read_only_folder() as folder:
        for path in (folder, folder / "run"):
            refused(lambda path=path: enter(path), OSError, message, RunFolderError)


# ---------------------------------------------------------------------------- one process at a time

HOLDING = """
import os, sys, time
from flowmaps.training._run_folder import RunFolder

with RunFolder(sys.argv[1]) as run:
    run.write_configuration({})
    child = os.fork()
    if child == 0:
        time.sleep(300)  # as a worker that loads data, and outlives a parent killed
        os._exit(0)
    print(child, flush=True)
    time.sleep(300)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_the_lock_ends_with_its_process(tmp_path: Path, refused: Callable[..., None]) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        try:
            message = f"{tmp_path} is in use by process {other.pid} on .*give another folder"
            for options in ({}, {"resume": True}, {"overwrite": True}):
                refused(
                    lambda options=options: enter(tmp_path, **options),
                    OSError,
                    message,
                    RunFolderError,
                )
            other.send_signal(signal.SIGKILL)
            other.wait()
            os.kill(child, 0)  # its child lives
            with RunFolder(tmp_path, resume=True) as run:
                assert run.read_configuration() == {}
        finally:
            other.kill()
            os.kill(child, signal.SIGKILL)


def test_one_process_cannot_enter_twice(tmp_path: Path, refused: Callable[..., None]) -> None:
    with RunFolder(tmp_path) as run:
        message = f"in use by process {os.getpid()} on "
        refused(lambda: enter(tmp_path), OSError, message, RunFolderError)
        refused(run.__enter__, OSError, "is entered already", RunFolderError)
        run.write_configuration({})  # it has not lost its lock
    enter(tmp_path, resume=True)


def test_the_lock_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path):
        raise ZeroDivisionError
    enter(tmp_path)
    make_run(tmp_path)
    with pytest.raises(RunFolderExistsError):
        enter(tmp_path)
    enter(tmp_path, resume=True)  # neither did the refused one keep it
    assert (tmp_path / "lock").read_text() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def failing(*arguments: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.warns(UserWarning, match="no locks .*make sure that no other process"):
        enter(tmp_path)


# ---------------------------------------------------------------------------- configuration


def test_a_configuration_comes_back(tmp_path: Path) -> None:
    configuration = {"rate": 1e-3, "steps": 10, "ema": None, "box": [[0.0, 1], {"a": True}]}
    with RunFolder(tmp_path) as run:
        run.write_configuration({"old": 1})
        run.write_configuration(configuration)
        assert run.read_configuration() == configuration
        assert json.loads(run.configuration.read_text()) == configuration
    assert RunFolder(tmp_path).read_configuration() == configuration
    assert sorted(os.listdir(tmp_path)) == ["configuration.json", "lock"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, r"configuration\['a'\] is nan, which JSON does not have"),
        ((1, 2), TypeError, r"configuration\['a'\] is a tuple.*convert it"),
        ({1: 2}, TypeError, r"configuration\['a'\] has the key 1; keys in JSON are text"),
        ([torch.ones(1)], TypeError, r"configuration\['a'\]\[0\] is a Tensor"),
        (Path("x"), TypeError, r"configuration\['a'\] is a PosixPath"),
        (len, TypeError, r"configuration\['a'\] is a builtin_function"),
    ],
)
def test_what_json_would_change_is_refused(
    value: Any, error: type, message: str, tmp_path: Path, refused: Callable[..., None]
) -> None:
    with RunFolder(tmp_path) as run:
        run.write_configuration({"a": 1})
        refused(lambda: run.write_configuration({"a": value}), error, message)
        refused(lambda: run.write_configuration([value]), TypeError, "a configuration is a dict")  # pyright: ignore
        assert run.read_configuration() == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_corrupt_configuration_is_refused(
    content: bytes, tmp_path: Path, refused: Callable[..., None]
) -> None:
    with RunFolder(tmp_path) as run:
        run.write_configuration({})
        run.configuration.write_bytes(content)
        message = "configuration.json is corrupt .*--overwrite"
        refused(run.read_configuration, OSError, message, RunFolderError)


def test_a_missing_configuration_is_told(tmp_path: Path, refused: Callable[..., None]) -> None:
    message = "holds no run: configuration.json is missing"
    refused(RunFolder(tmp_path).read_configuration, OSError, message, RunFolderError)


def test_only_who_holds_the_folder_writes(tmp_path: Path, refused: Callable[..., None]) -> None:
    run = make_run(tmp_path)
    before = files(tmp_path)
    refused(
        lambda: run.write_configuration({}),
        OSError,
        "is not entered; use `with RunFolder",
        RunFolderError,
    )
    assert files(tmp_path) == before


# ---------------------------------------------------------------------------- versions


def test_versions_are_json() -> None:
    found = versions()
    assert json.loads(json.dumps(found)) == found
    assert found["flowmaps"] == fm.__version__ and found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads() and found["processor"]
    assert (found["accelerator"] is None) == (not torch.accelerator.is_available())


def test_errors_are_caught_by_their_kinds() -> None:
    error = RunFolderExistsError("text")
    assert isinstance(error, FlowMapError) and isinstance(error, FileExistsError)
    assert str(error) == "text" and error.errno is None


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with RunFolder("~/run") as run:
        assert run.path == tmp_path / "run" and run.path.is_dir()

"""The command line, called in process, and runs of recipes made small."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flowmaps.cli import main
from flowmaps.cli._runs import KINDS
from flowmaps.generative import CheckerboardRecipe, DigitsRecipe
from flowmaps.surrogates import PendulumRecipe

EAGER: dict[str, Any] = {"compile": False, "keep_every": 1}
"""A compilation takes longer than all steps of these runs."""


@dataclass(frozen=True)
class SmallPendulum(PendulumRecipe):
    """The pendulum with a small network."""

    steps: int = 2
    width: int = 8
    depth: int = 1
    batch: int = 16

    def settings(self) -> dict[str, Any]:
        return super().settings() | EAGER | {"optimizer": "adamw"}


@dataclass(frozen=True)
class SmallBoard(CheckerboardRecipe):
    """The checkerboard with a small network."""

    steps: int = 2
    width: int = 8
    depth: int = 1
    batch: int = 16
    samples: int = 200

    def settings(self) -> dict[str, Any]:
        return super().settings() | EAGER


@dataclass(frozen=True)
class SmallDigits(DigitsRecipe):
    """The digits with a small network."""

    steps: int = 2
    width: int = 8
    batch: int = 16

    def settings(self) -> dict[str, Any]:
        return super().settings() | EAGER


SMALL = {"pendulum": SmallPendulum, "checkerboard": SmallBoard, "digits": SmallDigits}


@pytest.fixture(autouse=True)
def as_users_do(strict_torch: None) -> Iterator[None]:
    """float32, and as many threads afterwards as before."""
    torch.set_default_dtype(torch.float32)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_recipes() -> Iterator[None]:
    """The recipes with small networks, and nothing compiled."""
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in SMALL.items():
            patch.setitem(KINDS, name, replace(KINDS[name], recipe=recipe))
        yield


def call(*arguments: object) -> int:
    """Run the command line and return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["flowmaps", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@pytest.fixture
def command(
    small_recipes: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """``command(*arguments)`` returns the exit status and what stands on standard output."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        return call(*arguments), capsys.readouterr().out

    return run


@pytest.fixture
def declined(small_recipes: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``declined(*arguments)`` returns the sentence on standard error.

    The exit status is 1, or 2 for a command that is not understood; nothing else is printed.
    """

    def run(*arguments: object, status: int | None = None, quiet: bool = True) -> str:
        capsys.readouterr()
        ended = call(*arguments)
        assert ended in (1, 2) if status is None else ended == status
        said, message = capsys.readouterr()
        assert said == "" or not quiet
        assert message.startswith("error: ") and message.count("\n") == 1
        assert 20 < len(message) < 700
        return message

    return run


@pytest.fixture(scope="session")
def runs(small_recipes: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of two steps of every recipe; do not write there."""
    folders = {}
    for name in SMALL:
        folders[name] = tmp_path_factory.mktemp("runs") / name
        assert call("train", name, "--steps", 2, "--out", folders[name]) == 0
    return folders


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the finished checkerboard."""
    return shutil.copytree(runs["checkerboard"], tmp_path / "run")


@pytest.fixture(scope="session")
def files() -> Callable[[Path], dict[str, bytes]]:
    """``files(folder)``: what every file below a folder holds, by its path from there."""
    return _files


def _files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}

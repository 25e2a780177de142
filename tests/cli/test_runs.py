"""Training, resuming, sampling and measuring from the command line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flowmaps as fm
from flowmaps.training import _budget, _loop
from flowmaps.training._log import JsonLines

Command = Callable[..., tuple[int, str]]
Files = Callable[[Path], dict[str, bytes]]
NAMES = ("pendulum", "checkerboard", "digits")


@pytest.fixture
def lasting(files: Files) -> Files:
    """``lasting(folder)``: what a run's result is: its map, and its configuration."""
    return lambda folder: {
        k: v for k, v in files(folder).items() if k.startswith(("map", "configuration"))
    }


def numbers(folder: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in JsonLines(folder / "log.jsonl").read() if "loss" in r]


# ---------------------------------------------------------------------------- train


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_a_run(name: str, runs: dict[str, Path]) -> None:
    folder = runs[name]
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints", "configuration.json", "lock", "log.jsonl", "map",
    }  # fmt: skip
    about = json.loads((folder / "configuration.json").read_text())["about"]
    assert about["recipe"] == name and about["fields"]["steps"] == 2
    assert [step for step, _ in numbers(folder)] == [0, 1]
    assert isinstance(fm.load(folder / "map"), fm.maps.FlowMap)


def test_training_says_where_and_what_next(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    status, said = command("train", "checkerboard", "--steps", 3, "--seed", 5, "--out", folder)
    assert status == 0
    first, middle, last = said.splitlines()
    assert first == f"training checkerboard for 3 steps in {folder}"
    assert middle.startswith("3 of 3 steps in 0 s; loss ") and middle.endswith(" at last")
    assert last == f"next: flowmaps evaluate {folder}"
    about = json.loads((folder / "configuration.json").read_text())["about"]
    assert about["fields"]["seed"] == 5


@pytest.mark.parametrize("name", ["in[bold]use", "in[/use"])
def test_names_are_printed_as_they_are(
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / f"{name}]"
    status, said = command("train", "checkerboard", "--steps", 1, "--out", folder)
    assert status == 0 and f"in {folder}\n" in said and f"evaluate {folder}\n" in said
    picture = folder / "picture.png"
    assert command("sample", runs["checkerboard"], "--out", picture) == (0, f"{picture}\n")
    assert command("evaluate", folder, "--tiny")[1].endswith(f"{folder}/evaluation/report.html\n")


def test_without_out_a_new_folder_is_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "pendulum", "--steps", 1)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("pendulum-") and (folder / "map").exists()


def test_a_budget_becomes_steps(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: Files
) -> None:
    ticks = iter(range(10**9))
    for module in (_loop, _budget):  # every look at the clock takes 50 ms
        clock = SimpleNamespace(perf_counter=lambda: 0.05 * next(ticks))
        monkeypatch.setattr(module, "time", clock)
    arguments = ("train", "checkerboard", "--seconds", 5, "--out", tmp_path / "run")
    status, said = command(*arguments)
    assert status == 0 and f"training checkerboard for 5 s in {tmp_path / 'run'}" in said
    written = json.loads((tmp_path / "run" / "configuration.json").read_text())
    assert 5 < written["steps"] == len(numbers(tmp_path / "run")) < 100
    assert (written["settings"]["steps"], written["settings"]["seconds"]) == (None, 5.0)
    before = lasting(tmp_path / "run")
    status, said = command("train", "checkerboard", "--resume", "--out", tmp_path / "run")
    assert status == 0 and "for 5 s in" in said  # as it was started
    assert lasting(tmp_path / "run") == before


def test_a_run_is_overwritten_on_request(command: Command, run: Path, lasting: Files) -> None:
    before = lasting(run)
    status, _ = command("train", "checkerboard", "--steps", 2, "--out", run, "--overwrite")
    assert status == 0 and lasting(run) == before
    status, _ = command(
        "train", "checkerboard", "--steps", 2, "--seed", 1, "--out", run, "--overwrite"
    )
    assert status == 0 and lasting(run).keys() != before.keys()  # weights are named by their bits


# ---------------------------------------------------------------------------- resume


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_is_resumed_to_the_same(
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path, files: Files
) -> None:
    run = shutil.copytree(runs[name], tmp_path / "run")
    before = files(run)
    shutil.rmtree(run / "map")
    status, said = command("train", name, "--resume", "--out", run)
    assert status == 0 and f"training {name} for 2 steps in" in said
    assert files(run) == before


def test_an_interrupted_run_is_resumed_as_it_was_started(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: Files
) -> None:
    arguments = ("train", "checkerboard", "--steps", 6, "--seed", 7, "--out")
    assert command(*arguments, tmp_path / "whole")[0] == 0
    descend, calls = _loop.Loop._descend, []

    def interrupted(loop: Any, *rest: Any, **options: Any) -> Any:
        calls.append(loop.step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return descend(loop, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_loop.Loop, "_descend", interrupted)
        assert command(*arguments, tmp_path / "run")[0] != 0
    assert len(calls) == 4 and not (tmp_path / "run" / "map").exists()
    # Steps and seed are the folder's; to say them again does no harm.
    resume = ("train", "checkerboard", "--resume", "--steps", 6, "--out")
    status, said = command(*resume, tmp_path / "run")
    assert status == 0 and "6 of 6 steps" in said
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")
    before, after = lasting(tmp_path / "whole"), lasting(tmp_path / "run")
    assert before == after


def test_where_there_is_no_run_resume_starts_one(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    status, said = command("train", "checkerboard", "--steps", 1, "--resume", "--out", folder)
    assert status == 0 and said.startswith(f"nothing to resume in {folder}: starting\n")
    assert json.loads((folder / "configuration.json").read_text())["device"] == "cpu"
    assert len(numbers(folder)) == 1


# ---------------------------------------------------------------------------- sample, evaluate


@pytest.mark.parametrize("name", ["checkerboard", "digits"])
def test_samples_are_drawn_into_a_picture(
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path, files: Files
) -> None:
    before = files(runs[name])
    pictures = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / "new" / f"{number}.png"
        arguments = ("sample", runs[name], "--steps", "1,3", "--seed", seed, "--out", out)
        status, said = command(*arguments)
        assert status == 0 and said == f"{out.resolve()}\n"
        pictures.append(out.read_bytes())
    assert pictures[0].startswith(b"\x89PNG") and pictures[0] == pictures[1] != pictures[2]
    assert files(runs[name]) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_measured(
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path, files: Files
) -> None:
    run = shutil.copytree(runs[name], tmp_path / "run")
    before = files(run)
    status, said = command("evaluate", run, "--tiny")
    report = run / "evaluation" / "report.html"
    assert status == 0 and said.splitlines()[-1] == str(report.resolve())
    assert "What was measured" in said
    page = report.read_text(encoding="utf-8")
    assert f"a run of {name}" in page and "http" not in page
    record = json.loads((report.parent / "facts.json").read_text())
    assert record["about"]["recipe"] == name and record["facts"]
    assert {k: v for k, v in files(run).items() if not k.startswith("evaluation")} == before


def test_a_measured_run_is_overwritten_on_request(command: Command, run: Path) -> None:
    assert command("evaluate", run, "--tiny")[0] == 0
    assert command("train", "checkerboard", "--steps", 1, "--out", run, "--overwrite")[0] == 0


# ---------------------------------------------------------------------------- the real thing


@pytest.mark.slow
def test_a_recipe_as_it_is(tmp_path: Path) -> None:
    """A process of its own, the recipe's own network and optimiser, compiled."""
    pytest.importorskip("pytorch_optimizer")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "flowmaps.cli", "train", "pendulum", "--steps", "2"]
    done = subprocess.run([*command, "--out", run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" and "2 of 2 steps" in done.stdout
    recipe = fm.surrogates.PendulumRecipe()
    surrogate = recipe.finish(fm.load(run / "map"))
    assert surrogate(0.0, 1.0, torch.zeros(1, 2)).isfinite().all()

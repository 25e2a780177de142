"""Training, sampling and measuring from the command line; refusals that lose nothing."""

import json
import os
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
from flowmaps.training._run_folder import RunFolder

Command = Callable[..., tuple[int, str]]
Declined = Callable[..., str]
NAMES = ("pendulum", "checkerboard", "digits")


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def lasting(folder: Path) -> dict[str, bytes]:
    """Return what a run's result is: its map, and its configuration."""
    return {k: v for k, v in files(folder).items() if k.startswith(("map", "configuration"))}


def numbers(folder: Path) -> list[tuple[int, float]]:
    return [(r["step"], r["loss"]) for r in JsonLines(folder / "log.jsonl").read() if "loss" in r]


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the finished checkerboard."""
    return shutil.copytree(runs["checkerboard"], tmp_path / "run")


@pytest.fixture
def unfinished(run: Path) -> Path:
    shutil.rmtree(run / "map")
    return run


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
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_run_is_overwritten_on_request(command: Command, run: Path) -> None:
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
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(runs[name], tmp_path / "run")
    before = files(run)
    shutil.rmtree(run / "map")
    status, said = command("train", name, "--resume", "--out", run)
    assert status == 0 and f"training {name} for 2 steps in" in said
    assert files(run) == before


def test_an_interrupted_run_is_resumed_as_it_was_started(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    # Steps and seed are the folder's, whatever is said now.
    resume = ("train", "checkerboard", "--resume", "--steps", 2, "--seed", 1, "--out")
    status, said = command(*resume, tmp_path / "run")
    assert status == 0 and "6 of 6 steps" in said
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")
    before, after = lasting(tmp_path / "whole"), lasting(tmp_path / "run")
    assert before == after


def test_where_there_is_no_run_resume_starts_one(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert command("train", "checkerboard", "--steps", 1, "--resume", "--out", folder)[0] == 0
    assert len(numbers(folder)) == 1


# ---------------------------------------------------------------------------- sample, evaluate


@pytest.mark.parametrize("name", ["checkerboard", "digits"])
def test_samples_are_drawn_into_a_picture(
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path
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
    name: str, command: Command, runs: dict[str, Path], tmp_path: Path
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


# ---------------------------------------------------------------------------- refused


def make(kind: str, folder: Path, runs: dict[str, Path]) -> Path:
    """Return a folder of a kind."""
    if kind in NAMES:
        return shutil.copytree(runs[kind], folder)
    if kind == "unfinished":
        shutil.copytree(runs["checkerboard"], folder)
        shutil.rmtree(folder / "map")
        return folder
    if kind == "missing":
        return folder
    if kind == "file":
        folder.write_text("do not lose me")
        return folder
    folder.mkdir()
    written = {
        "empty": {},
        "foreign": {"thesis.txt": "do not lose me"},
        "no recipe": {"configuration.json": '{"about": {}, "settings": {}}'},
        "unknown recipe": {
            "configuration.json": '{"about": {"recipe": "dance", "fields": {}}, "settings": {}}'
        },
        "half a configuration": {"configuration.json": '{"about": {"reci'},
        "a list": {"configuration.json": "[1, 2]"},
        "fields in a list": {
            "configuration.json": '{"about": {"recipe": "pendulum", "fields": [1]}}'
        },
        "no settings": {
            "configuration.json": '{"about": {"recipe": "pendulum", "fields": {"seed": 1}}}'
        },
    }[kind]
    for name, text in written.items():
        (folder / name).write_text(text)
    return folder


TRAIN = ["train", "checkerboard", "--steps", "2", "--out", "RUN"]
RESUME = ["train", "checkerboard", "--resume", "--out", "RUN"]

REFUSED: dict[str, tuple[str, list[str], str]] = {
    # name: (what RUN is, command, what is said)
    "an unknown recipe": (
        "missing",
        ["train", "dance", "--out", "RUN"],
        "there is no recipe 'dance'; the recipes are pendulum, checkerboard, digits",
    ),
    "an unknown device": (
        "missing",
        [*TRAIN, "--device", "banana"],
        "there is no device 'banana' here (",
    ),
    "a device that is not there": (
        "missing",
        [*TRAIN, "--device", "cuda:77"],
        "there is no device 'cuda:77' here (",
    ),
    "two lengths": (
        "missing",
        [*TRAIN, "--seconds", "9"],
        "give --seconds or --steps, not both",
    ),
    "resuming nothing": (
        "missing",
        ["train", "checkerboard", "--resume"],
        "--resume needs the folder of the run: --out RUN",
    ),
    "a folder that holds a run": (
        "checkerboard",
        TRAIN,
        "RUN already holds a run; pass resume=True (--resume) to go on with it, overwrite=True "
        "(--overwrite) to replace it, or give another folder",
    ),
    "an unfinished run": ("unfinished", TRAIN, "RUN already holds a run; pass resume=True"),
    "a foreign folder": (
        "foreign",
        TRAIN,
        "RUN holds what no run writes (thesis.txt) and is left as it is; give another folder",
    ),
    "overwriting a foreign folder": (
        "foreign",
        [*TRAIN, "--overwrite"],
        "RUN holds what no run writes (thesis.txt) and is left as it is",
    ),
    "resuming a foreign folder": (
        "foreign",
        RESUME,
        "RUN holds no run to resume (there is thesis.txt, but no configuration.json)",
    ),
    "a file": ("file", TRAIN, "RUN is a file; give a folder for the run"),
    "resuming a file": ("file", RESUME, "RUN is a file; give a folder for the run"),
    "resuming another recipe": (
        "pendulum",
        RESUME,
        "RUN holds a run of 'pendulum', not of 'checkerboard'",
    ),
    "resuming half a configuration": (
        "half a configuration",
        RESUME,
        "RUN/configuration.json is not of a recipe's run (JSONDecodeError: ",
    ),
    "sampling a surrogate": (
        "pendulum",
        ["sample", "RUN", "--out", "OUT"],
        "pendulum is a surrogate and makes no samples (checkerboard, digits do); see flowmaps "
        "evaluate RUN",
    ),
    "sampling an unfinished run": (
        "unfinished",
        ["sample", "RUN", "--out", "OUT"],
        "the run in RUN is not finished; go on with flowmaps train checkerboard --out RUN --resume",
    ),
    "measuring an unfinished run": (
        "unfinished",
        ["evaluate", "RUN"],
        "the run in RUN is not finished; go on with flowmaps train checkerboard --out RUN --resume",
    ),
    "no steps": (
        "checkerboard",
        ["sample", "RUN", "--out", "OUT", "--steps", ""],
        "--steps takes whole numbers from 1, such as 1,2,4,8; got ''",
    ),
    "steps of zero": (
        "checkerboard",
        ["sample", "RUN", "--out", "OUT", "--steps", "4,0"],
        "--steps takes whole numbers from 1, such as 1,2,4,8; got '4,0'",
    ),
    "steps in words": (
        "checkerboard",
        ["sample", "RUN", "--out", "OUT", "--steps", "1,two"],
        "--steps takes whole numbers from 1, such as 1,2,4,8; got '1,two'",
    ),
    "half a step": (
        "checkerboard",
        ["sample", "RUN", "--out", "OUT", "--steps", "0.5"],
        "--steps takes whole numbers from 1, such as 1,2,4,8; got '0.5'",
    ),
    "a picture over a folder": (
        "checkerboard",
        ["sample", "RUN", "--steps", "1", "--out", "RUN"],
        "RUN",
    ),
} | {
    f"{verb} of a folder: {kind}": (kind, [verb, "RUN"], message)
    for verb in ("sample", "evaluate")
    for kind, message in {
        "missing": "RUN holds no run: configuration.json is missing; give the folder of a run",
        "empty": "RUN holds no run: configuration.json is missing; give the folder of a run",
        "foreign": "RUN holds no run: configuration.json is missing; give the folder of a run",
        "file": "configuration.json",
        "no recipe": "RUN/configuration.json is not of a recipe's run (KeyError: 'recipe'); give",
        "unknown recipe": "there is no recipe 'dance'; the recipes are pendulum, checkerboard",
        "half a configuration": "RUN/configuration.json is not of a recipe's run (JSONDecodeError",
        "a list": "RUN/configuration.json is not of a recipe's run (TypeError: ",
    }.items()
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_lost(
    case: str, declined: Declined, runs: dict[str, Path], tmp_path: Path
) -> None:
    kind, arguments, message = REFUSED[case]
    run, out = make(kind, tmp_path / "run", runs), tmp_path / "picture.png"
    before = files(tmp_path)
    told = declined(*(str({"RUN": run, "OUT": out}.get(word, word)) for word in arguments))
    assert message.replace("RUN", str(run)).replace(f"--out {run}", "--out RUN") in told.replace(
        f"--out {run}", "--out RUN"
    )
    assert files(tmp_path) == before and not out.exists()


def test_a_folder_in_use_names_the_process(declined: Declined, run: Path) -> None:
    before = files(run)
    with RunFolder(run, resume=True):
        for option in ("--resume", "--overwrite"):
            told = declined("train", "checkerboard", "--steps", 2, "--out", run, option)
            assert f"{run} is in use by process {os.getpid()} on " in told
    assert files(run) == before


def test_without_a_whole_checkpoint_nothing_is_resumed(
    declined: Declined, unfinished: Path
) -> None:
    for path in (unfinished / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = files(unfinished)
    told = declined("train", "checkerboard", "--resume", "--out", unfinished)
    assert "holds no whole checkpoint: step-" in told and "(--overwrite)" in told
    assert files(unfinished) == before


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_a_map_that_is_damaged_is_refused(
    verb: str, declined: Declined, run: Path, tmp_path: Path
) -> None:
    (weights,) = (run / "map").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "its checksum differs" in declined(verb, run)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["train", "checkerboard", "--steps", "0"],
        ["train", "checkerboard", "--steps", "half"],
        ["train", "checkerboard", "--seconds", "0.5"],
        ["train", "checkerboard", "--seconds", "nan"],
        ["train", "checkerboard", "--threads", "0"],
        ["train", "checkerboard", "--seed", "-1"],
        ["sample"],
        ["evaluate"],
        ["evaluate", "run", "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_are_refused(
    arguments: list[str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments)[0] == 2
    assert list(tmp_path.iterdir()) == []


NOT_FORESEEN: dict[str, tuple[str, list[str]]] = {
    "resuming and overwriting": ("checkerboard", [*RESUME, "--overwrite"]),
    "an endless budget": ("missing", ["train", "checkerboard", "--seconds", "inf", "--out", "RUN"]),
    "a device without memory": ("missing", [*TRAIN, "--device", "meta"]),
    "fields in a list": ("fields in a list", ["evaluate", "RUN"]),
    "no settings": ("no settings", ["train", "pendulum", "--resume", "--out", "RUN"]),
}


@pytest.mark.parametrize("case", NOT_FORESEEN)
def test_what_else_cannot_be_is_refused(
    case: str, declined: Declined, runs: dict[str, Path], tmp_path: Path
) -> None:
    kind, arguments = NOT_FORESEEN[case]
    run = make(kind, tmp_path / "run", runs)
    declined(*(str(run) if word == "RUN" else word for word in arguments))


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

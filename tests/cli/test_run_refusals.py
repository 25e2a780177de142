"""Refusals of the commands that train, sample and measure, which lose nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowmaps.training._run_folder import RunFolder

Command = Callable[..., tuple[int, str]]
Declined = Callable[..., str]
Files = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def unfinished(run: Path) -> Path:
    shutil.rmtree(run / "map")
    return run


def make(kind: str, folder: Path, runs: dict[str, Path]) -> Path:
    """Return a folder of a kind."""
    if kind in runs:
        return shutil.copytree(runs[kind], folder)
    if kind == "unfinished":
        shutil.copytree(runs["checkerboard"], folder)
        shutil.rmtree(folder / "map")
        return folder
    if kind == "overwritten":
        for path in (shutil.copytree(runs["checkerboard"], folder) / "map").iterdir():
            path.unlink()
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
        "RUN already holds a run; pass --resume to go on with it, --overwrite to replace it, or "
        "give another folder",
    ),
    "an unfinished run": ("unfinished", TRAIN, "RUN already holds a run; pass --resume to"),
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
        "RUN is a folder; give a file: --out",
    ),
    "a picture over a file": (
        "checkerboard",
        ["sample", "RUN", "--steps", "1", "--out", "RUN/log.jsonl"],
        "the picture is a PNG; name it so: --out",
    ),
    "a map that was removed": (
        "overwritten",
        ["evaluate", "RUN"],
        "the run in RUN is not finished; go on with flowmaps train checkerboard --out RUN --resume",
    ),
    "resuming with another seed": (
        "checkerboard",
        [*RESUME, "--seed", "5"],
        "was started with --seed 0, not with --seed 5; leave the option out",
    ),
    "resuming with other steps": (
        "checkerboard",
        [*RESUME, "--steps", "5"],
        "was started with --steps 2, not with --steps 5",
    ),
    "resuming with a budget": (
        "checkerboard",
        [*RESUME, "--seconds", "5"],
        "was started without it, not with --seconds 5",
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
    case: str, declined: Declined, runs: dict[str, Path], tmp_path: Path, files: Files
) -> None:
    kind, arguments, message = REFUSED[case]
    run, out = make(kind, tmp_path / "run", runs), tmp_path / "picture.png"
    before = files(tmp_path)
    told = declined(
        *(str(out) if word == "OUT" else word.replace("RUN", str(run)) for word in arguments)
    )
    assert message.replace("RUN", str(run)).replace(f"--out {run}", "--out RUN") in told.replace(
        f"--out {run}", "--out RUN"
    )
    assert files(tmp_path) == before and not out.exists()


def test_a_folder_in_use_names_the_process(declined: Declined, run: Path, files: Files) -> None:
    before = files(run)
    with RunFolder(run, resume=True):
        for option in ("--resume", "--overwrite"):
            told = declined("train", "checkerboard", "--steps", 2, "--out", run, option)
            assert f"{run} is in use by process {os.getpid()} on " in told
    assert files(run) == before


def test_without_a_whole_checkpoint_nothing_is_resumed(
    declined: Declined, unfinished: Path, files: Files
) -> None:
    for path in (unfinished / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = files(unfinished)
    told = declined("train", "checkerboard", "--resume", "--out", unfinished, quiet=False)
    assert "holds no whole checkpoint: step-" in told and "anew with --overwrite" in told
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

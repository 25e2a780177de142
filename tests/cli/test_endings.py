"""How commands end: exit statuses, what they write over, and what ends them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import flowmaps as fm
from flowmaps.cli.assess import assess_checkerboard
from flowmaps.cli.demo import _run
from flowmaps.cli.report import Fact, Section
from flowmaps.generative import CheckerboardRecipe

Command = Callable[..., tuple[int, str]]
Declined = Callable[..., str]


@pytest.mark.parametrize("scale", [0.0, 1e-3])
def test_a_map_that_stands_still_is_no_checkerboard(scale: float) -> None:
    learned = CheckerboardRecipe(width=8, depth=1).build()
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter.mul_(scale)
    facts = {fact.what: fact for fact in assess_checkerboard(learned.eval(), 0, tiny=True).facts}
    assert not facts["checkerboard: samples off the dark squares in 4 steps"].holds


def test_strict_ends_with_three_where_something_does_not_hold(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("evaluate", run, "--tiny")[0] == 0
    status, said = command("evaluate", run, "--tiny", "--strict", "--threads", 1)
    assert status == 3 and "NO" in said
    for holds, ended in ((True, 0), (None, 0), (False, 3)):
        monkeypatch.setattr(_run, "_LEARNED", ())
        told = Section("Told", facts=[Fact("a fact", "1", "at most 2", holds)])
        monkeypatch.setattr(_run, "systems", lambda seed, section=told: section)
        arguments = ("demo", "--strict", "--overwrite", "--out", tmp_path / "demo")
        assert command(*arguments)[0] == ended


def test_a_demo_is_overwritten_only_where_one_lies(
    command: Command, declined: Declined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_run, "_LEARNED", ())
    monkeypatch.setattr(_run, "systems", lambda seed: Section("Nothing"))
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "report.html").write_text("do not lose me")
    told = declined("demo", "--out", thesis, "--overwrite")
    assert "holds no demo" in told and "there is no facts.json" in told
    assert (thesis / "report.html").read_text() == "do not lose me"
    out = tmp_path / "demo"
    assert command("demo", "--out", out)[0] == 0
    assert "or --overwrite" in declined("demo", "--out", out)
    assert command("demo", "--out", out, "--overwrite")[0] == 0


def test_samples_lie_in_the_run_and_write_over_nothing_else(
    command: Command, declined: Declined, run: Path, tmp_path: Path
) -> None:
    status, said = command("sample", run, "--steps", "1,2", "--seed", 3)
    assert status == 0 and said == f"{run / 'samples' / 'steps-1-2-seed-3.png'}\n"
    assert command("sample", run, "--steps", "1,2", "--seed", 3)[0] == 0
    picture = tmp_path / "mine.png"
    picture.write_text("do not lose me")
    arguments = ("sample", run, "--steps", 1, "--out", picture)
    assert "is there already; give another --out" in declined(*arguments, status=2)
    assert picture.read_text() == "do not lose me"
    assert command(*arguments, "--overwrite")[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert command("train", "checkerboard", "--steps", 2, "--out", run, "--overwrite")[0] == 0
    assert not list((run / "samples").iterdir())  # they were of the run that is gone


def test_what_is_not_understood_ends_with_two(declined: Declined, run: Path) -> None:
    declined("train", "dance", status=2)
    declined("sample", run, "--steps", "x", status=2)
    declined("train", "checkerboard", "--steps", 2, "--out", run, status=1)


def test_the_version_is_told() -> None:
    command = [sys.executable, "-m", "flowmaps", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"flowmaps {fm.__version__}\n")


TERMINATED = """
import sys, torch
from dataclasses import replace
from flowmaps.cli import main, _runs
from flowmaps.generative import CheckerboardRecipe as Board
settings = Board.settings
Board.settings = lambda self: settings(self) | {"compile": False, "keep_every": 1}
sys.argv = ["flowmaps", "train", "checkerboard", "--steps", "100000", "--out", sys.argv[1]]
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_a_terminated_run_leaves_its_last_kept_state(tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = subprocess.Popen([sys.executable, "-c", TERMINATED, str(run)])
    while not (run / "log.jsonl").exists() or (run / "log.jsonl").read_bytes().count(b"\n") < 5:
        assert started.poll() is None
        time.sleep(0.1)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 143
    (newest,) = sorted((run / "checkpoints").glob("step-*.safetensors"))[-1:]
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert int(newest.name.split("-")[1]) >= last

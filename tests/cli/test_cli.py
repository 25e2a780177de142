"""The command line: help, info, a tiny demo from end to end, and refusals in one sentence."""

import json
import runpy
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flowmaps.cli._app import app
from flowmaps.cli.demo import _run
from flowmaps.cli.report import Fact, Section

runner = CliRunner()


@pytest.mark.parametrize(
    "words",
    [[], ["demo"], ["info"], ["train"], ["sample"], ["evaluate"], ["doctor"], ["verify"]],
    ids=" ".join,
)
def test_help_names_what_it_does(words):
    result = runner.invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_info_names_solvers_maps_and_problems():
    result = runner.invoke(app, ["info"])
    assert result.exit_code == 0
    for name in ("torch", "Tsit5", "SolverFlowMap", "MeanVelocity", "lorenz63"):
        assert name in result.output


def test_unknown_command_is_refused():
    result = runner.invoke(app, ["dance"])
    assert result.exit_code == 2
    assert "dance" in result.output


def test_demo_refuses_a_folder_in_use(declined, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    assert "give another folder with --out" in declined("demo", "--out", tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_a_folder_s_name_is_printed_as_it_is(declined, tmp_path):
    folder = tmp_path / "in[bold]use"
    folder.mkdir()
    (folder / "precious.txt").touch()
    assert str(folder) in declined("demo", "--out", folder)


def test_a_folder_that_cannot_be_made_is_one_sentence(declined, tmp_path):
    (tmp_path / "file").touch()
    message = declined("demo", "--out", tmp_path / "file" / "run")
    assert str(tmp_path / "file") in message


def test_the_demo_asks_for_scikit_learn_before_anything_else(declined, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = declined("demo", "--out", tmp_path / "run")
    assert "pip install flowmaps[demo]" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", ["-1", str(2**32), "soon"])
def test_a_seed_that_cannot_be_is_refused(seed):
    assert runner.invoke(app, ["demo", "--seed", seed]).exit_code == 2


def test_python_runs_the_package(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flowmaps", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("flowmaps.cli", run_name="__main__")
    assert stop.value.code == 0
    assert "Usage" in capsys.readouterr().out


def test_a_tiny_demo_writes_a_self_contained_report(command, tmp_path, monkeypatch):
    solved = Section("Solved", facts=[Fact("a fact", "1", "at most 2", True)])
    monkeypatch.setattr(_run, "systems", lambda seed: solved)  # see the next test
    monkeypatch.setattr(_run, "_TINY", {"pendulum": {"steps": 2}, "digits": {"steps": 2}})
    out = tmp_path / "run"
    status, said = command("demo", "--tiny", "--out", out)
    assert status == 0 and said.splitlines()[-1] == str((out / "report.html").resolve())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == len(list(out.glob("*.png"))) >= 4
    assert "http://" not in page and "https://" not in page
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))["facts"]
    for what in ("a fact", "pendulum surrogate", "digits"):
        assert any(fact["what"].startswith(what) for fact in facts)
    for name in ("pendulum", "digits"):  # runs like those of flowmaps train
        assert (out / name / "map" / "flowmap.json").exists()
    assert command("train", "pendulum", "--resume", "--out", out / "pendulum")[0] == 0


SHORT = """
import json
from flowmaps.cli.demo import _systems

# Over shorter times, at fewer points, and for fewer systems than readers are shown.
_systems._CHECKED = [("damped_pendulum", 1.0, 4), ("lorenz63", 0.2, 2)]
disc = _systems._disc
_systems._disc = lambda center, radius: disc(center, radius, rings=4)
section = _systems.systems(seed=0)
assert len(section.figures) == 3 and len(section.tables) == 1
assert all(figure.png[1:4] == b"PNG" for figure in section.figures)
print(json.dumps([(fact.what, fact.value, fact.holds) for fact in section.facts]))
"""


@pytest.mark.slow
def test_the_systems_of_the_demo_hold_what_is_asked():
    command = [sys.executable, "-c", SHORT]  # a process of its own: without checks of types
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert len(facts) == 7 and all(holds for _, _, holds in facts), facts

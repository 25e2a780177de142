"""The command line: help, info, a tiny demo from end to end, and refusals in one sentence."""

import json
import runpy
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flowmaps.cli import main
from flowmaps.cli._app import app

runner = CliRunner()


@pytest.mark.parametrize("command", [[], ["demo"], ["info"]])
def test_help_names_what_it_does(command):
    result = runner.invoke(app, [*command, "--help"])
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


def test_demo_refuses_a_folder_in_use(tmp_path, monkeypatch, capsys):
    (tmp_path / "precious.txt").write_text("keep me")
    monkeypatch.setattr(sys, "argv", ["flowmaps", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert "--overwrite" in "".join(capsys.readouterr().err.split())
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def refused(arguments, monkeypatch, capsys):
    """Return what the command prints on standard error when it refuses."""
    monkeypatch.setattr(sys, "argv", ["flowmaps", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def test_a_folder_s_name_is_printed_as_it_is(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in[bold]use"
    folder.mkdir()
    (folder / "precious.txt").touch()
    assert str(folder) in refused(["demo", "--out", folder], monkeypatch, capsys)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    message = refused(["demo", "--out", tmp_path / "file" / "run"], monkeypatch, capsys)
    assert str(tmp_path / "file") in message


def test_the_demo_asks_for_scikit_learn_before_anything_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = refused(["demo", "--out", tmp_path / "run"], monkeypatch, capsys)
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


SHORT = """
from flowmaps.cli import main
from flowmaps.cli.demo import _systems

# All equations on every system, over shorter times than readers are shown.
_systems._CHECKED = [
    ("damped_pendulum", 1.0, 4), ("lorenz63", 0.2, 2), ("arenstorf_orbit", 0.02, 1)
]
main()
"""


@pytest.mark.slow
def test_tiny_demo_writes_a_self_contained_report(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", SHORT, "demo", "--tiny", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().splitlines()[-1] == str((out / "report.html").resolve())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == len(list(out.glob("*.png"))) >= 5
    assert "http://" not in page and "https://" not in page
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))["facts"]
    solved = [f for f in facts if "surrogate" not in f["what"] and "digits" not in f["what"]]
    assert len(solved) >= 8 and all(f["holds"] for f in solved)
    for name in ("pendulum_map", "digits_map"):
        assert (out / name / "flowmap.json").exists()

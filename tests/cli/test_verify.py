"""The command ``verify``: exit statuses, reports, refusals in one sentence."""

import json

import pytest

import flowmaps as fm

MODULE = """
import torch
import flowmaps as fm

domain = fm.testing.Box(-1.0, 1.0)

def field(t, x):
    return -x

def decay(s, t, x):
    return x * torch.exp(s - t)[:, None]

def chord(s, t, x):
    return x * (1 - (t - s))[:, None]

class Net(torch.nn.Module):
    pass


class Holder:
    @property
    def inner(self):
        raise RuntimeError("not yet")


holder = Holder()


def raising(t, x):
    raise IndexError("no such thing")
"""
LINE = ("--domain", "-1:1", "--times", "0,1", "--points", 64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a user's module of a name of its own, which is where commands run."""
    name = "maps_" + tmp_path.name.replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_ends.py").write_text("import sys; sys.exit(2)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_flow_map_of_the_field_is_status_0(command, here):
    status, said = command("verify", f"{here}:decay", "--field", f"{here}:field", *LINE)
    assert status == 0
    assert "flow map of the field: identity and lagrangian hold" in said
    assert "semigroup" in said and "worst" in said


def test_a_flow_is_status_0_without_a_field(command, here):
    status, said = command(
        "verify", f"{here}:decay", "--times", "0,1", "--points", 64, "--domain", f"{here}:domain"
    )
    assert status == 0 and "a flow: " in said


def test_failures_are_status_1_and_written_where_asked(command, here, tmp_path):
    files = ("--json", "a.json", "--html", "out/a.html", "--markdown", "a.md")
    arguments = (
        "verify",
        f"{here}:chord",
        "--field",
        f"{here}:field",
        *LINE,
        "--derivatives",
        "none",
        *files,
    )
    status, said = command(*arguments)
    assert status == 1
    assert "semigroup fails here:" in said and "fm.residuals.semigroup(flow_map" in said
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "not a flow"
    assert "base64" in (tmp_path / "out/a.html").read_text()
    assert (tmp_path / "a.md").read_text().startswith("**not a flow**")


def test_what_cannot_be_said_is_status_2(command, here):
    status, said = command(
        "verify", f"{here}:decay", "--field", f"{here}:field", *LINE, "--budget", 3.0
    )
    assert status == 2 and "inconclusive" in said


def test_a_saved_map_of_a_problem(command, tmp_path):
    problem = fm.problems.get("rotation")
    solved = fm.maps.SolverFlowMap(problem.field, rtol=1e-6, atol=1e-6)
    fm.save(solved, tmp_path / "map")
    status, said = command(
        "verify",
        tmp_path / "map",
        "--problem",
        "rotation",
        "--points",
        32,
        "--times",
        "0,0.5",
        "--derivatives",
        "none",
    )
    assert status == 0 and "flow map of the field" in said


def test_a_run(command, runs):
    """Of two steps, so that it is not good; in the dtype of its weights."""
    status, said = command(
        "verify",
        runs["checkerboard"],
        "--domain",
        "-1:1,-1:1",
        "--points",
        32,
        "--budget",
        1e-3,
        "--derivatives",
        "none",
        "--seconds",
        5,
    )
    assert status in (0, 1) and "semigroup" in said and "own velocity" in said


@pytest.mark.parametrize(
    ("name", "field", "budget"),
    [
        ("pendulum", "the damped pendulum", ("--calibrate",)),
        ("checkerboard", "the map's own velocity", ("--calibrate",)),
        ("digits", "the map's own velocity", ("--budget", 0.1, "--derivatives", "none")),
    ],
)
def test_a_run_knows_its_field_its_states_and_its_times(command, runs, name, field, budget):
    """Of two steps; within a budget that is found, or that is given."""
    status, said = command("verify", runs[name], *budget, "--points", 8)
    assert status in (0, 1, 2) and f"Is it the flow map of {field}?" in said
    assert "at 95% of the points" in said and "integral lagrangian" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "there is no folder nowhere"),
        (("no_such_module:f", *LINE), "'no_such_module' cannot be imported"),
        (("HERE:nothing", *LINE), "there is no 'nothing'"),
        (("HERE:", *LINE), "takes MODULE:OBJECT"),
        ((".HERE:decay", *LINE), "by its dotted path from the current folder, such as HERE"),
        (("a/HERE.py:decay", *LINE), "such as a.HERE; got"),
        (("HERE_ends:decay", *LINE), "it ends the program (2)"),
        (("HERE:holder.inner", *LINE), "RuntimeError: not yet"),
        (("HERE:Net", *LINE), "is a class"),
        (("HERE:decay", *LINE, "--json", "HERE.py/a.json"), "is no folder"),
        (("HERE:decay", *LINE, "--json", "a", "--html", "a"), "named twice"),
        (("HERE:decay",), "give --domain"),
        (("HERE:decay", "--domain", "1:-1", "--times", "0,1"), "lower must be below upper"),
        (("HERE:decay", "--domain", "1,2", "--times", "0,1"), "--domain takes"),
        (("HERE:decay", "--domain", "-1:1", "--times", "0"), "--times takes 2 numbers"),
        (("HERE:decay", "--domain", "-1:1"), "times must be"),
        (("HERE:decay", *LINE, "--problem", "dance"), "there is no problem 'dance'"),
        (("HERE:decay", *LINE, "--dtype", "int8"), "--dtype takes"),
        (("HERE:decay", *LINE, "--derivatives", "all"), "derivatives must be"),
        (("HERE:decay", *LINE, "--directions", "up"), "directions must be"),
        (("HERE:decay", *LINE, "--seconds", "-1"), "--seconds takes"),
        (("HERE:decay", *LINE, "--budget", "-1"), "budget must be"),
        (("HERE:decay", *LINE, "--field", "HERE:raising"), "it cannot be verified"),
        (("HERE:decay", *LINE, "--calibrate"), "give --field"),
        (("HERE:decay", *LINE, "--calibrate", "--budget", "0.1"), "not both"),
        (("HERE:domain", *LINE), "flow_map must be a callable"),
    ],
)
def test_wrong_use_is_status_2_and_one_sentence(declined, here, words, message):
    words, message = (
        [str(word).replace("HERE", here) for word in words],
        message.replace("HERE", here),
    )
    if words[0] == "nowhere":
        words += map(str, LINE)
    assert message in declined("verify", *words, status=2)


def test_files_are_not_overwritten(declined, command, here, tmp_path):
    (tmp_path / "a.json").write_text("precious")
    arguments = ("verify", f"{here}:decay", *LINE, "--derivatives", "none", "--json", "a.json")
    assert "--overwrite" in declined(*arguments, status=2)
    assert (tmp_path / "a.json").read_text() == "precious"
    assert command(*arguments, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "a.json").read_text())["version"] == 1


def test_a_learned_map_is_told_of_its_budget(declined, tmp_path):
    fm.save(fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1)), tmp_path / "map")
    message = declined("verify", tmp_path / "map", "--domain", "-1:1", status=2)
    assert "a learned map needs --budget" in message

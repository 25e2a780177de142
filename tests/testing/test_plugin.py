"""The pytest plugin, in a pytest of its own."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = """
import pytest, torch, flowmaps as fm

field = lambda t, x: -x
box = fm.testing.Box(-1.0, 1.0)

def decay(rate, **more):
    flow_map = lambda s, t, x: x * torch.exp(rate * (s - t))[:, None]
    return lambda: dict(flow_map=flow_map, field=field, domain=box, times=(0.0, 1.0), **more)

MAPS = {"right": decay(1.0), "wrong": decay(1.01)}
ALIKE = {"a b": decay(1.0), "a-b": decay(1.0), "right": decay(1.0)}

@pytest.mark.flow_maps(MAPS, properties=["semigroup", "lagrangian", "condition respected"])
def test_properties(flow_case):
    flow_case.check()

@pytest.mark.flow_maps(ALIKE, properties=["semigroup"])
def test_alike(flow_case):
    flow_case.check()

@pytest.mark.flow_maps({"loose": decay(1.0, budget=50.0)}, properties=("semigroup",))
def test_says_nothing(flow_case):
    flow_case.check()

def test_twice():
    for seed in (0, 1):
        fm.testing.assert_flow_map(**decay(1.0)(), seed=seed)

def test_whole():
    report = fm.testing.assert_flow_map(**decay(1.0)())
    assert report.facts["points"] == 77 and report.facts["dtype"] == "torch.float32"

def test_whole_wrong():
    fm.testing.assert_flow_map(**decay(1.01)())
"""


@cache
def plugin() -> tuple[str, ...]:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, cwd=ROOT.anchor
    )
    installed = "--flow-report" in listed.stdout  # as a package
    return () if installed else ("-p", "flowmaps.testing._plugin")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    quietly = "-q", "-rA", "--tb=short", "-p", "no:cacheprovider"
    command = [sys.executable, "-m", "pytest", *quietly, *plugin(), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "test_maps.py").write_text(CASES)
    options = "--flow-max-examples=77", "--flow-dtype=float32", "--flow-report=reports"
    done = run(folder, "test_maps.py", "--hypothesis-profile=flowmaps-ci", *options)
    return folder, done.stdout + done.stderr


def test_every_map_and_property_is_a_test_of_its_own(told: tuple[Path, str]) -> None:
    _, text = told
    for line in (
        "PASSED test_maps.py::test_properties[right-semigroup]",
        "PASSED test_maps.py::test_properties[right-lagrangian]",
        "PASSED test_maps.py::test_properties[wrong-semigroup]",
        "FAILED test_maps.py::test_properties[wrong-lagrangian]",
        "PASSED test_maps.py::test_whole",
        "FAILED test_maps.py::test_whole_wrong",
    ):
        assert line in text, text
    assert "3 skipped" in text and "not applicable, there are no conditions" in text


def test_a_property_that_says_nothing_is_skipped_with_its_reason(told: tuple[Path, str]) -> None:
    assert "semigroup: inconclusive, " in told[1]
    assert "PASSED test_maps.py::test_says_nothing" not in told[1]


def test_every_verification_has_a_report_of_its_own(told: tuple[Path, str]) -> None:
    reports = list((told[0] / "reports").iterdir())
    names = {path.name for path in reports}
    for name in (
        "test_maps.py-test_properties-wrong-lagrangian.json",
        "test_maps.py-test_properties-wrong-lagrangian.md",
        "test_maps.py-test_alike-right-semigroup.json",
        "test_maps.py-test_whole.json",
        "test_maps.py-test_twice-2.json",
    ):
        assert name in names, names
    # 3 properties of 2 maps, 3 maps alike, one that says nothing, 2 in one test, 2 of the whole
    assert len(reports) == 2 * (6 + 3 + 1 + 2 + 2), names


def test_wrong_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_no_marker.py").write_text("def test_one(flow_case):\n    pass\n")
    one_of = "must be a list of names such as"
    wrong = {
        '{"a": dict}, properties="semigroup"': f"{one_of} [\"semigroup\"], got 'semigroup'",
        '{"a": dict}, properties=3': f'{one_of} ["semigroup"], got 3',
        '{"a": dict}, properties=[4]': f'{one_of} ["semigroup"], got [4]',
        '{"a": dict}, properties=["semigroup"]': "function of 'a' must return the arguments of",
        '{"b": lambda: 3}, properties=["semigroup"]': "function of 'b' must return the arguments",
    }
    for k, marker in enumerate(wrong):
        lines = f"import pytest\n@pytest.mark.flow_maps({marker})\ndef test_one(flow_case):\n"
        (tmp_path / f"test_wrong_{k}.py").write_text(f"{lines}    flow_case.check()\n")
    done = run(tmp_path, "--continue-on-collection-errors")
    assert "flow_case needs @pytest.mark.flow_maps" in done.stdout
    assert "4 errors" in done.stdout and "2 failed" in done.stdout
    for text in wrong.values():
        assert text in done.stdout, done.stdout
    done = run(tmp_path, "--flow-max-examples=0")
    assert "must be at least 1" in done.stdout + done.stderr


def test_the_plugin_imports_no_torch() -> None:
    code = (
        "import sys, flowmaps.testing._plugin;"
        "print([m for m in ('torch', 'numpy', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

"""The pytest plugin, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = """
import pytest, torch, flowmaps as fm

field = lambda t, x: -x
box = fm.testing.Box(-1.0, 1.0)

def decay(rate):
    flow_map = lambda s, t, x: x * torch.exp(rate * (s - t))[:, None]
    return lambda: dict(flow_map=flow_map, field=field, domain=box, times=(0.0, 1.0))

MAPS = {"right": decay(1.0), "wrong": decay(1.01)}

@pytest.mark.flow_maps(MAPS, properties=["semigroup", "lagrangian", "condition respected"])
def test_properties(flow_case):
    flow_case.check()

def test_whole():
    report = fm.testing.assert_flow_map(**decay(1.0)())
    assert report.facts["points"] == 77 and report.facts["dtype"] == "torch.float32"

def test_whole_wrong():
    fm.testing.assert_flow_map(**decay(1.01)())
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    plugin = ["-p", "no:cacheprovider"]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, cwd=folder
    )
    if "--flow-report" not in listed.stdout:  # not installed as a package
        plugin += ["-p", "flowmaps.testing._plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", *plugin, *arguments]
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
    assert "2 skipped" in text and "there are no conditions" in text


def test_reports_are_written(told: tuple[Path, str]) -> None:
    names = {path.name for path in (told[0] / "reports").iterdir()}
    assert "wrong-lagrangian.json" in names and "wrong-lagrangian.md" in names
    assert any("test_whole" in name for name in names)


def test_wrong_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_no_marker.py").write_text("def test_one(flow_case):\n    pass\n")
    done = run(tmp_path, "test_no_marker.py")
    assert "flow_case needs @pytest.mark.flow_maps" in done.stdout + done.stderr
    done = run(tmp_path, "--flow-max-examples=0")
    assert "must be at least 1" in done.stdout + done.stderr


def test_the_plugin_imports_no_torch() -> None:
    code = (
        "import sys, flowmaps.testing._plugin;"
        "print([m for m in ('torch', 'numpy', 'hypothesis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

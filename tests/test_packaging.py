"""What is packed, what an import costs, and where each room stands."""

import importlib.metadata
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKS = {"solvers": "flowmaps/solvers", "theory": "flowmaps/theory"}
LATE = {"hypothesis", "matplotlib", "rich", "scipy", "sympy", "torchdiffeq", "typer"}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


class Environment(NamedTuple):
    """A virtual environment: its interpreter, its site-packages, and what was installed there."""

    interpreter: Path
    site_packages: Path
    installed: set[str]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command in a folder and return what it printed; its errors become the test's."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(code: str, folder: Path, interpreter: str | Path = sys.executable) -> Any:
    """Run code in a new interpreter and return the JSON on its last line."""
    printed = run(interpreter, "-c", textwrap.dedent(code), cwd=folder)
    return json.loads(printed.splitlines()[-1])


def build_wheel(source: Path, folder: Path) -> Path:
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder)
    run(*PIP, "wheel", *options, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def top_level(names: list[str]) -> set[str]:
    return {name.split("/")[0] for name in names}


def without_version(names: set[str]) -> set[str]:
    return {re.sub(r"-[^-]+(?=\.dist-info$)", "", name) for name in names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An empty environment into which nothing but the wheel was installed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": str(home), "platbase": str(home)})
    interpreter = Path(paths["scripts"]) / "python"
    run(*PIP, "--python", interpreter, "install", "--no-deps", "--no-index", wheel, cwd=home)
    site_packages = Path(paths["purelib"])
    installed = {path.name for path in site_packages.iterdir()}
    # torch and the others come from the environment that runs the tests, after our own folder; its
    # .pth files (an editable flowmaps) are not read this way.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return Environment(interpreter, site_packages, installed)


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert without_version(top_level(names)) == {"flowmaps", "flowmaps.dist-info"}
    assert "flowmaps/py.typed" in names
    assert "flowmaps/solvers/__init__.py" in names and "flowmaps/theory/__init__.py" in names
    assert len(names) == len(set(names))


def test_the_source_archive_leaves_the_links_out(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    names = tarfile.open(archive).getnames()
    inside = {name.split("/")[1] for name in names if "/" in name}
    assert inside.isdisjoint(LINKS)
    assert {"flowmaps", "pyproject.toml", "README.md", "LICENSE"} <= inside


def test_a_checkout_without_links_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Where symbolic links are not supported git writes small text files in their place."""
    checkout, built = tmp_path / "checkout", tmp_path / "built"
    built.mkdir()
    shutil.copytree(
        ROOT / "flowmaps", checkout / "flowmaps", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name, target in LINKS.items():
        (checkout / name).write_text(target)
    names = zipfile.ZipFile(build_wheel(checkout, built)).namelist()
    assert sorted(names) == sorted(zipfile.ZipFile(wheel).namelist())


def test_installing_adds_one_name(environment: Environment) -> None:
    assert without_version(environment.installed) == {"flowmaps", "flowmaps.dist-info"}


def test_a_users_own_folders_do_not_shadow_ours(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / "__init__.py").write_text("OWNER = 'user'")
    (tmp_path / "theory.py").write_text("OWNER = 'user'")
    code = """
        import json, sys, solvers, theory, flowmaps as fm
        assert solvers.OWNER == theory.OWNER == "user"
        assert fm.solvers.RK4().order == 4
        for name in fm.__all__:
            getattr(fm, name)
        ours = [module for name, module in sys.modules.items() if name.startswith("flowmaps")]
        print(json.dumps([fm.__version__, sorted({module.__file__ for module in ours})]))
    """
    version, files = python(code, tmp_path, environment.interpreter)
    assert version == importlib.metadata.version("flowmaps")
    assert all(Path(file).is_relative_to(environment.site_packages) for file in files)


def test_importing_flowmaps_is_light(tmp_path: Path) -> None:
    code = """
        import json, sys, torch
        before = set(sys.modules)
        import flowmaps
        print(json.dumps(sorted(set(sys.modules) - before)))
    """
    loaded = {name.split(".")[0] for name in python(code, tmp_path)}
    assert "flowmaps" in loaded
    assert loaded.isdisjoint(LATE)


@pytest.mark.parametrize(("link", "target"), LINKS.items())
def test_the_links_at_the_root_are_relative(link: str, target: str) -> None:
    path = ROOT / link
    # A text file with the target in it is what git writes without support for links.
    assert (os.readlink(path) if path.is_symlink() else path.read_text().strip()) == target
    assert (ROOT / target / "__init__.py").is_file()


def test_every_module_stands_on_a_floor() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (floors,) = [contract for contract in settings["contracts"] if contract["id"] == "floors"]
    named = {name for layer in floors["layers"] for name in re.findall(r"\w+", layer)}
    modules = {module.name for module in pkgutil.iter_modules([str(ROOT / "flowmaps")])}
    assert modules and modules <= named

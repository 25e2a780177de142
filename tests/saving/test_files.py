"""The files hold data alone, the same for the same map."""

import json
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

import flowmaps as fm

PACKAGE = Path(fm.__file__).parent


def test_the_files_are_json_and_safetensors(tmp_path: Path, make: SimpleNamespace) -> None:
    made = make.learned()
    fm.save(made, tmp_path)
    structure, weights = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    written = json.loads(structure.read_text())
    assert written["weights"] == weights.name
    assert written["flow_map"]["class"] == "maps:NeuralFlowMap"
    assert written["flow_map"]["config"]["network"]["config"]["width"] == 5
    with safe_open(weights, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    named = {**dict(made.named_parameters()), **dict(made.named_buffers())}
    assert stored.keys() == named.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in named.items())


def test_the_same_map_makes_the_same_files(tmp_path: Path, make: SimpleNamespace) -> None:
    fm.save(make.learned(), tmp_path / "a")
    fm.save(make.learned(), tmp_path / "b")
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert a == b


def test_nothing_is_pickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: SimpleNamespace
) -> None:
    words = re.compile(r"\b(pickle|cloudpickle|dill|joblib|marshal|shelve|torch\.(load|save)\()")
    found = [path for path in PACKAGE.rglob("*.py") if words.search(path.read_text("utf-8"))]
    # The module of saving says in its docstring that it uses none. The doctor hands a network to
    # an interpreter that it starts itself, in a folder of its own: that is not kept.
    for path in set(found) - {PACKAGE / "testing" / "doctor" / "_fresh.py"}:
        code = re.sub(r'"""(?s:.*?)"""', "", path.read_text("utf-8"))
        assert not words.search(code), path

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("pickled")

    for module, name in [(pickle, "loads"), (pickle, "load"), (pickle, "dumps"), (torch, "load")]:
        monkeypatch.setattr(module, name, refuse)
    fm.load(fm.save(make.learned(), tmp_path))

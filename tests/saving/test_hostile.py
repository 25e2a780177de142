"""Files that somebody has forged are refused, and nothing of them runs."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flowmaps as fm
from flowmaps.errors import LoadError

PROBLEM = {"class": "problems:Rotation", "config": {}, "number": 1}
NETWORK = {"class": "networks:MLP", "config": {"dim": 1}, "number": 1}
LEG = {
    "class": "maps:Leg",
    "config": {
        "flow_map": {"class": "maps:Identity", "config": {}, "number": 2},
        "s": 0.0,
        "t": 1.0,
    },
    "number": 1,
}


def an(kind: Any, number: Any = 0, **config: Any) -> dict[str, Any]:
    return {"class": kind, "config": config, "number": number}


def method(name: Any, of: Any) -> dict[str, Any]:
    return an("maps:SolverFlowMap", field={"method": name, "of": of, "number": 3})


NO_CLASS = "this version of flowmaps has no"
NO_METHOD = "has no method"
HOSTILE: dict[str, tuple[Any, str]] = {
    "a class of Python": (an("os:system", command="touch marker"), NO_CLASS),
    "a function of Python": (an("builtins:eval", source="open('marker', 'w')"), NO_CLASS),
    "a path": (an("maps.torch.os:system", command="touch marker"), NO_CLASS),
    "a relative path": (an("..evil:Evil"), NO_CLASS),
    "a module not yet imported": (an("evil:Evil"), NO_CLASS),
    "a module in a room": (an("maps:_newton"), NO_CLASS),
    "a function of a room": (an("solvers:solve"), NO_CLASS),
    "a room that saves nothing": (an("training:fit"), NO_CLASS),
    "the room of saving": (an("_saving:load", folder="."), NO_CLASS),
    "a class that describes nothing": (an("maps:FlowMap"), NO_CLASS),
    "an abstract class": (an("problems:Problem"), "cannot rebuild problems:Problem"),
    "no text for a class": (an(["maps"]), NO_CLASS),
    "a class that is unknown": (an("maps:Magic"), NO_CLASS),
    "arguments that are unknown": (an("maps:Identity", magic=1), "cannot rebuild maps:Identity"),
    "itself as argument": (an("maps:Identity", self=1), "cannot rebuild maps:Identity"),
    "a network beyond all memory": (an("networks:MLP", dim=2, width=10**13), "cannot rebuild"),
    "a number beyond all floats": (an("networks:MLP", dim=2, time_scale=10**400), "cannot rebuild"),
    "a private method": (method("_parameters", PROBLEM), NO_METHOD),
    "a dunder": (method("__class__", PROBLEM), NO_METHOD),
    "a dunder of a module": (method("__init_subclass__", NETWORK), NO_METHOD),
    "an attribute": (method("times", PROBLEM), NO_METHOD),
    "a property": (method("evaluations", LEG), NO_METHOD),
    "a path of attributes": (method("field.__func__", PROBLEM), NO_METHOD),
    "no text for a method": (method(["field"], PROBLEM), NO_METHOD),
    "a method of text": (method("format", "{0.__class__}"), NO_METHOD),
    "a method of a list": (method("append", [1]), NO_METHOD),
    "a method of a supplied part": (
        method("explode", {"supplied": "thing", "type": "-", "number": 4}),
        NO_METHOD,
    ),
    "a dtype that is none": (an("maps:Affine", shift={"tensor": 1, "dtype": "os"}), "no dtype os"),
    "a ragged tensor": (
        an("maps:Affine", shift={"tensor": [[1], [1, 2]], "dtype": "float32"}),
        "malformed",
    ),
    "a tensor of text": (
        an("maps:Affine", shift={"tensor": "a", "dtype": "float32"}),
        "malformed",
    ),
    "a float that is none": (an("maps:Endpoint", time={"float": "1"}), "malformed"),
    "an object not yet made": (an("maps:Endpoint", time={"same": 7}), "malformed"),
    "itself": (an("maps:Endpoint", time={"same": 0}), "malformed"),
    "a number twice": (an("maps:SecondOrder", field=an("maps:Identity")), "has number 0"),
    "a number that is none": (an("maps:Identity", number=[]), "has number"),
    "no number": ({"class": "maps:Identity", "config": {}}, "malformed"),
    "another root": (an("maps:Identity", number=5), "not a map's description"),
    "arguments that are no dictionary": (
        {"class": "maps:Identity", "config": [], "number": 0},
        "malformed",
    ),
    "no object": (7, "not a map's description"),
    "no map": (an("maps:TimeSet"), "not a map's description"),
    "another map": (an("maps:Identity"), "do not fit the map"),
}


class Thing:
    touched = False

    @property
    def explode(self) -> None:
        Thing.touched = True


def forge(folder: Path, node: str) -> None:
    """Write a description, JSON with sorted keys, with the checksum that belongs to it."""
    written = {**json.loads((folder / "flowmap.json").read_text()), "flow_map": "@"}
    written["sha256"] = hashlib.sha256(node.encode()).hexdigest()
    (folder / "flowmap.json").write_text(json.dumps(written).replace('"@"', node))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: SimpleNamespace
) -> None:
    node, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    for evil in (tmp_path / "evil.py", tmp_path / "marker.py"):
        evil.write_text("open('marker', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    fm.save(make.learned(), tmp_path / "run")
    forge(tmp_path / "run", json.dumps(node, sort_keys=True))
    supplied = {"thing": Thing()} if "thing" in json.dumps(node) else {}
    with pytest.raises(LoadError, match=message) as caught:
        fm.load("run", **supplied)
    assert "\n" not in str(caught.value)
    assert not Path("marker").exists() and "evil" not in sys.modules and not Thing.touched


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 100_000])
@pytest.mark.parametrize("ends", [("[", "]"), ('{"dict": {"a": ', "}}")], ids=["list", "dict"])
def test_huge_nesting_is_refused(
    depth: int, ends: tuple[str, str], tmp_path: Path, make: SimpleNamespace
) -> None:
    fm.save(make.learned(), tmp_path)
    forge(tmp_path, f"{ends[0] * depth}1{ends[1] * depth}")
    with pytest.raises(LoadError):
        fm.load(tmp_path)


def test_weights_that_are_none_are_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    header = json.dumps({"a": {"dtype": "F64", "shape": [9], "data_offsets": [0, 8]}}).encode()
    for raw in (
        b"",
        b"garbage",
        b"\xff" * 99,
        len(header).to_bytes(8, "little") + header + b"0" * 8,
    ):
        fm.save(make.learned(), tmp_path, overwrite=True)
        name = f"flowmap-{hashlib.sha256(raw).hexdigest()}.safetensors"
        (tmp_path / name).write_bytes(raw)
        path = tmp_path / "flowmap.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights": name}))
        with pytest.raises(LoadError, match="is no file of weights"):
            fm.load(tmp_path)


def test_weights_of_another_map_are_refused(tmp_path: Path, make: SimpleNamespace) -> None:
    fm.save(make.learned(), tmp_path / "a")
    fm.save(make.learned(residual=True), tmp_path / "b")
    (other,) = (tmp_path / "b").glob("*.safetensors")
    path = tmp_path / "a" / "flowmap.json"
    other.rename(path.with_name(other.name))
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": other.name}))
    with pytest.raises(LoadError, match="do not fit the map: look at"):
        fm.load(tmp_path / "a")

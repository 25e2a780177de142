"""Broken folders, supplies that do not fit and things that are no maps are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import flowmaps as fm
from flowmaps import maps
from flowmaps.errors import LoadError


def field(t: Tensor, x: Tensor) -> Tensor:
    return -x


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = fm.networks.MLP(dim=2, width=4, depth=1)
    return fm.save(maps.NeuralFlowMap(network, maps.SecondOrder(field)), tmp_path / "run")


def weights(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "flowmap.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no structure": (lambda f: (f / "flowmap.json").unlink(), "flowmap.json is missing"),
    "not JSON": (lambda f: (f / "flowmap.json").write_text("{"), "is corrupt: "),
    "not text": (lambda f: (f / "flowmap.json").write_bytes(b"\xff\xfe\xfd"), "is corrupt: "),
    "other JSON": (lambda f: (f / "flowmap.json").write_text("[1]"), "not a map's description"),
    "a part is missing": (
        lambda f: (f / "flowmap.json").write_text('{"format": 1}'),
        "not a map's description",
    ),
    "newer format": (lambda f: edit(f, format=9), "format 9, .*install a newer flowmaps"),
    "older format": (lambda f: edit(f, format=0), "has format 0, this version reads 1$"),
    "format as text": (lambda f: edit(f, format="1"), "not a map's description"),
    "changed structure": (lambda f: edit(f, flow_map={}), "corrupt: its checksum differs"),
    "wrong checksum": (lambda f: edit(f, sha256="0" * 64), "corrupt: its checksum differs"),
    "no weights": (lambda f: weights(f).unlink(), "holds no whole map"),
    "truncated weights": (
        lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-1]),
        "corrupt or truncated",
    ),
    "changed weights": (
        lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-1] + b"\x55"),
        "corrupt or truncated",
    ),
    "weights elsewhere": (
        lambda f: edit(f, weights="../a.safetensors"),
        "names no file of weights",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused(name: str, saved: Path, refused: Callable[..., None]) -> None:
    damage, message = BROKEN[name]
    damage(saved)
    refused(lambda: fm.load(saved, field=field), ValueError, message, LoadError)


def test_a_missing_folder_is_refused(tmp_path: Path, refused: Callable[..., None]) -> None:
    missing = tmp_path / "missing"
    refused(lambda: fm.load(missing), ValueError, "there is no folder", LoadError)
    missing.write_text("a file")
    refused(lambda: fm.load(missing), ValueError, "there is no folder", LoadError)
    missing.unlink()
    missing.mkdir()
    refused(lambda: fm.load(missing), ValueError, "holds no saved map", LoadError)


def test_what_is_supplied_must_fit(saved: Path, refused: Callable[..., None]) -> None:
    load, named = fm.load, LoadError
    refused(lambda: load(saved), ValueError, r"load\(folder, field=\.\.\.\)", named)
    refused(lambda: load(saved, field=3), ValueError, "cannot rebuild maps:SecondOrder", named)
    given = {"field": field, "net": field}
    refused(lambda: load(saved, **given), ValueError, r"was also given \['net'\]", named)
    wide = nn.Linear(3, 3)
    refused(lambda: load(saved, field=wide), ValueError, "do not fit the map", named)


def test_what_cannot_be_saved_is_refused(
    saved: Path, tmp_path: Path, refused: Callable[..., None]
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    refused(lambda: fm.save(maps.Identity(), saved), FileExistsError, "pass overwrite=True")
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    for thing, kind in (
        (nn.Linear(1, 1), "Linear"),
        (field, "function"),
        (fm.domains.Box([0.0], [1.0]), "Box"),
    ):
        refused(lambda thing=thing: fm.save(thing, tmp_path), TypeError, f"got {kind}$")
    options = maps.SolverFlowMap(field, fm.solvers.TorchDiffEq(options={"a": 1.0, 1: 2.0}))
    refused(lambda: fm.save(options, tmp_path / "new"), TypeError, "keys of options must be")
    assert not (tmp_path / "new").exists()

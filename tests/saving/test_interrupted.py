"""A save that is interrupted, or that cannot be, leaves a whole map."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps import maps, solvers
from flowmaps.errors import LoadError


class Crash(BaseException):
    """Ends a save wherever it is, as an interruption does."""


def crashing(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    count = iter(range(100))

    def crash(*arguments: Any) -> Any:
        if next(count) == call:
            raise Crash
        return function(*arguments)

    return crash


SYSTEM = [("replace", 0), ("replace", 1), ("fsync", 0), ("fsync", 1), ("unlink", 0)]


@pytest.mark.parametrize("name, call", SYSTEM)
@pytest.mark.parametrize("where", ["fresh", "overwrite"])
def test_an_interrupted_save_leaves_a_whole_map(
    name: str,
    call: int,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: SimpleNamespace,
) -> None:
    old, new, x = make.learned(), make.solved(make.learned(seed=1).velocity), torch.rand(3, 2)
    if where == "overwrite":
        fm.save(old, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, name, crashing(getattr(os, name), call))
        crashed = True
        try:
            fm.save(new, tmp_path, overwrite=where == "overwrite")
            crashed = False
        except Crash:
            pass
    assert crashed == (name != "unlink" or where == "overwrite")
    assert not list(tmp_path.glob("*.new"))
    if name == "unlink":  # comes last: the new map is there
        assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), new(0.0, 1.0, x))
    elif where == "overwrite":
        assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), old(0.0, 1.0, x))
    else:
        with pytest.raises(LoadError, match="holds no saved map"):
            fm.load(tmp_path)
    fm.save(new, tmp_path, overwrite=where == "overwrite" or name == "unlink")
    assert torch.equal(fm.load(tmp_path)(0.0, 1.0, x), new(0.0, 1.0, x))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_power_cut_leaves_is_cleared_away(tmp_path: Path, make: SimpleNamespace) -> None:
    fm.save(make.learned(), tmp_path)
    weights = f"flowmap-{'0' * 64}.safetensors"
    for left in (weights, f"{weights}.new", "flowmap.json.new"):
        (tmp_path / left).write_bytes(b"half of i")
    (tmp_path / "notes.txt").write_text("mine")
    assert isinstance(fm.load(tmp_path), maps.NeuralFlowMap)
    fm.save(make.solved(), tmp_path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3 and (tmp_path / "notes.txt").exists()


def test_a_map_that_cannot_be_saved_leaves_what_was_there(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    class OwnMap(maps.FlowMap):
        def _transport(self, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
            return x

    fm.save(make.learned(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError, match="save needs a flow map of flowmaps, got OwnMap"):
        fm.save(OwnMap(), tmp_path, overwrite=True)
    odd = make.solved(method=solvers.TorchDiffEq(options={"a": 1.0, 2: 3.0}), steps=None)  # type: ignore
    with pytest.raises(TypeError, match="keys of options must be text"):
        fm.save(odd, tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # Inside another map it is a part that only its owner has.
    inner = OwnMap()
    fm.save(inner.between(0.0, 1.0), tmp_path, overwrite=True)
    assert fm.load(tmp_path, flow_map=inner).flow_map is inner

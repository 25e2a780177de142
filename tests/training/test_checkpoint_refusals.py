"""What is no state is not written; what is spoiled is refused, and the one before it is used."""

import errno
import hashlib
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from flowmaps.errors import CheckpointError, RunFolderError
from flowmaps.training import _checkpoints
from flowmaps.training._checkpoints import Checkpoints

Check = Callable[[Checkpoints, Path, str], None]
First = Callable[[Path], Checkpoints]


def place(folder: Path, content: bytes, step: int = 1) -> Path:
    """Put a file with the right checksum, whatever it holds."""
    path = folder / f"step-{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    return path


def path_of(checkpoints: Checkpoints, step: int) -> Path:
    return next(path for found, path in checkpoints._files() if found == step)


# ---------------------------------------------------------------------------- what is not written


class Own(dict):
    pass


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
BAD_STATES = {
    "object": ({"a": [object()]}, TypeError, r"state\['a'\]\[0\] is a object; a state holds dict"),
    "set": ([{1}], TypeError, r"state\[0\] is a set"),
    "numpy": ({"x": torch.ones(1).numpy()}, TypeError, r"state\['x'\] is a numpy.ndarray"),
    "subclass": ((Own(),), TypeError, "Own; a state holds"),
    "shape": ([torch.ones(2).shape], TypeError, "torch.Size; a state holds"),
    "dtype": ([torch.float32], TypeError, "torch.dtype; a state holds"),
    "key": ({"a": {1.5: 0}}, TypeError, r"a key of state\['a'\] is the float 1.5, not str or int"),
    "true as key": ({True: 0}, TypeError, "a key of state is the bool True"),
    "sparse": ([torch.eye(2).to_sparse()], TypeError, r"state\[0\] is a .*sparse.*to_dense"),
    "meta": ([torch.ones(2, device="meta")], TypeError, "meta.*dense tensors with values"),
    "cycle": (CYCLE, ValueError, "contains itself or has over 100 levels"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_other_states_are_refused(
    name: str, tmp_path: Path, refused: Callable[..., None], kept: SimpleNamespace
) -> None:
    state, error, message = BAD_STATES[name]
    checkpoints = kept.written(tmp_path, 1)
    refused(lambda: checkpoints.write(2, state), error, message)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("step", [-1, 1.0, True, None, "1"])
def test_a_bad_step_is_refused(step: Any, tmp_path: Path, refused: Callable[..., None]) -> None:
    message = "step must be a whole number from 0"
    refused(lambda: Checkpoints(tmp_path).write(step, {}), ValueError, message)


@pytest.mark.parametrize("keep", [0, -1, 1.5, True])
def test_a_bad_number_to_keep_is_refused(keep: Any, refused: Callable[..., None]) -> None:
    refused(lambda: Checkpoints("x", keep), ValueError, "keep must be a positive number")


def test_a_file_is_no_folder(tmp_path: Path, refused: Callable[..., None]) -> None:
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file")
    for act in (checkpoints.newest, checkpoints.steps):
        refused(act, OSError, "file is not a folder", RunFolderError)
    message = "step 1 cannot be written"
    refused(lambda: checkpoints.write(1, {}), OSError, message, RunFolderError)


# ---------------------------------------------------------------------------- refusals


@pytest.fixture
def spoiled_is_refused(kept: SimpleNamespace) -> Check:
    """The newest of two, spoiled, is refused by name, and the first is used with a warning."""

    def check(checkpoints: Checkpoints, path: Path, reason: str) -> None:
        message = f"passed over 1 of .*{path.name} {reason}.*using step-000000001-.* instead"
        with pytest.warns(UserWarning, match=message):
            found = checkpoints.newest()
        assert found is not None and found.step == 1 and kept.same(found.state, kept.small(1))
        [(name, why)] = found.refused
        assert name == path.name and re.match(reason, why)
        with pytest.raises(CheckpointError, match=f"the checkpoint .*{path.name} {reason}"):
            checkpoints.read(path)

    return check


def test_a_truncated_checkpoint_is_refused_at_every_length(
    tmp_path: Path, kept: SimpleNamespace, spoiled_is_refused: Check
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    path = kept.quiet_newest(checkpoints).path
    whole = path.read_bytes()
    assert len(whole) > 300
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        spoiled_is_refused(checkpoints, path, "is truncated or corrupt")
    path.write_bytes(whole + b"\0")
    spoiled_is_refused(checkpoints, path, "is truncated or corrupt")
    path.write_bytes(whole)
    assert kept.quiet_newest(checkpoints).step == 2


def test_a_changed_byte_is_refused(
    tmp_path: Path, kept: SimpleNamespace, spoiled_is_refused: Check
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    path = kept.quiet_newest(checkpoints).path
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= random.randrange(1, 256)
        path.write_bytes(changed)
        spoiled_is_refused(checkpoints, path, "is truncated or corrupt")


def test_a_changed_name_is_refused(
    tmp_path: Path, kept: SimpleNamespace, spoiled_is_refused: Check
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    path = kept.quiet_newest(checkpoints).path
    misnamed = path.rename(path.with_name(path.name.replace("-000000002-", "-000000003-")))
    spoiled_is_refused(checkpoints, misnamed, "is misnamed: it was written at step 2")
    last = path.name[-13]
    wrong = path.with_name(path.name.replace(f"{last}.safe", f"{'01'[last == '0']}.safe"))
    misnamed.rename(wrong)
    spoiled_is_refused(checkpoints, wrong, "is truncated or corrupt")
    plain = wrong.rename(tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="is not named like one: step-<number>"):
        checkpoints.read(plain)


def node(state: Any, **tensors: Tensor) -> bytes:
    facts = {"format": 1, "flowmaps": "0", "step": 2, "state": state}
    text = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    return save({"structure": text, **tensors})


STRANGE = {
    "empty": b"",
    "noise": bytes(range(256)),
    "no structure": save({"a": torch.ones(2)}),
    "no JSON": save({"structure": torch.zeros(3, dtype=torch.uint8)}),
    "floats": save({"structure": torch.ones(3)}),
    "a list": save({"structure": torch.tensor(list(b"[]"), dtype=torch.uint8)}),
    "nothing": save({"structure": torch.tensor(list(b"{}"), dtype=torch.uint8)}),
    "unknown kind": node({"module": "os"}),
    "two kinds": node({"int": "1", "float": "2"}),
    "no tensor": node({"tensor": ["0", "float32", [2]]}),
    "no dtype": node({"tensor": ["0", "save", [1]]}, **{"0": torch.ones(1)}),
    "another shape": node({"tensor": ["0", "float64", [3]]}, **{"0": torch.ones(2).double()}),
    "no number": node({"int": "x"}),
    "no float": node({"float": "00"}),
    "no pairs": node({"dict": [1]}),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_file_is_refused(
    name: str, tmp_path: Path, spoiled_is_refused: Check, with_first: First
) -> None:
    path = place(tmp_path, STRANGE[name], step=2)
    spoiled_is_refused(with_first(tmp_path), path, "was not written by flowmaps")


@pytest.fixture
def with_first(kept: SimpleNamespace) -> First:
    """``with_first(folder)`` adds a whole first checkpoint beside what is there."""

    def add(folder: Path) -> Checkpoints:
        path = kept.quiet_newest(kept.written(folder / "elsewhere", 1)).path
        path.rename(folder / path.name)
        return Checkpoints(folder)

    return add


def test_links_and_folders_are_no_checkpoints(
    tmp_path: Path, kept: SimpleNamespace, spoiled_is_refused: Check, with_first: First
) -> None:
    path = place(tmp_path, b"", step=2)
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    checkpoints = with_first(tmp_path)
    spoiled_is_refused(checkpoints, path, "cannot be read")
    path.unlink()
    path.mkdir()
    spoiled_is_refused(checkpoints, path, "cannot be read")
    checkpoints.write(1, kept.small(1))
    assert checkpoints.steps() == [1, 2] and path.is_dir()


@pytest.mark.parametrize("number", [0, None, "1"])
def test_an_unknown_format_is_refused(
    number: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: SimpleNamespace,
    spoiled_is_refused: Check,
    with_first: First,
) -> None:
    monkeypatch.setattr(_checkpoints, "_FORMAT", number)
    checkpoints = kept.written(tmp_path, 2)
    monkeypatch.undo()
    path = path_of(checkpoints, 2)
    spoiled_is_refused(with_first(tmp_path), path, "has the unknown format")


def test_a_newer_format_is_not_passed_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., None],
    kept: SimpleNamespace,
) -> None:
    """It is whole, and the work of hours: an older flowmaps must not go back behind it unasked."""
    checkpoints = kept.written(tmp_path, 1)
    monkeypatch.setattr(_checkpoints, "_FORMAT", 2)
    checkpoints.write(2, kept.small(2))
    monkeypatch.undo()
    for act in (checkpoints.newest, lambda: checkpoints.read(2)):
        refused(
            act, ValueError, "has format 2, .*reads 1; install a newer flowmaps", CheckpointError
        )
    assert checkpoints.read(1).step == 1


def test_a_missing_one_is_named(
    tmp_path: Path, refused: Callable[..., None], kept: SimpleNamespace
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    message = r"no checkpoint of step 3 .*has steps \[1, 2\]"
    refused(lambda: checkpoints.read(3), ValueError, message, CheckpointError)
    gone = checkpoints.read(2).path
    gone.unlink()
    refused(lambda: checkpoints.read(gone), ValueError, rf"{gone.name}; .*\[1\]", CheckpointError)


def test_what_cannot_be_read_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: SimpleNamespace,
    spoiled_is_refused: Check,
) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    path, read = kept.quiet_newest(checkpoints).path, Path.read_bytes

    def failing(self: Path) -> bytes:
        if self == path:
            raise OSError(errno.EIO, "Input/output error")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", failing)
    spoiled_is_refused(checkpoints, path, r"cannot be read \(Input/output error\)")


def test_several_are_passed_over(tmp_path: Path, kept: SimpleNamespace) -> None:
    checkpoints = kept.written(tmp_path, 1, 2, 3)
    for step in (2, 3):
        path_of(checkpoints, step).write_bytes(b"")
    with pytest.warns(UserWarning, match="passed over 2 of .*step-000000003.*step-000000002"):
        found = checkpoints.newest()
    assert found is not None and found.step == 1 and len(found.refused) == 2


def test_none_whole_is_an_error(tmp_path: Path, kept: SimpleNamespace) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    names = [path_of(checkpoints, step).name for step in (2, 1)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.newest()
    message = str(caught.value)
    assert all(f"{name} is truncated or corrupt" in message for name in names)
    assert "no whole checkpoint" in message and "--overwrite" in message


@pytest.mark.parametrize("next_step", [25, 30, 35])
def test_a_corrupt_one_is_replaced_by_going_on(
    next_step: int, tmp_path: Path, kept: SimpleNamespace
) -> None:
    checkpoints = kept.written(tmp_path, 10, 20, 30, keep=2)
    path_of(checkpoints, 30).write_bytes(b"")
    with pytest.warns(UserWarning, match="step-000000030"):
        checkpoints.newest()
    checkpoints.write(next_step, kept.small(next_step))
    assert checkpoints.steps() == [20, next_step]
    assert kept.quiet_newest(checkpoints).step == next_step and checkpoints.read(20).step == 20

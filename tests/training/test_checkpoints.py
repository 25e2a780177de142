"""A checkpoint comes back bit for bit, or it is refused by name and the one before it is used."""

import copy
import errno
import hashlib
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from flowmaps.errors import CheckpointError, RunFolderError
from flowmaps.training import _checkpoints
from flowmaps.training._checkpoints import Checkpoint, Checkpoints
from flowmaps.training._encoding import decode, encode

DTYPES = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
# Those whose items are bytes of their own, and that tensors with values can have.
DTYPES = sorted((d for d in DTYPES if not re.search(r"\.(u?int[1-7]|q|bits)", f"{d} ")), key=str)


def same(a: Any, b: Any) -> bool:
    """Compare types and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def bits(x: Tensor) -> list[int]:
    return x.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def there_and_back(state: Any) -> Any:
    facts, build = decode(b"".join(encode(state, {"step": 3})))
    assert facts == {"step": 3}
    return build()


def small(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((2,), float(step)), 1: (None,)}


def written(folder: Path, *steps: int, keep: int = 9) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.write(step, small(step))
    return checkpoints


def place(folder: Path, content: bytes, step: int = 1) -> Path:
    """Put a file with the right checksum, whatever it holds."""
    path = folder / f"step-{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    return path


def path_of(checkpoints: Checkpoints, step: int) -> Path:
    return next(path for found, path in checkpoints._files() if found == step)


def quiet_newest(checkpoints: Checkpoints) -> Checkpoint:
    """Return the newest where nothing may be refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checkpoints.newest()
    assert found is not None
    return found


# ---------------------------------------------------------------------------- there and back


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = math.prod(shape) * torch.empty((), dtype=dtype).itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    flat = torch.tensor(list(raw), dtype=torch.uint8)
    made = flat.view(dtype).reshape(shape)
    return made.mT if made.ndim > 1 and draw(st.booleans()) else made


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too
KEYS = ANY_TEXT | st.integers()
FLOATS = st.floats() | st.binary(min_size=8, max_size=8).map(lambda b: struct.unpack("d", b)[0])
LEAVES = (st.none(), st.booleans(), st.integers(), FLOATS, ANY_TEXT, tensors())
KINDS = (list, tuple, dict, OrderedDict)


@st.composite
def states(draw: st.DrawFn, depth: int = 3) -> Any:
    kind = draw(st.sampled_from(LEAVES + KINDS if depth else LEAVES))
    if kind not in KINDS:
        return draw(kind)
    items = draw(st.lists(states(depth - 1), max_size=4))
    if kind in (list, tuple):
        return kind(items)
    keys = draw(st.lists(KEYS, min_size=len(items), max_size=len(items), unique=True))
    return kind(zip(keys, items, strict=True))


@given(states())
def test_any_state_comes_back(state: Any) -> None:
    assert same(there_and_back(state), state)


@given(states(), st.integers(0, 10**12))
def test_any_state_comes_back_from_a_file(state: Any, step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Checkpoints(folder).write(step, state)
        found = quiet_newest(Checkpoints(folder))
        assert (found.step, found.path, found.refused) == (step, path, ())
        assert same(found.state, state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype) -> None:
    x = torch.randint(0, 256, (3, 2, 16), dtype=torch.uint8).view(dtype)
    assert same(there_and_back([x, x[0, 0, 0], x[:0]]), [x, x[0, 0, 0], x[:0]])


def test_views_come_back_as_what_they_show() -> None:
    x, z = torch.randn(4, 6), torch.randn(3, dtype=torch.complex64)
    views = [
        x.T,
        x[1:3, ::2],
        x[0].expand(5, 6),
        x.new_tensor(1.0).expand(3),
        x[3, 5],
        x[:, 2:2],
        z[1:],
        z.conj(),
        z.conj().imag,
    ]
    for back, view in zip(there_and_back(views), views, strict=True):
        assert torch.equal(back, view)


@given(
    order=st.permutations(range(4)),
    shape=st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_axes_keep_their_order_in_memory(order: list[int], shape: list[int]) -> None:
    """Sums and products over a matrix round differently in another order."""
    x = torch.randn(shape).permute(order)
    back = there_and_back([x])[0]
    assert torch.equal(back, x)
    lengths = [s for s, n in zip(x.stride(), x.shape, strict=True) if n > 1]
    assert [s for s, n in zip(back.stride(), x.shape, strict=True) if n > 1] == lengths


def test_parameters_come_back_as_tensors() -> None:
    layer = nn.Linear(2, 3)
    back = there_and_back({"live": dict(layer.named_parameters())})["live"]
    assert all(type(tensor) is Tensor and not tensor.requires_grad for tensor in back.values())
    assert torch.equal(back["weight"], layer.weight)


def test_one_place_in_memory_is_written_once() -> None:
    x = torch.randn(1000)
    state = {"a": x, "b": [x.detach(), nn.Parameter(x)], "part": x[:500], "other": x.clone()}
    assert len(b"".join(encode(state, {}))) < 2.5 * 8000 + 1000
    back = there_and_back(state)
    assert back["a"] is back["b"][0] is back["b"][1]
    back["a"].zero_()
    assert torch.equal(back["other"], x) and torch.equal(back["part"], x[:500])


def test_other_views_of_a_place_are_others() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    views = [x, x.T, x[0], x.view(torch.int64), x.flatten(), x[:, 0], x.clone()]
    back = there_and_back(views)
    assert all(map(torch.equal, back, views)) and len(set(map(id, back))) == len(views)
    z = torch.view_as_complex(x)
    assert all(map(torch.equal, there_and_back([z, z.conj()]), [z, z.conj()]))


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        return net, torch.optim.AdamW(net.parameters(), amsgrad=True)

    def go(net: nn.Module, update: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            x = torch.randn(16, 2, generator=torch.Generator().manual_seed(step))
            update.zero_grad()
            net(x).square().mean().backward()
            update.step()

    whole, half, again = start(), start(), start()
    go(*whole, range(10))
    go(*half, range(5))
    state = [part.state_dict() for part in half]
    Checkpoints(tmp_path).write(5, state)
    back = quiet_newest(Checkpoints(tmp_path)).state
    for part, saved in zip(again, back, strict=True):
        part.load_state_dict(saved)
    go(*again, range(5, 10))
    for one, other in zip(whole, again, strict=True):
        assert same(one.state_dict(), other.state_dict())


def test_the_file_is_safetensors_and_json(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path).write(7, {"a": [torch.arange(3.0)], 2: (math.inf, 2**70)})
    assert path.parent == tmp_path
    assert (
        path.name == f"step-000000007-{hashlib.sha256(path.read_bytes()).hexdigest()}.safetensors"
    )
    with safe_open(path, framework="pt") as file:
        assert torch.equal(file.get_tensor("0"), torch.arange(3.0))
        text = file.get_tensor("structure").numpy().tobytes()
    structure = json.loads(text, parse_constant=pytest.fail)
    assert (structure["format"], structure["step"]) == (1, 7)
    assert structure["state"] == {
        "dict": [
            ["a", [{"tensor": ["0", "float64", [3], None]}]],
            [2, {"tuple": [{"float": "7ff0000000000000"}, {"int": "0x400000000000000000"}]}],
        ]
    }


def test_equal_states_make_equal_files(tmp_path: Path) -> None:
    names = [written(tmp_path / name, 1, 2).newest().path.name for name in "ab"]  # pyright: ignore
    assert names[0] == names[1]


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
def test_other_states_are_refused(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    state, error, message = BAD_STATES[name]
    checkpoints = written(tmp_path, 1)
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


# ---------------------------------------------------------------------------- which ones there are


def test_the_newest_remain(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "deep" / "folder", keep=3)
    assert checkpoints.newest() is None and checkpoints.steps() == []
    for step in range(0, 50, 10):
        checkpoints.write(step, small(step))
        assert quiet_newest(checkpoints).step == step
    assert checkpoints.steps() == [20, 30, 40] == Checkpoints(checkpoints.folder).steps()
    for step in checkpoints.steps():
        found = checkpoints.read(step)
        assert found.step == step and same(found.state, small(step))
        for which in (found.path, str(found.path)):
            assert same(checkpoints.read(which).state, found.state)


def test_what_lies_beyond_is_removed(tmp_path: Path) -> None:
    """Who goes on from 20 leaves 30 and 40 behind: they belong to another past."""
    checkpoints = written(tmp_path, 10, 20, 30, 40)
    checkpoints.write(25, small(25))
    assert checkpoints.steps() == [10, 20, 25]


def test_a_step_written_again_replaces_the_first(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2)
    checkpoints.write(2, "another")
    assert quiet_newest(checkpoints).state == "another"
    assert checkpoints.steps() == [1, 2] and len(os.listdir(tmp_path)) == 2


def test_of_two_files_of_a_step_the_later_counts(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    first = checkpoints.write(2, "first")
    content = first.read_bytes()
    second = checkpoints.write(2, "second")
    first.write_bytes(content)  # as if the writer had been killed before it removed the first
    for newer, older, state in [(second, first, "second"), (first, second, "first")]:
        os.utime(older, ns=(10**9, 10**9))
        os.utime(newer, ns=(2 * 10**9, 2 * 10**9))
        assert quiet_newest(checkpoints).state == checkpoints.read(2).state == state


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = ["notes.txt", "step-1.safetensors", "step-000000001.pt", "step-x.new", "a-step-1.new"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "step-000000007.new").write_text("left by a killed writer")
    checkpoints = written(tmp_path, 1, 2, 3, keep=1)
    assert checkpoints.steps() == [3]
    assert set(os.listdir(tmp_path)) == {*others, quiet_newest(checkpoints).path.name}


def test_the_folder_does_not_move_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("here")
    monkeypatch.chdir("/")
    assert checkpoints.write(1, {}).parent == tmp_path / "here"


# ---------------------------------------------------------------------------- refusals


def spoiled_is_refused(checkpoints: Checkpoints, path: Path, reason: str) -> None:
    """The newest of two, spoiled, is refused by name, and the first is used with a warning."""
    message = f"passed over 1 of .*{path.name} {reason}.*using step-000000001-.* instead"
    with pytest.warns(UserWarning, match=message):
        found = checkpoints.newest()
    assert found is not None and found.step == 1 and same(found.state, small(1))
    [(name, why)] = found.refused
    assert name == path.name and re.match(reason, why)
    with pytest.raises(CheckpointError, match=f"the checkpoint .*{path.name} {reason}"):
        checkpoints.read(path)


def test_a_truncated_checkpoint_is_refused_at_every_length(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2)
    path = quiet_newest(checkpoints).path
    whole = path.read_bytes()
    assert len(whole) > 300
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        spoiled_is_refused(checkpoints, path, "is truncated or corrupt")
    path.write_bytes(whole + b"\0")
    spoiled_is_refused(checkpoints, path, "is truncated or corrupt")
    path.write_bytes(whole)
    assert quiet_newest(checkpoints).step == 2


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2)
    path = quiet_newest(checkpoints).path
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= random.randrange(1, 256)
        path.write_bytes(changed)
        spoiled_is_refused(checkpoints, path, "is truncated or corrupt")


def test_a_changed_name_is_refused(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2)
    path = quiet_newest(checkpoints).path
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
def test_a_strange_file_is_refused(name: str, tmp_path: Path) -> None:
    path = place(tmp_path, STRANGE[name], step=2)
    spoiled_is_refused(with_first(tmp_path), path, "was not written by flowmaps")


def with_first(folder: Path) -> Checkpoints:
    """Add a whole first checkpoint beside what is there."""
    path = quiet_newest(written(folder / "elsewhere", 1)).path
    path.rename(folder / path.name)
    return Checkpoints(folder)


def test_links_and_folders_are_no_checkpoints(tmp_path: Path) -> None:
    path = place(tmp_path, b"", step=2)
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    checkpoints = with_first(tmp_path)
    spoiled_is_refused(checkpoints, path, "cannot be read")
    path.unlink()
    path.mkdir()
    spoiled_is_refused(checkpoints, path, "cannot be read")
    checkpoints.write(1, small(1))
    assert checkpoints.steps() == [1, 2] and path.is_dir()


@pytest.mark.parametrize("number", [0, None, "1"])
def test_an_unknown_format_is_refused(
    number: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checkpoints, "_FORMAT", number)
    checkpoints = written(tmp_path, 2)
    monkeypatch.undo()
    path = path_of(checkpoints, 2)
    spoiled_is_refused(with_first(tmp_path), path, "has the unknown format")


def test_a_newer_format_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., None]
) -> None:
    """It is whole, and the work of hours: an older flowmaps must not go back behind it unasked."""
    checkpoints = written(tmp_path, 1)
    monkeypatch.setattr(_checkpoints, "_FORMAT", 2)
    checkpoints.write(2, small(2))
    monkeypatch.undo()
    for act in (checkpoints.newest, lambda: checkpoints.read(2)):
        refused(
            act, ValueError, "has format 2, .*reads 1; install a newer flowmaps", CheckpointError
        )
    assert checkpoints.read(1).step == 1


def test_a_missing_one_is_named(tmp_path: Path, refused: Callable[..., None]) -> None:
    checkpoints = written(tmp_path, 1, 2)
    message = r"no checkpoint of step 3 .*has steps \[1, 2\]"
    refused(lambda: checkpoints.read(3), ValueError, message, CheckpointError)
    gone = checkpoints.read(2).path
    gone.unlink()
    refused(lambda: checkpoints.read(gone), ValueError, rf"{gone.name}; .*\[1\]", CheckpointError)


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = written(tmp_path, 1, 2)
    path, read = quiet_newest(checkpoints).path, Path.read_bytes

    def failing(self: Path) -> bytes:
        if self == path:
            raise OSError(errno.EIO, "Input/output error")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", failing)
    spoiled_is_refused(checkpoints, path, r"cannot be read \(Input/output error\)")


def test_several_are_passed_over(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2, 3)
    for step in (2, 3):
        path_of(checkpoints, step).write_bytes(b"")
    with pytest.warns(UserWarning, match="passed over 2 of .*step-000000003.*step-000000002"):
        found = checkpoints.newest()
    assert found is not None and found.step == 1 and len(found.refused) == 2


def test_none_whole_is_an_error(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 1, 2)
    names = [path_of(checkpoints, step).name for step in (2, 1)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.newest()
    message = str(caught.value)
    assert all(f"{name} is truncated or corrupt" in message for name in names)
    assert "no whole checkpoint" in message and "--overwrite" in message


@pytest.mark.parametrize("next_step", [25, 30, 35])
def test_a_corrupt_one_is_replaced_by_going_on(next_step: int, tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 10, 20, 30, keep=2)
    path_of(checkpoints, 30).write_bytes(b"")
    with pytest.warns(UserWarning, match="step-000000030"):
        checkpoints.newest()
    checkpoints.write(next_step, small(next_step))
    assert checkpoints.steps() == [20, next_step]
    assert quiet_newest(checkpoints).step == next_step and checkpoints.read(20).step == 20


# ---------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_those_before(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = written(tmp_path, 1, 2, keep=2)

    def failing(*arguments: Any, **options: Any) -> None:
        raise copy.copy(error)

    monkeypatch.setattr(os, call, failing)
    with pytest.raises((RunFolderError, OSError, KeyboardInterrupt)) as caught:
        checkpoints.write(3, small(3))
    monkeypatch.undo()
    if isinstance(error, OSError) and call != "unlink":
        assert "step 3 cannot be written" in str(caught.value)
        assert "No space left" in str(caught.value)
    found = quiet_newest(checkpoints)
    assert found.step == (3 if call == "unlink" else 2) and same(found.state, small(found.step))
    checkpoints.write(4, small(4))
    assert len(os.listdir(tmp_path)) == 2 and quiet_newest(checkpoints).step == 4


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit to the size of files")
def test_a_full_disk_leaves_those_before(tmp_path: Path) -> None:
    import resource

    checkpoints = written(tmp_path, 1, 2)
    before = sorted(os.listdir(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="step 3 cannot be written.*untouched: free space"):
            checkpoints.write(3, torch.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == before
    assert quiet_newest(checkpoints).step == 2


KILLING = """
import os, random, shutil, signal, sys, time, warnings
from pathlib import Path
import torch
from flowmaps._saving import _atomic
from flowmaps.training import _checkpoints
from flowmaps.training._checkpoints import Checkpoints

warnings.simplefilter("error")
torch.set_num_threads(1)
FILES = {module.__file__ for module in (_atomic, _checkpoints)}  # which touch files


def state(step, size):
    return {"step": step, "weights": [torch.full((size,), float(step)), (step, None)]}


def check(found, size):
    expected = state(found.step, size)
    assert torch.equal(found.state["weights"][0], expected["weights"][0]), found
    assert found.state["step"] == found.step and found.state["weights"][1] == (found.step, None)
    assert not found.refused
    return found.step


def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def at_every_line(folder):
    def killed_at(limit, checkpoints):
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename not in FILES:
                return None
            count += event == "line"
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        checkpoints.write(3, state(3, 2))

    limit, visible = 0, 2
    while True:
        limit += 1
        shutil.rmtree(folder, ignore_errors=True)
        checkpoints = Checkpoints(folder, keep=1)
        checkpoints.write(2, state(2, 2))
        status = os.waitpid(forked(lambda: killed_at(limit, checkpoints)), 0)[1]
        step = check(checkpoints.newest(), 2)
        assert step in (2, 3) and step >= visible, (limit, step, visible)
        visible = step
        checkpoints.write(4, state(4, 2))
        assert checkpoints.steps() == [4] and len(os.listdir(folder)) == 1, limit
        if os.WIFEXITED(status):
            break
    assert visible == 3
    return limit


def at_random_moments(folder, times):
    generator, size, last = random.Random(0), 100_000, 0

    def write_on(first, tell):
        for step in range(first, first + 10_000):
            Checkpoints(folder, keep=2).write(step, state(step, size))
            os.write(tell, b"%d\\n" % step)

    for _ in range(times):
        hear, tell = os.pipe()
        child = forked(lambda: write_on(last + 1, tell))
        os.close(tell)
        os.read(hear, 1)  # it has begun
        time.sleep(generator.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told = os.read(hear, 1_000_000).split()
        os.close(hear)
        step = check(Checkpoints(folder).newest(), size)
        assert step >= int(told[-1] if len(told) > 1 else 0) and step > last, (step, told, last)
        last = step
    return last


sync, os.fsync = os.fsync, lambda descriptor: None  # a killed process needs none
lines = at_every_line(Path(sys.argv[1]) / "lines")
os.fsync = sync
last = at_random_moments(Path(sys.argv[1]) / "moments", 12)
print(lines, last)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_killed_writer_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """SIGKILL before every line of a write that could touch a file, then at random moments."""
    command = [sys.executable, "-c", KILLING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines, last = map(int, done.stdout.split())
    assert lines > 60 and last >= 12


def test_a_reader_beside_the_writer_sees_whole_checkpoints(tmp_path: Path) -> None:
    checkpoints = written(tmp_path, 0, keep=1)
    writer = threading.Thread(target=lambda: [checkpoints.write(k, small(k)) for k in range(1, 80)])
    writer.start()
    seen = [0]
    while writer.is_alive():
        found = quiet_newest(Checkpoints(tmp_path))
        assert same(found.state, small(found.step))
        seen.append(found.step)
    writer.join()
    assert seen == sorted(seen)
    assert quiet_newest(checkpoints).step == 79


def test_a_listing_may_miss_what_the_writer_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = written(tmp_path, 2)
    gone = tmp_path / f"step-000000001-{64 * '0'}.safetensors"
    whole = list(tmp_path.iterdir())
    for stale in ([], [gone]):
        answers = iter([stale, whole])
        monkeypatch.setattr(_checkpoints, "_entries", lambda folder, found=answers: next(found))
        assert quiet_newest(checkpoints).step == 2


def test_one_that_vanishes_before_it_is_read_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = written(tmp_path, 1)
    read = Path.read_bytes

    def slow(self: Path) -> bytes:
        if "step-000000001-" in self.name:
            written(tmp_path, 2, keep=1)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", slow)
    assert quiet_newest(checkpoints).step == 2


# ---------------------------------------------------------------------------- memory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak memory")
def test_memory_is_bounded(tmp_path: Path) -> None:
    state = {k: torch.ones(1_000_000) for k in range(12)}
    size = 12 * 8_000_000
    assert peak(lambda: Checkpoints(tmp_path).write(1, state)) < 0.3 * size
    del state
    assert peak(lambda: quiet_newest(Checkpoints(tmp_path))) < 2.3 * size


def peak(act: Callable[[], object]) -> int:
    """Return by how many bytes the process grew at most."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from now
    before = status("VmRSS")
    act()
    return status("VmHWM") - before

"""A checkpoint comes back bit for bit, and the newest remain."""

import hashlib
import json
import math
import os
import re
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from flowmaps.errors import RunFolderError
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._encoding import decode, encode

DTYPES = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
# Those whose items are bytes of their own, and that tensors with values can have.
DTYPES = sorted((d for d in DTYPES if not re.search(r"\.(u?int[1-7]|q|bits)", f"{d} ")), key=str)


def there_and_back(state: Any) -> Any:
    facts, build = decode(b"".join(encode(state, {"step": 3})))
    assert facts == {"step": 3}
    return build()


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
def test_any_state_comes_back(kept: SimpleNamespace, state: Any) -> None:
    assert kept.same(there_and_back(state), state)


@given(states(), st.integers(0, 10**12))
def test_any_state_comes_back_from_a_file(kept: SimpleNamespace, state: Any, step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Checkpoints(folder).write(step, state)
        found = kept.quiet_newest(Checkpoints(folder))
        assert (found.step, found.path, found.refused) == (step, path, ())
        assert kept.same(found.state, state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype, kept: SimpleNamespace) -> None:
    x = torch.randint(0, 256, (3, 2, 16), dtype=torch.uint8).view(dtype)
    assert kept.same(there_and_back([x, x[0, 0, 0], x[:0]]), [x, x[0, 0, 0], x[:0]])


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


def test_training_goes_on_bit_for_bit(tmp_path: Path, kept: SimpleNamespace) -> None:
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
    back = kept.quiet_newest(Checkpoints(tmp_path)).state
    for part, saved in zip(again, back, strict=True):
        part.load_state_dict(saved)
    go(*again, range(5, 10))
    for one, other in zip(whole, again, strict=True):
        assert kept.same(one.state_dict(), other.state_dict())


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


def test_equal_states_make_equal_files(tmp_path: Path, kept: SimpleNamespace) -> None:
    names = [kept.written(tmp_path / name, 1, 2).newest().path.name for name in "ab"]  # pyright: ignore
    assert names[0] == names[1]


# ---------------------------------------------------------------------------- which ones there are


def test_the_newest_remain(tmp_path: Path, kept: SimpleNamespace) -> None:
    checkpoints = Checkpoints(tmp_path / "folder", keep=3)
    assert checkpoints.newest() is None and checkpoints.steps() == []
    for step in range(0, 50, 10):
        checkpoints.write(step, kept.small(step))
        assert kept.quiet_newest(checkpoints).step == step
    assert checkpoints.steps() == [20, 30, 40] == Checkpoints(checkpoints.folder).steps()
    for step in checkpoints.steps():
        found = checkpoints.read(step)
        assert found.step == step and kept.same(found.state, kept.small(step))
        for which in (found.path, str(found.path)):
            assert kept.same(checkpoints.read(which).state, found.state)


def test_the_folder_above_is_not_made(tmp_path: Path, kept: SimpleNamespace) -> None:
    with pytest.raises(RunFolderError, match="cannot be written"):
        Checkpoints(tmp_path / "gone" / "checkpoints").write(0, kept.small(0))
    assert not (tmp_path / "gone").exists()


def test_what_lies_beyond_is_removed(tmp_path: Path, kept: SimpleNamespace) -> None:
    """Who goes on from 20 leaves 30 and 40 behind: they belong to another past."""
    checkpoints = kept.written(tmp_path, 10, 20, 30, 40)
    checkpoints.write(25, kept.small(25))
    assert checkpoints.steps() == [10, 20, 25]


def test_a_step_written_again_replaces_the_first(tmp_path: Path, kept: SimpleNamespace) -> None:
    checkpoints = kept.written(tmp_path, 1, 2)
    checkpoints.write(2, "another")
    assert kept.quiet_newest(checkpoints).state == "another"
    assert checkpoints.steps() == [1, 2] and len(os.listdir(tmp_path)) == 2


def test_of_two_files_of_a_step_the_later_counts(tmp_path: Path, kept: SimpleNamespace) -> None:
    checkpoints = Checkpoints(tmp_path)
    first = checkpoints.write(2, "first")
    content = first.read_bytes()
    second = checkpoints.write(2, "second")
    first.write_bytes(content)  # as if the writer had been killed before it removed the first
    for newer, older, state in [(second, first, "second"), (first, second, "first")]:
        os.utime(older, ns=(10**9, 10**9))
        os.utime(newer, ns=(2 * 10**9, 2 * 10**9))
        assert kept.quiet_newest(checkpoints).state == checkpoints.read(2).state == state


def test_other_files_are_left_alone(tmp_path: Path, kept: SimpleNamespace) -> None:
    others = ["notes.txt", "step-1.safetensors", "step-000000001.pt", "step-x.new", "a-step-1.new"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "step-000000007.new").write_text("left by a killed writer")
    checkpoints = kept.written(tmp_path, 1, 2, 3, keep=1)
    assert checkpoints.steps() == [3]
    assert set(os.listdir(tmp_path)) == {*others, kept.quiet_newest(checkpoints).path.name}


def test_the_folder_does_not_move_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("here")
    monkeypatch.chdir("/")
    assert checkpoints.write(1, {}).parent == tmp_path / "here"


# ---------------------------------------------------------------------------- memory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak memory")
def test_memory_is_bounded(tmp_path: Path, kept: SimpleNamespace) -> None:
    state = {k: torch.ones(1_000_000) for k in range(12)}
    size = 12 * 8_000_000
    assert peak(lambda: Checkpoints(tmp_path).write(1, state)) < 0.3 * size
    del state
    assert peak(lambda: kept.quiet_newest(Checkpoints(tmp_path))) < 2.3 * size


def peak(act: Callable[[], object]) -> int:
    """Return by how many bytes the process grew at most."""

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from now
    before = status("VmRSS")
    act()
    return status("VmHWM") - before

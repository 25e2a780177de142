"""A map of any kind comes back bit for bit."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps import maps, problems
from flowmaps._saving._description import Builder, Describer

DTYPES = [torch.float32, torch.float64]


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_comes_back_bit_for_bit(
    kind: Any,
    dtype: torch.dtype,
    values: Callable[..., Tensor],
    same: Callable[..., None],
    tmp_path: Path,
) -> None:
    for other in DTYPES:
        with default(dtype):
            made = kind.make().eval()
            assert fm.save(made, tmp_path, overwrite=True) == tmp_path
        with default(other):
            anew = {name: make() for name, make in kind.anew.items()}
            again = fm.load(tmp_path, **kind.supplied, **anew)
        assert type(again) is type(made)
        assert not any(part.training for part in again.modules())
        same(dict(made.named_parameters()), dict(again.named_parameters()))
        same(dict(made.named_buffers()), dict(again.named_buffers()))
        assert torch.equal(values(made, dtype), values(again, dtype))
        assert description(again) == description(made)


def description(module: nn.Module) -> Any:
    return Describer().describe(module, "flow_map")


@pytest.mark.parametrize("name", problems.names())
def test_every_problem_comes_back(name: str, tmp_path: Path, make: SimpleNamespace) -> None:
    problem = problems.get(name)
    fm.save(make.solved(problem.field), tmp_path)
    again = fm.load(tmp_path).field.__self__
    assert type(again) is type(problem)
    assert dict(again.parameters) == dict(problem.parameters)
    x = problem.domain.sample(3)
    assert torch.equal(again.field(0.5, x), problem.field(0.5, x))


@pytest.mark.parametrize(
    "given, plain",
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (Fraction(1, 4), 0.25),
        (float("-inf"), {"float": "-inf"}),
        ((1, [None, "a"]), [1, [None, "a"]]),
        ({"float": "b"}, {"dict": {"float": "b"}}),
    ],
)
def test_plain_values_are_written_as_json(given: Any, plain: Any) -> None:
    written = Describer().describe(given, "value")
    assert written == plain and type(written) is type(plain)
    built = Builder({}).build(json.loads(json.dumps(written)))
    assert built == (list(given) if isinstance(given, tuple) else given)


def test_half_precision_and_mixed_weights_come_back(
    tmp_path: Path, make: SimpleNamespace, same: Callable[..., None]
) -> None:
    made = make.learned().float()
    made.network.head.to(torch.bfloat16)
    fm.save(made, tmp_path)
    same(made.state_dict(), fm.load(tmp_path).state_dict())


def test_odd_values_come_back(tmp_path: Path, make: SimpleNamespace) -> None:
    given = make.network()
    start = torch.tensor([1e-300, 5e-324, 0.1])
    with torch.no_grad():
        given.head.weight[0, :4] = torch.tensor([-0.0, float("nan"), float("-inf"), 5e-324])
    fm.save(maps.NeuralFlowMap(given).between(start, 1.0), tmp_path)
    again = fm.load(tmp_path)
    bits = again.flow_map.network.head.weight.detach().view(torch.int64)
    assert torch.equal(bits, given.head.weight.detach().view(torch.int64))
    assert torch.equal(again.s, start) and again.s.dtype == start.dtype


def test_a_strided_weight_comes_back(tmp_path: Path, make: SimpleNamespace) -> None:
    given = make.FieldNetwork()
    given.first.bias = nn.Parameter(torch.rand(6)[::3])
    fm.save(make.solved(given), tmp_path)
    assert torch.equal(
        fm.load(tmp_path, field=make.FieldNetwork(9)).field.first.bias, given.first.bias
    )

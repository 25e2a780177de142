"""Parts that are shared stay shared, and parts that only their owner has are supplied."""

import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps import maps, problems


def test_shared_parts_stay_shared(tmp_path: Path, make: SimpleNamespace) -> None:
    one, both = make.learned(), make.learned(seed=3)
    made = maps.Piecewise([one, maps.NeuralFlowMap(one.network), one, both], [0.1, 0.5, 0.8])
    fm.save(made, tmp_path)
    first, second, third, fourth = fm.load(tmp_path).maps
    assert first is third and first.network is second.network
    assert fourth.network is not first.network
    assert (tmp_path / "flowmap.json").read_text().count('"networks:MLP"') == 2


def test_a_shared_problem_and_a_shared_weight_stay_shared(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    flow = problems.HarmonicOscillator(2.0).flow_map()
    fm.save(maps.Conjugated(flow, maps.Affine(0.0, 2.0)), tmp_path / "a")
    inner = fm.load(tmp_path / "a").flow_map
    assert inner.function.__self__ is inner._velocity.__self__
    fm.save(make.solved(make.FieldNetwork()), tmp_path / "b")
    again = fm.load(tmp_path / "b", field=make.FieldNetwork(1)).field
    assert again.first.weight is again.second.weight


@pytest.mark.parametrize("owner_first", [True, False])
def test_the_owner_of_a_method_keeps_its_weights(
    owner_first: bool, tmp_path: Path, make: SimpleNamespace, values: Callable[..., Tensor]
) -> None:
    teacher, other = make.learned(), make.learned(seed=2)
    parts = [teacher, make.solved(teacher.velocity)]
    made = maps.Piecewise(
        [*(parts if owner_first else parts[::-1]), make.solved(other.velocity)], [0, 1]
    )
    fm.save(made, tmp_path)
    again = fm.load(tmp_path)
    assert torch.equal(values(again, torch.float64), values(made, torch.float64))
    x = torch.rand(2, 2)
    assert torch.equal(again(0.5, 1.5, x), made(0.5, 1.5, x))
    ours, theirs = again.maps if owner_first else again.maps[:2][::-1], again.maps[2]
    assert ours[1].field.__self__ is ours[0]
    assert not theirs.field.__self__.training


def test_parts_are_supplied_by_name(tmp_path: Path, make: SimpleNamespace) -> None:
    made = maps.Piecewise(
        [make.solved(), make.solved(lambda t, x: 2 * x), make.solved()], [0.1, 0.2]
    )
    fm.save(made, tmp_path)
    again = fm.load(tmp_path, field=make.decay, field_2=abs)
    first, second, third = (part.field for part in again.maps)
    assert first is third is make.decay and second is abs


def test_methods_that_cannot_be_found_again_are_supplied(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    class Private(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -x

    problem, own = problems.Rotation(), Private()
    for number, method in enumerate((types.MethodType(decay_of, problem), own.forward)):
        fm.save(make.solved(method), tmp_path / str(number))
        assert fm.load(tmp_path / str(number), field=method).field == method


def decay_of(self: Any, t: Tensor, x: Tensor) -> Tensor:
    return -x


def test_weights_are_put_into_a_supplied_network(tmp_path: Path, make: SimpleNamespace) -> None:
    fm.save(maps.NeuralFlowMap(make.OwnNetwork()), tmp_path)
    given = make.OwnNetwork().float()
    again = fm.load(tmp_path, network=given)
    assert again.network is given
    assert given.layer.weight.dtype == torch.float64


def test_loading_keeps_what_was_there(
    tmp_path: Path, make: SimpleNamespace, same: Callable[..., None]
) -> None:
    made = make.learned().train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    fm.save(made, tmp_path)
    assert made.training
    again = fm.load(tmp_path)
    with torch.no_grad():
        again.network.head.weight.zero_()
    same(before, made.state_dict())
    same(before, fm.load(tmp_path).state_dict())

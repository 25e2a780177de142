"""Adapters of fields are saved with what they adapt; the parameters inside come back."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm


class Rate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.rand(2))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return a multiple of the state, whichever of the two is it: networks differ in order."""
        return self.rate * max(t, x, key=lambda argument: argument.ndim)

    def single(self, t: Tensor, x: Tensor) -> Tensor:
        return self.rate * t * x


ADAPTED = {
    "scaled": (lambda net: fm.fields.scaled(net, [1.0, 2.0], 3.0), "field"),
    "tensor unit": (lambda net: fm.fields.scaled(net, torch.tensor(0.1)), "field"),
    "reversed": (lambda net: fm.fields.reversed_time(net, 0.25), "field"),
    "nested": (lambda net: fm.fields.reversed_time(fm.fields.scaled(net, 2.0)), "field"),
    "per sample": (lambda net: fm.fields.per_sample(net), "function"),
    "scalar time": (lambda net: fm.fields.scalar_time(net), "function"),
    "velocity": (lambda net: fm.fields.from_velocity(net, True, 2.0, ("t", "x")), "network"),
    "edm": (lambda net: fm.fields.from_edm(net, 0.1, 3.0), "denoiser"),
    "steps": (lambda net: fm.fields.from_diffusers(net, [0.9, 0.4, 0.1], "sample"), "network"),
}


@pytest.mark.parametrize("kind", ADAPTED)
def test_the_field_inside_is_supplied_and_gets_its_weights(kind: str, tmp_path: Path) -> None:
    adapt, name = ADAPTED[kind]
    flow, x = fm.maps.SolverFlowMap(adapt(Rate())), torch.rand(3, 2)
    folder = fm.save(flow, tmp_path / "map")
    again = fm.load(folder, **{name: Rate()})
    assert torch.equal(again(0.0, 0.5, x), flow(0.0, 0.5, x))
    with pytest.raises(fm.errors.LoadError, match="as it is, not"):
        fm.load(folder, **{name: adapt(Rate())})


def test_an_adapted_field_of_ours_needs_nothing(tmp_path: Path) -> None:
    problem = fm.problems.get("damped_pendulum")
    flow = fm.maps.SolverFlowMap(fm.fields.reversed_time(problem.field))
    again, x = fm.load(fm.save(flow, tmp_path / "map")), torch.rand(3, 2)
    assert torch.equal(again(0.0, 0.5, x), flow(0.0, 0.5, x))


def test_the_velocity_of_a_learned_map_comes_back(tmp_path: Path) -> None:
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
    flow, x = fm.maps.SolverFlowMap(learned.velocity), torch.rand(3, 2)
    again = fm.load(fm.save(flow, tmp_path / "map"))
    assert torch.equal(again(0.0, 0.5, x), flow(0.0, 0.5, x))
    assert len(list(again.parameters())) == len(list(learned.parameters()))

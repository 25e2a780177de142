"""Solver maps that take their derivatives in other ways."""

from typing import Any

import pytest
import torch

import flowmaps as fm
from flowmaps import maps, solvers

TIGHT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}
WAYS = {
    "checkpoint": solvers.DiscreteGradient(checkpoint=True),
    "step sizes": solvers.DiscreteGradient(step_sizes=True),
    "adjoint": solvers.ContinuousAdjoint(),
    "adjoint, recorded": solvers.ContinuousAdjoint(record=True),
}


@pytest.mark.parametrize("derivatives", ["by relation", "independent"])
@pytest.mark.parametrize("gradient", WAYS.values(), ids=list(WAYS))
def test_gradients_of_calls_and_paths(gradient, derivatives, pendulum) -> None:
    s, t = torch.tensor([0.0, 1.0]), torch.tensor([1.2, 0.3])
    leaves = [a.requires_grad_() for a in (s, t, torch.randn(2, 2), torch.rand(2, 2))]

    def gradients(gradient: Any) -> tuple[torch.Tensor, ...]:
        flow_map = maps.SolverFlowMap(pendulum, derivatives=derivatives, gradient=gradient, **TIGHT)
        s, t, x, p = leaves
        path = flow_map.along(s, torch.stack([s, (s + t) / 2, t]), x, p)
        value = flow_map(s, t, x, p).square().sum() + path.sin().sum()
        return torch.autograd.grad(value, leaves)

    for found, truth in zip(gradients(gradient), gradients(None), strict=True):
        assert torch.allclose(found, truth, rtol=1e-6, atol=1e-6)


@pytest.fixture
def pendulum():
    def field(t: torch.Tensor, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        g, d = p.unbind(1)
        return torch.stack([x[:, 1], -g * torch.sin(x[:, 0]) - d * x[:, 1] * torch.cos(t)], dim=1)

    return field


def test_the_way_is_checked_at_the_door(refused) -> None:
    decay = lambda t, x: -x  # noqa: E731
    make = lambda **options: lambda: maps.SolverFlowMap(decay, **options)  # noqa: E731
    refused(make(gradient=True), TypeError, "gradient must be")
    through = solvers.DiscreteGradient(step_sizes=True)
    refused(make(gradient=through, steps=3), ValueError, "steps= switches off")


def test_named_parameters_cannot_be_saved(tmp_path, refused) -> None:
    network = torch.nn.Linear(1, 1)
    field = lambda t, x: network(x)  # noqa: E731
    adjoint = solvers.ContinuousAdjoint(parameters=list(network.parameters()))
    flow_map = maps.SolverFlowMap(field, gradient=adjoint)
    refused(lambda: fm.save(flow_map, tmp_path / "map"), ValueError, "cannot be saved")

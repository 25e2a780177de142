"""The doctor finds nothing in healthy networks, and leaves them as they were."""

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.testing import diagnose

DIM = 6


class Plain(nn.Module):
    """A healthy network with a place for a sick part, between two linear layers."""

    def __init__(self, part: nn.Module | None = None):
        super().__init__()
        self.enter = nn.Linear(DIM + 8, 8)
        self.part = nn.Identity() if part is None else part
        self.leave = nn.Linear(8, DIM)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
        waves = torch.arange(1, 5, device=x.device)
        times = torch.cat([torch.sin(waves * time[:, None]) for time in (s, t)], dim=1)
        h = torch.cat([x.to(times.dtype), times], dim=1).to(self.enter.weight.dtype)
        h = self.part(torch.tanh(self.enter(h)))
        return self.leave(torch.tanh(h)).to(x.dtype)


def examined(network: nn.Module, **options):
    torch.manual_seed(1)
    return diagnose(network.float(), torch.randn(7, DIM, dtype=torch.float32), **options)


class PlainField(nn.Module):
    """A healthy autonomous field."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)

    def forward(self, t, x):
        return torch.tanh(self.layer(x))


def hooked() -> nn.Module:
    """A network whose hooks change what goes in and out; a replay must not do so twice."""
    network = Plain(nn.Linear(8, 8))
    network.enter.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    network.part.register_forward_hook(lambda module, args, output: 2 * output)
    return network


def with_nothing() -> nn.Module:
    """A network with a parameter of no entries."""
    network = Plain()
    network.spare = nn.Parameter(torch.zeros(0, 3))
    return network


def shared() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.ReLU(inplace=True), nn.Linear(8, 8))


HEALTHY = {
    "plain": Plain,
    "hooks": hooked,
    "a parameter without entries": with_nothing,
    "a layer used twice, a harmless write": lambda: Plain(shared()),
    "weight norm": lambda: Plain(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
    "dropout": lambda: Plain(nn.Dropout(0.3)),
    "field": PlainField,
    "relu": lambda: Plain(nn.Sequential(nn.ReLU(), nn.Linear(8, 8), nn.SiLU())),
    "rms norm of torch": lambda: Plain(nn.RMSNorm(8)),
    "MLP": lambda: fm.networks.MLP(dim=DIM, width=16, depth=2),
    "residual MLP": lambda: fm.networks.MLP(dim=DIM, width=16, depth=1, residual=True),
    "temporal": lambda: fm.networks.TemporalFourier(dim=DIM, width=16, depth=1, nodes=5),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_no_findings(name):
    diagnosis = examined(HEALTHY[name](), quick=True)
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis.traps == () and diagnosis.summary == "healthy: no trap was found"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_our_networks_with_conditions_are_healthy(dtype):
    network = fm.networks.UNet((1, 8, 8), width=8, blocks=1, attention=(4,), heads=2, classes=3)
    labels = torch.tensor([0, 1, 2, -1, 2])
    assert diagnose(
        network.to(dtype), torch.randn(5, 1, 8, 8).to(dtype), labels, quick=True
    ).healthy
    network = fm.networks.MLP(dim=DIM, width=16, depth=1, condition_dim=2).to(dtype)
    x, condition = torch.randn(5, DIM).to(dtype), torch.randn(5, 2).to(dtype)
    assert diagnose(network, x, condition, quick=True).healthy


def test_the_network_stays_as_it_was():
    network = Plain(nn.BatchNorm1d(8)).float().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(7, DIM, dtype=torch.float32)
    kept, state = x.clone(), torch.get_rng_state()
    diagnose(network, x, quick=True)
    assert network.training and torch.equal(x, kept)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    assert torch.equal(torch.get_rng_state(), state)

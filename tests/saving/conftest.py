"""Maps to save, one of every kind, and modules of one's own that loading is supplied with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps import maps, problems, solvers

# ---------------------------------------------------------------------------- maps and modules


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x * (1 + t[:, None])


def decayed(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp((s - t) * (1 + (s + t) / 2))[:, None]


def network(seed: int = 0, **options: Any) -> fm.networks.MLP:
    """A network of which no weight is zero or of few digits."""
    generator = torch.Generator().manual_seed(seed)
    made = fm.networks.MLP(dim=2, width=5, depth=1, **options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return made


def learned(parametrization: Any = None, seed: int = 0, **options: Any) -> maps.NeuralFlowMap:
    return maps.NeuralFlowMap(network(seed, **options), parametrization, maps.TimeSet(-1.0, 2.0))


def solved(field: Any = decay, **options: Any) -> maps.SolverFlowMap:
    return maps.SolverFlowMap(field, **{"method": solvers.RK4(), "steps": 2, **options})


def exact() -> maps.ExactFlowMap:
    return maps.ExactFlowMap(decayed)


def rotation() -> maps.ExactFlowMap:
    return problems.Rotation().flow_map()


class FieldNetwork(nn.Module):
    """A field with weights, a buffer outside the state_dict and a weight that two layers share."""

    offset: Tensor

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.rand(2), persistent=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)) * t[:, None]) + self.offset


class OwnNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Tensor:
        return self.layer(x) * (t - s)[:, None]


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of what is saved: fields, networks, maps."""
    return SimpleNamespace(
        decay=decay,
        network=network,
        learned=learned,
        solved=solved,
        FieldNetwork=FieldNetwork,
        OwnNetwork=OwnNetwork,
    )


# ---------------------------------------------------------------------------- one of every kind


@dataclass(frozen=True)
class Kind:
    """How to make a map or network to save, and what loading it is supplied with."""

    make: Callable[[], nn.Module]
    supplied: dict[str, Any] = field(default_factory=dict)
    anew: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """Modules to supply, which are made for every load."""


def pendulum(t: Tensor, x: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)


GIVEN = {"field": decay}
KINDS: dict[str, Kind] = {
    **{
        f"solver, {method.__name__}": Kind(lambda method=method: solved(method=method()), GIVEN)
        for method in (
            solvers.Euler,
            solvers.Midpoint,
            solvers.Heun,
            solvers.Ralston,
            solvers.SSPRK3,
            solvers.Bosh3,
            solvers.RK4,
            solvers.Dop853,
        )
    },
    **{
        f"solver, {method.__name__}": Kind(
            lambda method=method: solved(pendulum, method=method()), {"field": pendulum}
        )
        for method in (solvers.SemiImplicitEuler, solvers.StormerVerlet, solvers.Yoshida4)
    },
    "solver, Tsit5": Kind(lambda: maps.SolverFlowMap(decay, max_steps=99, throw=False), GIVEN),
    "solver, Dopri5": Kind(
        lambda: maps.SolverFlowMap(
            decay,
            solvers.Dopri5(),
            rtol=1e-3,
            atol=1e-7,
            controller=solvers.I(safety=0.8),
            derivatives="independent",
            times=maps.TimeSet(0.0, max_span=3.0),
        ),
        GIVEN,
    ),
    "solver, torchdiffeq": Kind(
        lambda: maps.SolverFlowMap(
            decay, solvers.TorchDiffEq("rk4", adjoint=True, options={"step_size": 0.25})
        ),
        GIVEN,
    ),
    "solver, adjoint": Kind(
        lambda: solved(gradient=solvers.ContinuousAdjoint(rtol=1e-3, record=True)), GIVEN
    ),
    "solver, checkpoints": Kind(
        lambda: solved(gradient=solvers.DiscreteGradient(checkpoint=True)), GIVEN
    ),
    "solver of a problem": Kind(lambda: solved(problems.VanDerPol(2.0).field)),
    "solver of a network": Kind(lambda: solved(FieldNetwork(1)), anew={"field": FieldNetwork}),
    "solver of a learned field": Kind(lambda: solved(learned(seed=5).velocity)),
    "exact": Kind(exact, {"function": decayed}),
    "exact, with velocity": Kind(
        lambda: maps.ExactFlowMap(decayed, velocity=decay), {"function": decayed, "velocity": decay}
    ),
    "identity": Kind(maps.Identity),
    "mean velocity": Kind(learned),
    "mean velocity, bells": Kind(
        lambda: learned(
            activation="tanh",
            residual=True,
            angles=(1,),
            frequencies=(0.3, 1.7),
            input_scale=[0.1, 3.0],
            input_shift=(0.7, -0.1),
            output_scale=torch.tensor([0.3, 1.1]),
        )
    ),
    "endpoint": Kind(lambda: learned(maps.Endpoint(1.7))),
    "second order": Kind(lambda: learned(maps.SecondOrder(decay)), GIVEN),
    "second order of a problem": Kind(
        lambda: learned(maps.SecondOrder(problems.HarmonicOscillator(2.0).field))
    ),
    "one's own network": Kind(
        lambda: maps.NeuralFlowMap(OwnNetwork()), anew={"network": OwnNetwork}
    ),
    "conjugated": Kind(lambda: maps.Conjugated(rotation(), maps.Affine(0.1, [2.0, 0.3]))),
    "conjugated by functions": Kind(
        lambda: maps.Conjugated(rotation(), maps.FromFunctions(torch.sinh, torch.asinh)),
        {"function": torch.sinh, "inverse_function": torch.asinh},
    ),
    "piecewise": Kind(lambda: maps.Piecewise([learned(), learned(seed=1), rotation()], [0.2, 0.6])),
    "through": Kind(lambda: learned().through([0.1, 0.2, 0.75])),
    "autonomous": Kind(lambda: maps.Autonomous(learned(), 0.3)),
    "leg": Kind(lambda: learned().between(0.1, 0.7)),
    "leg of tensors": Kind(lambda: learned().between(torch.rand(3), torch.tensor(0.7))),
    "chain": Kind(lambda: learned(seed=1).between(0.3, 1.0) @ learned().between(0.0, 0.1 + 0.2)),
    "inverse": Kind(lambda: rotation().between(0.1, 0.7).inverse("newton")),
    "network": Kind(lambda: network(classes=3)),
    "nested": Kind(
        lambda: maps.Piecewise(
            [maps.Conjugated(learned(), maps.Affine(0.1, 1.2)), solved().through([0.7])], [0.5]
        ),
        GIVEN,
    ),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Runs a test on every kind."""
    return request.param


# ---------------------------------------------------------------------------- comparisons


def _values(module: nn.Module, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(3, 2, generator=generator, dtype=torch.float64).to(dtype)
    if isinstance(module, maps.TransitionMap):
        return module(x)
    s, t = (torch.tensor(times, dtype=dtype) for times in ([0.0, 0.3, 0.5], [0.9, 0.4, 0.5]))
    if isinstance(module, maps.FlowMap):
        return torch.cat([module(s, t, x), module(0.1, 0.8, x), module.velocity(t, x)])
    return module(s, t, x, torch.tensor([0, -1, 2]))


def _same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert theirs[name].dtype == tensor.dtype
        assert theirs[name].requires_grad == tensor.requires_grad
        assert torch.equal(theirs[name], tensor)


@pytest.fixture(scope="session")
def values() -> Callable[[nn.Module, torch.dtype], Tensor]:
    """``values(module, dtype)``: what a map or network gives at points of a dtype."""
    return _values


@pytest.fixture(scope="session")
def same() -> Callable[[dict[str, Tensor], dict[str, Tensor]], None]:
    """``same(ours, theirs)``: tensors by name agree in order, dtype, gradient and every bit."""
    return _same

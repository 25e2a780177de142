"""Derivatives in what the field holds: however it is held, at whatever level of a transform."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from flowmaps.solvers import RK4, TorchDiffEq, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

TIGHT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}
ADAPTIVE: dict[str, Any] = {"method": Tsit5(), **TIGHT}
FIXED: dict[str, Any] = {"method": RK4(), "steps": 40}
BOTH = pytest.mark.parametrize("options", [ADAPTIVE, FIXED], ids=["adaptive", "fixed"])
TORCHDIFFEQ = [{"method": TorchDiffEq(adjoint=adjoint), **TIGHT} for adjoint in (False, True)]


class Network(nn.Module):
    """A small field with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(torch.cat([x, t[:, None]], dim=1))))


def differences(network: Network, loss: Callable[[], Tensor], central: Callable) -> list[Tensor]:
    """Gradients of a loss in the parameters by central differences of order 6."""
    found = []
    for parameter in network.parameters():
        gradient = torch.zeros_like(parameter)
        for i in range(parameter.numel()):
            before = parameter.data.clone()

            def moved(step: Tensor, i=i, parameter=parameter, before=before) -> Tensor:
                parameter.data = before.clone()
                parameter.data.view(-1)[i] += step
                with torch.no_grad():
                    return loss()

            gradient.view(-1)[i] = central(moved, torch.zeros(()), torch.ones(()))
            parameter.data = before
        found.append(gradient)
    return found


def test_parameters_of_the_field_against_differences(central) -> None:
    network, x = Network(), torch.randn(3, 2)
    loss = lambda: solve(network, 0.0, 1.0, x, method=RK4(), steps=4).x.square().sum()  # noqa: E731
    expected = differences(network, loss, central)
    found = torch.autograd.grad(loss(), list(network.parameters()))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-9


@pytest.mark.parametrize(
    "options",
    [ADAPTIVE, *TORCHDIFFEQ],
    ids=["tsit5", "torchdiffeq", "adjoint"],
)
@pytest.mark.parametrize("kind", ["module", "method", "closure", "pytree"])
def test_parameters_however_they_are_held(kind, options) -> None:
    network, x = Network(), torch.randn(3, 2)
    parameters = list(network.parameters())
    truth = torch.autograd.grad(
        solve(network, 0.0, 1.0, x, method=RK4(), steps=40).x.square().sum(), parameters
    )
    field, start = {
        "module": (network, x),
        "method": (network.forward, x),
        "closure": (lambda t, x: network(t, x), x),
        "pytree": (lambda t, z: {"x": network(t, z["x"])}, {"x": x}),
    }[kind]
    end = solve(field, 0.0, 1.0, start, **options).x
    end = end["x"] if kind == "pytree" else end
    found = torch.autograd.grad(end.square().sum(), parameters)
    for a, b in zip(found, truth, strict=True):
        assert (a - b).abs().max() < 1e-5


@BOTH
@pytest.mark.parametrize(
    "nest", ["alone", "inside vmap", "around jvp", "around vmap", "around grad"]
)
def test_tangents_of_parameters(nest, options, central) -> None:
    """The field carries the tangents, at an outer level where x carries none or others."""
    network, x = Network(), torch.randn(3, 2)
    options = options | ({"rtol": 1e-8, "atol": 1e-8} if "rtol" in options else {"steps": 8})
    parameters = {k: p.detach() for k, p in network.named_parameters()}
    tangents = {k: torch.randn_like(p) for k, p in parameters.items()}

    def run(parameters: dict[str, Tensor], x: Tensor, solver: dict) -> Tensor:
        def field(t: Tensor, x: Tensor) -> Tensor:
            return torch.func.functional_call(network, parameters, (t, x))

        return solve(field, 0.0, 1.0, x, **solver).x

    def nested(parameters: dict[str, Tensor], solver: dict) -> Tensor:
        if nest == "around jvp":
            return jvp(lambda x: run(parameters, x, solver), (x,), (torch.ones_like(x),))[1]
        if nest == "around vmap":
            return torch.func.vmap(lambda x: run(parameters, x[None], solver)[0])(x)
        if nest == "around grad":
            return torch.func.grad(lambda x: run(parameters, x, solver).square().sum())(x)
        return run(parameters, x, solver)

    def moved(step: Tensor) -> Tensor:
        at = {k: p + step * tangents[k] for k, p in parameters.items()}
        return nested(at, {"method": RK4(), "steps": 8})

    truth = central(moved, torch.zeros(()), torch.ones(()))
    if nest == "inside vmap":
        two = {k: torch.stack([v, -v]) for k, v in tangents.items()}
        push = lambda v: jvp(lambda p: nested(p, options), (parameters,), (v,))[1]  # noqa: E731
        up, down = torch.func.vmap(push)(two)
        assert torch.allclose(up, -down)
        found = up
    else:
        _, found = jvp(lambda p: nested(p, options), (parameters,), (tangents,))
    assert (found - truth).abs().max() < 1e-5


@BOTH
@pytest.mark.parametrize("inner", ["vmap", "grad", "vmap of grad"])
def test_plain_derivatives_reach_into_transforms(inner, options, central) -> None:
    """Of a parameter that the field holds: by backward and by dual numbers."""
    x = torch.randn(3, 2)
    options = options | ({"rtol": 1e-8, "atol": 1e-8} if "rtol" in options else {"steps": 5})

    def run(k: Tensor) -> Tensor:
        def end(x: Tensor) -> Tensor:
            field = lambda t, x: -k * x**3 + torch.sin(t)[:, None]  # noqa: E731
            return solve(field, 0.0, 1.0, x, **options).x

        if inner == "vmap":
            return torch.func.vmap(lambda x: end(x[None])[0])(x)
        if inner == "grad":
            return torch.func.grad(lambda x: end(x).sum())(x)
        return torch.func.vmap(torch.func.grad(lambda x: end(x[None]).sum()))(x)

    k = torch.tensor(0.7)
    truth = central(run, k, torch.tensor(1.0))
    with forward_ad.dual_level():
        dual = run(forward_ad.make_dual(k, torch.tensor(1.0)))
        tangent = forward_ad.unpack_dual(dual).tangent
    assert tangent is not None
    assert (tangent - truth).abs().max() < 1e-5
    leaf = k.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run(leaf).sum(), leaf)
    assert gradient.item() == pytest.approx(truth.sum().item(), abs=1e-5)


def test_gradients_of_parameters_reach_through_an_inner_transform() -> None:
    network, x = Network(), torch.randn(3, 2)

    def rate(options: dict) -> Tensor:
        run = lambda x: solve(network, 0.0, 1.0, x, **options).x  # noqa: E731
        return jvp(run, (x,), (torch.ones_like(x),))[1].square().sum()

    found = torch.autograd.grad(rate(TIGHT), list(network.parameters()), allow_unused=True)
    truth = torch.autograd.grad(
        rate({"method": RK4(), "steps": 40}), list(network.parameters()), allow_unused=True
    )
    for a, b in zip(found, truth, strict=True):
        assert (a is None) == (b is None)  # the last bias moves no derivative, but by the others
        assert a is None or (a - b).abs().max() < 1e-6


def test_a_parameter_that_is_frozen_costs_no_graph() -> None:
    network = Network().requires_grad_(False)
    assert not solve(network, 0.0, 1.0, torch.randn(3, 2)).x.requires_grad

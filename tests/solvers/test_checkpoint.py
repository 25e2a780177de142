"""Backward with checkpoints: the same gradients, to rounding, in memory of sqrt(n)."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from flowmaps.solvers import (
    PI,
    RK4,
    ContinuousAdjoint,
    DiscreteGradient,
    Dop853,
    Rodas5P,
    Tsit5,
    solve,
)

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

SPARING = DiscreteGradient(checkpoint=True)
OPTIONS: dict[str, dict[str, Any]] = {
    "adaptive": {"method": Tsit5(), "rtol": 1e-7, "atol": 1e-7},
    "of high order": {"method": Dop853(), "rtol": 1e-9, "atol": 1e-9},
    "implicit": {"method": Rodas5P(), "rtol": 1e-5, "atol": 1e-5},
    "fixed": {"method": RK4(), "steps": 17},
    "one step": {"method": RK4(), "steps": 1},
    "stops": {"controller": PI(stops=(0.3, 0.8)), "rtol": 1e-5},
}
EVERY = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


class Network(nn.Module):
    """A field with parameters, and noise in training that a second run must draw again."""

    def __init__(self, width: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.dropout(self.layers(torch.cat([x, t[:, None]], dim=1)))


def leaves(network: nn.Module) -> list[Tensor]:
    s, t = torch.tensor([0.0, 1.0, 0.4]), torch.tensor([1.0, 0.1, 0.4])
    arguments = [a.requires_grad_() for a in (s, t, torch.randn(3, 2))]
    return [*arguments, *network.parameters()]


@EVERY
def test_gradients_are_the_same_to_rounding(options) -> None:
    network = Network()
    inputs = leaves(network)

    def gradients(**how: Any) -> tuple[Tensor, ...]:
        end = solve(network, *inputs[:3], **options, **how).x
        return torch.autograd.grad(end.square().sum(), inputs)

    for a, b in zip(gradients(), gradients(gradient=SPARING), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@EVERY
def test_second_derivatives_are_the_same_to_rounding(options) -> None:
    network = Network()
    inputs = leaves(network)

    def gradients(**how: Any) -> tuple[Tensor, ...]:
        end = solve(network, *inputs[:3], **options, **how).x
        first = torch.autograd.grad(end.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(a.square().sum() for a in first), inputs)

    for a, b in zip(gradients(), gradients(gradient=SPARING), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_recorded_steps_are_differentiated_too() -> None:
    network, times = Network(), torch.tensor([0.2, 0.5, 0.9])
    x = torch.randn(3, 2, requires_grad=True)

    def gradients(**how: Any) -> tuple[Tensor, ...]:
        saved = solve(network, 0.0, 1.0, x, save_at=times, **how).x
        return torch.autograd.grad(saved.square().sum(), [x, *network.parameters()])

    for a, b in zip(gradients(), gradients(gradient=SPARING), strict=True):
        assert torch.equal(a, b)


def test_random_numbers_are_drawn_again() -> None:
    network, x = Network(dropout=0.5), torch.randn(3, 2, requires_grad=True)

    def gradient(**how: Any) -> Tensor:
        torch.manual_seed(1)
        end = solve(network, 0.0, 1.0, x, method=RK4(), steps=9, check_field=False, **how).x
        return torch.autograd.grad(end.sum(), x)[0]

    assert torch.equal(gradient(), gradient(gradient=SPARING))


class Descent(nn.Module):
    """The field -DV of a potential, its derivative taken inside."""

    def __init__(self, inner: str) -> None:
        super().__init__()
        self.matrix, self.inner = nn.Parameter(torch.randn(2, 2)), inner

    def potential(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.matrix).square().sum()

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        if self.inner == "torch.func.grad":
            return -torch.func.grad(self.potential)(x)
        if self.inner == "jvp":
            return -jvp(lambda x: torch.sin(x @ self.matrix), (x,), (torch.ones_like(x),))[1]
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            return -torch.autograd.grad(self.potential(y), y, create_graph=True)[0]


@pytest.mark.parametrize("inner", ["autograd", "jvp", "torch.func.grad"])
def test_fields_that_differentiate(inner) -> None:
    field, x = Descent(inner), torch.randn(3, 2, requires_grad=True)

    def gradients(**how: Any) -> tuple[Tensor, ...]:
        end = solve(field, 0.0, 1.0, x, **how).x
        return torch.autograd.grad(end.square().sum(), (x, field.matrix))

    if inner == "torch.func.grad":  # which torch has no checkpoints of
        with pytest.warns(UserWarning, match="followed without, at the cost of memory"):
            sparing = gradients(gradient=SPARING)
    else:
        sparing = gradients(gradient=SPARING)
    for a, b in zip(gradients(), sparing, strict=True):
        assert torch.equal(a, b)


TRANSFORMS: dict[str, Callable[[Callable, Tensor], Any]] = {
    "jvp": lambda run, x: jvp(run, (x,), (torch.ones_like(x),)),
    "vjp": lambda run, x: torch.func.vjp(run, x)[1](torch.ones_like(x)),
    "jacfwd of jacrev": lambda run, x: torch.func.jacfwd(torch.func.jacrev(run))(x),
    "vmap of grad": lambda run, x: torch.func.vmap(
        torch.func.grad(lambda x: run(x[None]).square().sum())
    )(x),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=list(TRANSFORMS))
@pytest.mark.parametrize("options", [OPTIONS["adaptive"], OPTIONS["fixed"]], ids=["adaptive", "rk"])
def test_transforms_see_the_plain_steps(options, transform) -> None:
    network, x = Network().requires_grad_(False), torch.randn(2, 2)
    plain = transform(lambda x: solve(network, 0.0, 1.0, x, **options).x, x)
    sparing = transform(lambda x: solve(network, 0.0, 1.0, x, gradient=SPARING, **options).x, x)
    for a, b in zip(pytree.tree_leaves(plain), pytree.tree_leaves(sparing), strict=True):
        assert torch.equal(a, b)


# ---------------------------------------------------------------------------- memory


class Live(TorchDispatchMode):
    """Counts the bytes of all storages that were made inside and still live: now, and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for result in pytree.tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result.untyped_storage())
        return results

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += self.sizes[key]
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def most_bytes(network: Network, steps: int, gradient: Any) -> int:
    x = torch.ones(4, 2, requires_grad=True)
    with Live() as live:
        how: dict[str, Any] = {"method": RK4(), "steps": steps, "gradient": gradient}
        end = solve(network, 0.0, 1.0, x, check_field=False, **how).x
        torch.autograd.grad(end.sum(), [x, *network.parameters()])
    return live.most


def test_memory_grows_like_the_root_of_the_number_of_steps() -> None:
    network = Network(width=64)
    plain, sparing, adjoint = (
        [most_bytes(network, steps, gradient) for steps in (16, 256)]
        for gradient in (None, SPARING, ContinuousAdjoint(rtol=1e-3, atol=1e-3))
    )
    assert plain[1] > 12 * plain[0]  # sixteen times as many steps
    assert sparing[1] < 5 * sparing[0]  # four times as many checkpoints, as many steps between
    assert sparing[1] < plain[1] / 8
    assert adjoint[1] < 1.25 * adjoint[0]


def test_compiled_code_follows_the_plain_steps() -> None:
    network, x = Network(), torch.randn(3, 2, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        how: dict[str, Any] = {"method": RK4(), "steps": 5, "gradient": SPARING}
        return solve(network, 0.0, 1.0, x, check_field=False, **how).x.square().sum()

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    (found,), (truth,) = (torch.autograd.grad(run(x), x) for run in (compiled, loss))
    assert torch.allclose(found, truth)

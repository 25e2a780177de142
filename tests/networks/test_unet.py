"""The U-Net under every transformation it claims: derivatives, batches, compilation, precision."""

import copy
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

BATCH = 4
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one level": {"multipliers": (1,), "frequencies": (), "embedding": 5},
    "three levels": {"shape": (2, 8, 4), "multipliers": (1, 2, 1), "blocks": 2},
    "classes": {"classes": 4},
    "vectors": {"condition_dim": 2, "time_scale": 2.0},
    "attention": {"attention": (2, 4), "heads": 2, "classes": 4},
}

Arguments = tuple[Tensor, Tensor, Tensor, Tensor | None]


def randomised(network: fm.networks.UNet, spread: float = 0.3) -> fm.networks.UNet:
    """Much of a network starts at zero, where nothing can be told apart."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=spread)
    return network


def build(kind: str) -> fm.networks.UNet:
    settings = {"shape": (1, 4, 4), "width": 4, "blocks": 1, **KINDS[kind]}
    return randomised(fm.networks.UNet(**settings))


def arguments(network: fm.networks.UNet, batch: int = BATCH) -> Arguments:
    s, span, x = torch.rand(batch), torch.rand(batch), torch.randn(batch, *network.shape)
    condition = None
    if network.class_features is not None:
        condition = torch.arange(batch) % 5 - 1
    elif network.condition_dim:
        condition = torch.randn(batch, network.condition_dim)
    return s, s + span, x, condition


def rows(arguments: Arguments, index: Any) -> Arguments:
    s, t, x, condition = arguments
    return s[index], t[index], x[index], None if condition is None else condition[index]


def along_a_line(network: fm.networks.UNet, which: str = "stx") -> Callable[[Tensor], Tensor]:
    """The network on a straight line through some of s, t and x, by the line's parameter."""
    s, t, x, condition = arguments(network)
    ds, dt, dx = (
        torch.randn_like(a) * (name in which) for a, name in zip((s, t, x), "stx", strict=True)
    )
    return lambda r: network(s + r * ds, t + r * dt, x + r * dx, condition)


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return torch.func.jvp(function, (at,), (torch.ones_like(at),))[1]


def central(function: Callable[[Tensor], Tensor], step: float = 1e-4) -> Tensor:
    """Central difference of order four at 0."""
    f = [function(torch.tensor(k * step)) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


# ---------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("which", ["s", "t", "x", "stx"])
@pytest.mark.parametrize("kind", KINDS)
def test_jvp_is_the_central_difference(kind: str, which: str) -> None:
    function = along_a_line(build(kind), which)
    derivative = slope(function, torch.tensor(0.0))
    torch.testing.assert_close(derivative, central(function), rtol=1e-7, atol=1e-8)
    assert derivative.abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_jvp_of_jvp_is_the_central_difference_of_jvp(kind: str) -> None:
    function = along_a_line(build(kind))
    first = lambda r: slope(function, r)  # noqa: E731
    second = slope(first, torch.tensor(0.0))
    torch.testing.assert_close(second, central(first), rtol=1e-6, atol=1e-7)
    assert second.abs().max() > 1e-3  # silently zero would be the classic failure
    with torch.no_grad():  # as a solver or an analysis calls it
        torch.testing.assert_close(slope(first, torch.tensor(0.0)), second)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_reverse_mode_are_adjoint(kind: str) -> None:
    """<w, J v> = <J^T w, v> with v in s, t and x together."""
    network = build(kind)
    *point, condition = arguments(network)
    at = tuple(point)
    function = lambda s, t, x: network(s, t, x, condition)  # noqa: E731
    directions = tuple(torch.randn_like(a) for a in at)
    value, forward = torch.func.jvp(function, at, directions)
    weight = torch.randn_like(value)
    backward = torch.func.vjp(function, *at)[1](weight)
    products = [(a * b).sum() for a, b in zip(backward, directions, strict=True)]
    torch.testing.assert_close((weight * forward).sum(), torch.stack(products).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_jvp_is_the_central_difference(kind: str) -> None:
    """What self-distillation does: reverse over forward, in all weights at once."""
    network = build(kind)
    s, t, x, condition = arguments(network)
    weights = {name: p.detach() for name, p in network.named_parameters()}
    directions = {name: torch.randn_like(p) for name, p in weights.items()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        call = lambda t: torch.func.functional_call(network, weights, (s, t, x, condition))  # noqa: E731
        return torch.func.jvp(call, (t,), (torch.ones_like(t),))[1].square().mean()

    gradient = torch.func.grad(loss)(weights)
    product = torch.stack([(gradient[n] * d).sum() for n, d in directions.items()]).sum()
    moved = lambda r: loss({n: w + r * directions[n] for n, w in weights.items()})  # noqa: E731
    torch.testing.assert_close(product, central(moved, 1e-5), rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------- batches


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_same_alone_in_a_batch_and_under_vmap(kind: str) -> None:
    network = build(kind)
    given = arguments(network)
    whole = network(*given)
    alone = torch.cat([network(*rows(given, slice(i, i + 1))) for i in range(BATCH)])
    torch.testing.assert_close(alone, whole)
    one = lambda *sample: network(*(None if a is None else a[None] for a in sample))[0]  # noqa: E731
    axes = tuple(None if a is None else 0 for a in given)
    torch.testing.assert_close(torch.func.vmap(one, in_dims=axes)(*given), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_the_batch_permutes_the_result(kind: str) -> None:
    network = build(kind)
    given = arguments(network)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(*rows(given, order)), network(*given)[order])


def test_vmapped_gradients_are_those_of_single_samples() -> None:
    network = build("attention")
    s, t, x, condition = arguments(network)
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def loss(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        batch = tuple(a[None] for a in sample)
        return torch.func.functional_call(network, weights, batch).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0, 0))
    together = per_sample(weights, s, t, x, condition)
    network(s, t, x, condition).square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(together[name].sum(0), parameter.grad)


def test_an_empty_batch_is_an_empty_result() -> None:
    network = build("attention")
    assert network(*rows(arguments(network), slice(0))).shape == (0, 1, 4, 4)


# ---------------------------------------------------------------------------- compilation


def time_derivative(network: fm.networks.UNet) -> Callable[..., tuple[Tensor, Tensor]]:
    def derivative(s: Tensor, t: Tensor, x: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(lambda t: network(s, t, x, condition), (t,), (torch.ones_like(t),))

    return derivative


@pytest.mark.slow
def test_a_compiled_jvp_is_the_eager_one() -> None:
    torch._dynamo.reset()
    network = build("attention")
    given = arguments(network)
    function = time_derivative(network)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), function(*given))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inductor_compiles_a_derivative_and_its_gradient() -> None:
    """The engine's own way to compile what contains a jvp."""
    from flowmaps.training._compiling import compiled

    torch._dynamo.reset()
    network = randomised(
        fm.networks.UNet((1, 4, 4), 4, (1,), blocks=1, attention=(4,), heads=2, classes=4)
    ).float()
    s, t, x, condition = arguments(network)
    given = (s.float(), t.float(), x.float(), condition)
    derivative = time_derivative(network)

    def loss(s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Tensor:
        value, tangent = derivative(s, t, x, condition)
        return (value - tangent).square().mean()

    results = []
    for function in (loss, compiled(loss, True)):
        network.zero_grad()
        total = function(*given)
        total.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([total.detach(), *gradients])
    assert len(results[0]) == 1 + len(list(network.parameters()))
    for ours, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------- precision, layout


@pytest.mark.parametrize("settings", [{}, {"attention": (8, 4)}], ids=str)
def test_bfloat16_weights_give_tangents_as_good_as_values(settings: dict[str, Any]) -> None:
    """Against the same weights and inputs, all of them exact in bfloat16, in float64."""
    low = fm.networks.UNet((1, 8, 8), width=32, blocks=1, **settings).bfloat16()
    for parameter in low.parameters():
        if not parameter.any() and parameter.ndim > 1:  # as large as those that do not start at 0
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    high = copy.deepcopy(low).double()
    s, t, x, _ = arguments(high, 64)
    s, t, x = s.float(), t.float(), x.bfloat16()
    value, tangent = time_derivative(low)(s, t, x, None)
    assert value.dtype == tangent.dtype == torch.bfloat16
    exact_value, exact_tangent = time_derivative(high)(s.double(), t.double(), x.double(), None)
    assert error(value, exact_value) < 0.015
    assert error(tangent, exact_tangent) < 0.025
    wide = time_derivative(low)(s, t, x.float(), None)
    assert wide[0].dtype == wide[1].dtype == torch.float32  # bfloat16 weights, float32 images


def error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


def test_channels_last_is_the_same_network() -> None:
    network = build("attention")
    s, t, x, condition = arguments(network)
    expected = time_derivative(network)(s, t, x, condition)
    turned = network.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(time_derivative(turned)(s, t, x, condition), expected)

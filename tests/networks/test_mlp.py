"""The multilayer perceptron: features, shapes, conditions, and every transformation it claims."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.networks._layers import RMSNorm

BATCH = 5
KINDS: dict[str, dict[str, Any]] = {
    "silu": {"activation": "silu"},
    "tanh": {"activation": "tanh"},
    "angles": {"angles": (1,), "frequencies": (), "input_shift": [0.5, 0.0, 0.0]},
    "continuous condition": {"condition_dim": 2},
    "classes": {"classes": 4},
    "residual": {"residual": True},
    "residual classes": {"residual": True, "classes": 4, "activation": "tanh"},
}


def randomised(network: fm.networks.MLP, spread: float = 0.3) -> fm.networks.MLP:
    """The head starts at zero, where nothing can be told apart."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=spread)
    return network


def build(kind: str, **settings: Any) -> fm.networks.MLP:
    return randomised(fm.networks.MLP(dim=3, width=16, depth=2, **KINDS[kind], **settings))


def arguments(kind: str, batch: int = BATCH) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    s, span, x = torch.rand(batch), torch.rand(batch), torch.randn(batch, 3)
    condition = None
    if "classes" in kind:
        condition = torch.arange(batch) % 5 - 1
    elif "condition" in kind:
        condition = torch.randn(batch, 2)
    return s, s + span, x, condition


def span_of(network: fm.networks.MLP) -> nn.Parameter:
    """The weights by which the span enters."""
    found = [p for name, p in network.named_parameters() if name.endswith("span.weight")]
    assert len(found) == 1
    return found[0]


def along_a_line(kind: str) -> tuple[Callable[[Tensor], Tensor], fm.networks.MLP]:
    """The network on a straight line through s, t and x, by the line's parameter."""
    network = build(kind)
    s, t, x, condition = arguments(kind)
    ds, dt, dx = torch.randn_like(s), torch.randn_like(t), torch.randn_like(x)
    return lambda r: network(s + r * ds, t + r * dt, x + r * dx, condition), network


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return torch.func.jvp(function, (at,), (torch.ones_like(at),))[1]


def central(function: Callable[[Tensor], Tensor], step: float = 1e-4) -> Tensor:
    """Central difference of order four at 0."""
    f = [function(torch.tensor(k * step)) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


# ---------------------------------------------------------------------------- transformations


@pytest.mark.parametrize("kind", KINDS)
def test_jvp_is_the_central_difference(kind: str) -> None:
    function, _ = along_a_line(kind)
    torch.testing.assert_close(
        slope(function, torch.tensor(0.0)), central(function), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_jvp_of_jvp_is_the_central_difference_of_jvp(kind: str) -> None:
    function, _ = along_a_line(kind)
    first = lambda r: slope(function, r)  # noqa: E731
    second = slope(first, torch.tensor(0.0))
    torch.testing.assert_close(second, central(first), rtol=1e-7, atol=1e-8)
    assert second.abs().max() > 1e-3  # silently zero would be the classic failure
    with torch.no_grad():  # as a solver or an analysis calls it
        torch.testing.assert_close(slope(first, torch.tensor(0.0)), second)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_jvp_is_the_central_difference(kind: str) -> None:
    function, network = along_a_line(kind)
    slope(function, torch.tensor(0.0)).square().sum().backward()
    weight = network.head.weight
    assert weight.grad is not None
    direction = torch.randn_like(weight)

    def moved(r: Tensor) -> Tensor:
        changed = {"head.weight": weight.detach() + r * direction}
        with_change = lambda q: torch.func.functional_call(network, changed, on_line(q))  # noqa: E731
        return slope(with_change, torch.tensor(0.0)).square().sum()

    torch.manual_seed(0)
    network_again = build(kind)
    s, t, x, condition = arguments(kind)
    ds, dt, dx = torch.randn_like(s), torch.randn_like(t), torch.randn_like(x)
    assert torch.equal(network_again.head.weight, weight)
    on_line = lambda q: (s + q * ds, t + q * dt, x + q * dx, condition)  # noqa: E731
    torch.testing.assert_close(
        (weight.grad * direction).sum(), central(moved), rtol=1e-7, atol=1e-8
    )


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_is_the_loop(kind: str) -> None:
    network = build(kind)
    s, t, _, condition = arguments(kind)
    many = torch.randn(3, BATCH, 3)
    batched = torch.func.vmap(lambda x: network(s, t, x, condition))(many)
    torch.testing.assert_close(batched, torch.stack([network(s, t, x, condition) for x in many]))


@pytest.mark.parametrize("kind", ["silu", "residual classes"])
def test_a_compiled_jvp_is_the_eager_one(kind: str) -> None:
    network = build(kind)
    s, t, x, condition = arguments(kind)

    def derivative(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.func.jvp(lambda t: network(s, t, x, condition), (t,), (torch.ones_like(t),))[1]

    compiled = torch.compile(derivative, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(s, t, x), derivative(s, t, x))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_weights_give_tangents_as_good_as_values(kind: str) -> None:
    network = build(kind).float()
    s, t, x, condition = arguments(kind, 256)
    s, t, x = s.float(), t.float(), x.float()
    if condition is not None and condition.is_floating_point():
        condition = condition.float()

    def of_time(network: nn.Module, x: Tensor) -> Any:
        along = lambda t: network(s, t, x, condition)  # noqa: E731
        return torch.func.jvp(along, (t,), (torch.ones_like(t),))

    value, tangent = of_time(network, x)
    low_value, low_tangent = of_time(network.bfloat16(), x.bfloat16())
    assert low_value.dtype == low_tangent.dtype == torch.bfloat16

    def error(low: Tensor, high: Tensor) -> float:
        return ((low.float() - high).norm() / high.norm()).item()

    assert error(low_value, value) < 0.02
    assert error(low_tangent, tangent) < 0.03
    assert of_time(network, x)[1].dtype == torch.float32  # bfloat16 weights under a float32 state


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_see_its_neighbours(kind: str) -> None:
    network = build(kind)
    s, t, x, condition = arguments(kind)
    whole = network(s, t, x, condition)
    alone = [
        network(
            s[i : i + 1],
            t[i : i + 1],
            x[i : i + 1],
            None if condition is None else condition[i : i + 1],
        )
        for i in range(BATCH)
    ]
    torch.testing.assert_close(torch.cat(alone), whole)


# ---------------------------------------------------------------------------- what it computes


def test_a_new_network_is_zero() -> None:
    for residual in (False, True):
        network = fm.networks.MLP(dim=3, width=16, depth=2, residual=residual)
        assert torch.equal(network(*arguments("silu")), torch.zeros(BATCH, 3))


def test_events_are_flattened_and_restored(default_dtype: torch.dtype) -> None:
    network = randomised(fm.networks.MLP(dim=6, width=16, depth=2))
    s, t, x = torch.rand(4), torch.rand(4), torch.randn(4, 2, 3)
    y = network(s, t, x)
    assert y.shape == x.shape and y.dtype == default_dtype
    assert torch.equal(y.reshape(4, 6), network(s, t, x.reshape(4, 6)))
    assert network(s[:0], t[:0], x[:0]).shape == (0, 2, 3)


def test_an_angle_has_its_period() -> None:
    network = build("angles")
    s, t, x, _ = arguments("angles")
    turned = x + torch.tensor([0.0, 2 * math.pi, 0.0])
    torch.testing.assert_close(network(s, t, turned), network(s, t, x))
    moved = x + torch.tensor([2 * math.pi, 0.0, 0.0])
    assert (network(s, t, moved) - network(s, t, x)).abs().max() > 1e-2


def test_inputs_and_outputs_are_scaled() -> None:
    plain = build("silu")
    scaled = fm.networks.MLP(
        dim=3,
        width=16,
        depth=2,
        input_shift=[1.0, 2.0, 3.0],
        input_scale=[2.0, 2.0, 4.0],
        output_scale=[1.0, 10.0, 0.1],
    )
    scaled.load_state_dict(plain.state_dict())
    s, t, x, _ = arguments("silu")
    inside = x * torch.tensor([2.0, 2.0, 4.0]) + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(
        scaled(s, t, inside), plain(s, t, x) * torch.tensor([1.0, 10.0, 0.1])
    )


UNITS: dict[str, Any] = {
    "angles": (1,),
    "frequencies": (10.03, 0.3),
    "input_shift": [273.15, 0.0, 0.1],
    "input_scale": [0.1, 1.0, 3.3],
    "output_scale": [0.3, 1.7, 0.1],
}


@pytest.mark.parametrize("convert", ["bfloat16", "half", "float", "double"])
def test_physical_constants_are_exact_in_every_precision(convert: str) -> None:
    """Only weights are rounded: they are all that differs from a network built with them."""
    network = randomised(fm.networks.MLP(dim=3, width=16, depth=2, **UNITS))
    low = getattr(copy.deepcopy(network), convert)()
    exact = fm.networks.MLP(dim=3, width=16, depth=2, **UNITS).double()
    exact.load_state_dict(low.state_dict())
    s, t, x, _ = arguments("silu")
    x = x + torch.tensor([273.15, 0.0, 0.0])
    if convert == "double":
        assert torch.equal(low(s, t, x), exact(s, t, x))
        assert torch.equal(low(s, t, x), network(s, t, x))
        return
    s, t, x = s.float(), t.float(), x.float()
    expected = exact(s.double(), t.double(), x.double())
    rounding = torch.finfo(low.head.weight.dtype).eps
    error = (low(s, t, x) - expected).abs().max() / expected.abs().max()
    assert error < 20 * rounding + 3e-3  # float32 knows 273.15 to 1e-5, a tenth of a percent here


def test_constants_survive_a_network_made_without_memory() -> None:
    network = randomised(fm.networks.MLP(dim=3, width=8, depth=1, **UNITS)).bfloat16()
    with torch.device("meta"):
        empty = fm.networks.MLP(dim=3, width=8, depth=1, **{**UNITS, "angles": ()}).bfloat16()
    filled = empty.to_empty(device="cpu")
    assert filled.output_scale(torch.float64).tolist() == UNITS["output_scale"]
    assert filled.state_features.scale(torch.float64).tolist() == UNITS["input_scale"]
    assert network.state_features.shift(torch.float64).tolist() == [273.15, 0.1]
    assert "exact" not in " ".join(network.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_does_not_depend_on_the_span(kind: str) -> None:
    network = build(kind)
    nn.init.zeros_(span_of(network))
    s, t, x, condition = arguments(kind)
    assert torch.equal(network(s, t, x, condition), network(s, s, x, condition))
    assert not torch.allclose(network(s, t, x, condition), network(t, t, x, condition))
    assert not span_of(fm.networks.MLP(dim=3, width=16, depth=2, **KINDS[kind])).any()
    eager = fm.networks.MLP(dim=3, width=16, depth=2, span_gain=1.0, **KINDS[kind])
    assert span_of(eager).all()


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_diagonal_the_span_never_matters(kind: str) -> None:
    """So flow matching, which sees the diagonal alone, leaves the span's weights at zero."""
    network = build(kind)
    s, t, x, condition = arguments(kind)
    diagonal, off = network(s, s, x, condition), network(s, t, x, condition)
    diagonal.square().sum().backward()
    span = span_of(network)
    assert span.grad is not None and span.grad.abs().max() == 0.0
    with torch.no_grad():
        span.zero_()
    assert torch.equal(network(s, s, x, condition), diagonal)
    assert not torch.allclose(network(s, t, x, condition), off)


@pytest.mark.parametrize("residual", [False, True])
def test_after_flow_matching_the_map_is_the_euler_step(residual: bool) -> None:
    torch.set_default_dtype(torch.float32)
    network = fm.networks.MLP(dim=2, width=16, depth=2, residual=residual)
    learned = fm.maps.NeuralFlowMap(network)
    data = fm.objectives.Pairs(None, torch.randn(200, 2) + 3)
    matching = fm.objectives.flow_matching()
    fm.training.fit(learned, matching, data, steps=20, batch=32, progress=False)
    s, t, x = torch.rand(9), torch.rand(9), torch.randn(9, 2)
    first, last = torch.minimum(s, t), torch.maximum(s, t)
    step = (last - first)[:, None] * learned.velocity(first, x)
    assert step.abs().max() > 0.01
    torch.testing.assert_close(learned(first, last, x), x + step)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    """The head starts at zero, span and second layers too: each step wakes what lies behind one."""
    network = fm.networks.MLP(dim=3, width=16, depth=2, **KINDS[kind])
    update = torch.optim.Adam(network.parameters(), lr=1e-2)
    s, t, x, condition = arguments(kind)
    for _ in range(4):
        network.zero_grad()
        (network(s, t, x, condition) - x.flip(1)).square().mean().backward()
        update.step()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_no_class_is_a_class_of_its_own() -> None:
    network = build("classes")
    s, t, x, _ = arguments("classes")
    values = [network(s, t, x, torch.full((BATCH,), label)) for label in (-1, 0, 1, 2, 3)]
    distances = torch.pdist(torch.stack(values).flatten(1))
    assert distances.min() > 1e-3
    assert torch.equal(values[1], network(s, t, x, torch.zeros(BATCH, dtype=torch.int32)))
    with pytest.raises(IndexError, match=r"labels must be in 0\.\.\d+, or -1"):
        network(s, t, x, torch.full((BATCH,), 4))
    with pytest.raises(IndexError, match=r"labels must be in 0\.\.\d+, or -1"):
        network(s, t, x, torch.full((BATCH,), -2))


def test_rms_norm_keeps_statistics_in_float32() -> None:
    # In bfloat16 the squares of 300 sum to 2^k steps and miss by percents.
    x = torch.full((1, 4096), 300.0, dtype=torch.bfloat16)
    assert RMSNorm(4096).bfloat16()(x).float().sub(1).abs().max() < 1e-6


def test_numbers_of_numpy_make_a_network_too() -> None:
    settings = {"dim": np.int64(3), "width": np.int32(8), "classes": np.int64(4)}
    network = fm.networks.MLP(**settings, depth=1, input_scale=np.ones(3))
    again = fm.networks.MLP(**json.loads(json.dumps(network.config())))
    again.load_state_dict(network.state_dict())
    assert again.config()["input_scale"] == [1.0, 1.0, 1.0]


def test_config_rebuilds_the_network() -> None:
    for settings in KINDS.values():
        network = fm.networks.MLP(dim=3, width=16, depth=2, output_scale=torch.ones(3), **settings)
        again = fm.networks.MLP(**json.loads(json.dumps(network.config())))
        again.load_state_dict(network.state_dict())
        assert again.config() == network.config()

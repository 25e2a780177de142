"""Value and tangent by hand, of the perceptron and maps made of it, are forward mode's."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import flowmaps as fm

BATCH = 5
KINDS: dict[str, dict[str, Any]] = {
    "silu": {},
    "tanh": {"activation": "tanh", "anchor": "end"},
    "angles and units": {
        "angles": (1,),
        "frequencies": (),
        "input_shift": [0.5, 0.0, -1.0],
        "input_scale": [2.0, 1.0, 0.3],
        "output_scale": [3.0, 0.5, 1.0],
        "time_scale": 2.0,
    },
    "continuous condition": {"condition_dim": 2},
    "classes": {"classes": 4, "activation": "tanh"},
    "residual": {"residual": True},
    "residual continuous": {"residual": True, "condition_dim": 2, "anchor": "end"},
    "residual classes": {"residual": True, "classes": 4, "activation": "tanh"},
}
EACH = pytest.mark.parametrize("kind", KINDS)


def build(kind: str) -> fm.networks.MLP:
    network = fm.networks.MLP(dim=3, width=16, depth=2, **KINDS[kind])
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def drawn(kind: str) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
    """Arguments of a map, and a tangent of each."""
    s = torch.rand(BATCH)
    along: dict[str, Any] = {"ds": torch.randn(BATCH), "dt": torch.randn(BATCH)}
    along["dx"] = torch.randn(BATCH, 3)
    if "classes" in kind:
        along["condition"] = torch.arange(BATCH) - 1
    elif "continuous" in kind:
        along["condition"], along["dcondition"] = torch.randn(2, BATCH, 2).unbind()
    return (s, s + torch.rand(BATCH), torch.randn(BATCH, 3)), along


def a_map(kind: str, parametrization: fm.maps.Parametrization | None = None) -> fm.maps.FlowMap:
    return fm.maps.NeuralFlowMap(build(kind), parametrization, fm.maps.TimeSet())


@EACH
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_perceptron(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    learned, (at, along) = a_map(kind), drawn(kind)
    found, known = fm.calculus.dual(learned, *at, **along), fm.calculus.jvp(learned, *at, **along)
    torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


@EACH
def test_gradients_through_a_dual(kind: str) -> None:
    learned, (at, along) = a_map(kind), drawn(kind)
    weights = list(learned.parameters())
    gradients = [
        torch.autograd.grad(by(learned, *at, **along)[1].square().sum(), weights, allow_unused=True)
        for by in (fm.calculus.dual, fm.calculus.jvp)
    ]
    for found, known in zip(*gradients, strict=True):
        # a weight that the tangent does not see has no gradient, or one of zero
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if found is None else found,
            torch.zeros_like(zero if found is None else found) if known is None else known,
            rtol=1e-10,
            atol=1e-10,
        )


def field(t: Tensor, x: Tensor) -> Tensor:
    return torch.sin(x.flip(1)) * t[:, None]


@pytest.mark.parametrize(
    "parametrization",
    [fm.maps.MeanVelocity(), fm.maps.Endpoint(2.5), fm.maps.SecondOrder(field)],
    ids=lambda p: type(p).__name__,
)
def test_parametrisations(parametrization: fm.maps.Parametrization) -> None:
    learned, (at, along) = a_map("residual", parametrization), drawn("residual")
    found, known = fm.calculus.dual(learned, *at, **along), fm.calculus.jvp(learned, *at, **along)
    torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)


def test_an_endpoint_at_its_end_is_not_a_number() -> None:
    learned = fm.maps.NeuralFlowMap(build("silu"), fm.maps.Endpoint(1.0))
    tangent = fm.calculus.dual(learned, 1.0, 1.0, torch.zeros(2, 3), dt=1.0)[1]
    assert bool(tangent.isnan().all())


def test_times_that_are_not_trained() -> None:
    learned = fm.maps.NeuralFlowMap(build("silu"))
    with pytest.raises(fm.errors.UntrainedTimes):
        fm.calculus.dual(learned, 1.0, 0.0, torch.zeros(2, 3), dt=1.0)
    s, t = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    for part in fm.calculus.dual(learned, s, t, torch.zeros(2, 3), dt=1.0):
        assert part.isnan().any(1).tolist() == [False, True]


@pytest.mark.parametrize("kind", ["silu", "residual classes"])
def test_compiled_and_vmapped(kind: str) -> None:
    learned, (at, along) = a_map(kind), drawn(kind)
    plain = fm.calculus.dual(learned, *at, **along)

    def evaluate(dx: Tensor) -> tuple[Tensor, Tensor]:
        return fm.calculus.dual(learned, *at, **(along | {"dx": dx}))

    compiled = torch.compile(evaluate, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(along["dx"]), plain)
    many = torch.func.vmap(evaluate)(torch.stack([along["dx"]] * 2))
    torch.testing.assert_close(many[1][1], plain[1])


def test_low_precision_weights() -> None:
    """The dtype of the states comes back, and the tangent is as good as the value."""
    network = build("residual")
    at, along = drawn("residual")
    known = fm.calculus.jvp(fm.maps.NeuralFlowMap(network, times=fm.maps.TimeSet()), *at, **along)
    low = fm.maps.NeuralFlowMap(network.bfloat16(), times=fm.maps.TimeSet())
    single = {name: part.float() for name, part in along.items()}
    found = fm.calculus.dual(low, *[part.float() for part in at], **single)
    for ours, theirs in zip(found, known, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_bad_tangents_are_refused() -> None:
    class Value(nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None) -> Tensor:
            return x

        def dual(self, s: Tensor, t: Tensor, x: Tensor, *rest: Any) -> Tensor:
            return x

    class Own(fm.maps.Parametrization):
        def forward(self, network: Any, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
            return x

        def velocity(self, network: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
            return x

    x, learned = torch.zeros(2, 3), a_map("continuous condition")
    condition = torch.zeros(2, 2)
    with pytest.raises(TypeError, match=r"must return \(value, tangent\), got a tensor"):
        fm.calculus.dual(fm.maps.NeuralFlowMap(Value()), 0.0, 1.0, x)
    with pytest.raises(TypeError, match="Own has no method dual; write one by the chain rule"):
        fm.calculus.dual(a_map("silu", Own()), 0.0, 1.0, x)
    with pytest.raises(ValueError, match="dx must have its primal's shape"):
        fm.calculus.dual(a_map("silu"), 0.0, 1.0, x, dx=x[:1])
    with pytest.raises(ValueError, match="dcondition must have condition's structure"):
        fm.calculus.dual(learned, 0.0, 1.0, x, condition=condition, dcondition=[condition])

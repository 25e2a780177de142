"""Learned maps: what a parametrisation promises, whatever the network."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm

C, M = fm.calculus, fm.maps


class Formula(nn.Module):
    """A network that is a formula of s, t, x."""

    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor]):
        super().__init__()
        self.formula = formula

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
        return self.formula(s[:, None], t[:, None], x)


def field(t: Tensor, x: Tensor) -> Tensor:
    return torch.sin(x) + t[:, None]


# dx/dt = -x: X = x exp(s - t), written as each parametrisation's network would have to.
DECAY = {
    "mean velocity": (
        M.MeanVelocity(),
        lambda s, t, x: (
            x * torch.where(s == t, -1.0, torch.expm1(s - t) / (t - s + 1.0 * (s == t)))
        ),
    ),
    "endpoint": (
        M.Endpoint(1.5),
        lambda s, t, x: x * (1 + torch.expm1(s - t) * (1.5 - s) / torch.where(s == t, 1.0, t - s)),
    ),
    "second order": (
        M.SecondOrder(lambda t, x: -x),
        lambda s, t, x: (
            2 * x * (torch.expm1(s - t) + t - s) / torch.where(s == t, 1.0, (t - s) ** 2)
        ),
    ),
}


@pytest.mark.parametrize("name", DECAY)
def test_each_parametrisation_can_be_the_exact_flow(name: str) -> None:
    parametrization, formula = DECAY[name]
    flow = M.NeuralFlowMap(Formula(formula), parametrization, M.TimeSet(0.0, 1.0))
    s, t = torch.tensor([0.1, 0.9, 0.2]), torch.tensor([0.8, 0.3, 0.9])
    x = torch.tensor([[1.0, -2.0], [0.5, 0.1], [3.0, 0.0]])
    torch.testing.assert_close(flow(s, t, x), x * torch.exp(s - t)[:, None])
    residual = fm.residuals.lagrangian(flow, lambda t, x: -x, s, t, x)
    torch.testing.assert_close(residual, torch.zeros_like(x), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    "parametrization",
    [M.MeanVelocity(), M.Endpoint(1.5), M.SecondOrder(field)],
    ids=lambda p: type(p).__name__,
)
@given(s=st.floats(0, 1), t=st.floats(0, 1), seed=st.integers(0, 100))
def test_the_diagonal_holds_by_construction(
    parametrization: M.Parametrization, s: float, t: float, seed: int
) -> None:
    """X_{t,t} = id to the last bit; the velocity is the tangent there, by values."""
    generator = torch.Generator().manual_seed(seed)
    net = fm.networks.MLP(dim=2, width=6, depth=1)
    for p in net.parameters():
        nn.init.normal_(p, generator=generator)
    flow = M.NeuralFlowMap(net, parametrization, M.TimeSet())
    x = torch.randn(3, 2, generator=generator)
    assert torch.equal(flow(t, t, x), x)
    slope = (flow(t, t + 1e-5, x) - flow(t, t - 1e-5, x)) / 2e-5
    torch.testing.assert_close(flow.velocity(t, x), slope, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(C.time_derivative(flow, t, t, x), flow.velocity(t, x))
    if isinstance(parametrization, M.SecondOrder):
        assert torch.equal(flow.velocity(t, x), field(torch.full((3,), t), x))


def test_the_endpoint_is_singular_where_it_says() -> None:
    """At s = T: identity at t = T, NaN at every other t, time derivatives not finite."""
    flow = M.NeuralFlowMap(Formula(lambda s, t, x: 2 * x), M.Endpoint(1.0), M.TimeSet())
    x = torch.ones(3, 1)
    s, t = torch.tensor([1.0, 1.0, 0.5]), torch.tensor([1.0, 0.7, 1.0])
    y = flow(s, t, x)
    assert y[0] == 1 and y[1].isnan() and y[2] == 2
    for tangent in ({"dt": 1.0}, {"ds": 1.0}):
        slope = C.jvp(flow, s, t, x, **tangent)[1]
        assert (~torch.isfinite(slope)).flatten().tolist() == [True, True, False]
    moved = C.directional(flow, s, t, x, x)
    assert moved[0] == 1 and moved[1].isnan() and moved[2] == 2
    assert flow.velocity(1.0, x).isnan().all()
    times = t.clone().requires_grad_()
    flow(s, times, x).nansum().backward()
    assert torch.isfinite(times.grad).tolist() == [False, False, True]


def test_half_precision_weights_and_states() -> None:
    """bf16 weights, or states: times come in float32, values in the dtype of x."""
    seen = []

    class Net(nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> Tensor:
            seen.append((s.dtype, t.dtype))
            return (x.to(torch.bfloat16) * 2).to(torch.bfloat16)

    flow = M.NeuralFlowMap(Net())
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        y = flow(0.0, 0.5, torch.ones(2, 2, dtype=dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), torch.full((2, 2), 2.0, dtype=torch.float32))
        slope = C.time_derivative(flow, 0.0, 0.5, torch.ones(2, 2, dtype=dtype))
        assert slope.dtype == dtype
    assert set(seen) == {(torch.float32, torch.float32)}


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (lambda x: x[:1], ValueError, "the network must return the state's shape"),
        (lambda x: (x, x), TypeError, "the network must return a tensor, got tuple"),
        (lambda x: x.to("meta"), ValueError, "the network must return a tensor on cpu"),
    ],
)
def test_what_a_network_returns_is_checked(
    output: Callable[[Tensor], object], error: type[Exception], message: str
) -> None:
    class Net(nn.Module):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: object) -> object:
            return output(x)

    for parametrization in (M.MeanVelocity(), M.Endpoint(1.5), M.SecondOrder(lambda t, x: x)):
        with pytest.raises(error, match=message):
            M.NeuralFlowMap(Net(), parametrization)(0.0, 1.0, torch.ones(3, 2))


def test_gradients_reach_every_weight() -> None:
    net = fm.networks.MLP(dim=2, width=4, depth=2)
    for p in net.parameters():
        nn.init.normal_(p)
    flow = M.NeuralFlowMap(net)
    x = torch.randn(5, 2)
    value, slope = C.jvp(flow, 0.1, 0.8, x, dt=1.0)
    (value.square().sum() + slope.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())

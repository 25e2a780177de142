"""Residuals of principles against the same relations written in the mean velocity v itself."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives


def network() -> nn.Module:
    net = fm.networks.MLP(dim=2, width=8, depth=2)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    return net


def off_diagonal(objective: o.Composed, n: int = 40) -> o.Draw:
    draw = objective.draw(o.Pairs(None, torch.randn(n, 2)))
    return draw[draw.diagonal :]


def column(a: Tensor) -> Tensor:
    return a[:, None]


def assert_same(loss: o.Loss, residual: Tensor, net: nn.Module) -> None:
    """The objective's rows and gradient are those of the residual's square."""
    square = residual.square().sum(1)
    torch.testing.assert_close(loss.per_sample, square)
    ours, theirs = (
        torch.autograd.grad(a, list(net.parameters()), retain_graph=True, allow_unused=True)
        for a in (loss.total, square.mean())
    )
    torch.testing.assert_close(ours, theirs)


def test_the_progressive_residual_is_that_of_mean_velocities() -> None:
    """v_{s,t} - sg((1 - gamma) v_{s,u} + gamma v_{u,t}(X_{s,u})), u = gamma s + (1 - gamma) t."""
    for objective in (o.psd_m(), o.psd_u()):
        net = network()
        draw = off_diagonal(objective)
        s, u, t, x = draw.s, draw.u, draw.t, draw.points
        gamma = column((t - u) / (t - s))
        assert bool(((gamma > 0) & (gamma < 1)).all())
        torch.testing.assert_close(gamma * column(s) + (1 - gamma) * column(t), column(u))
        first = net(s, u, x, None)
        middle = x + column(u - s) * first
        target = (1 - gamma) * first + gamma * net(u, t, middle, None)
        residual = net(s, t, x, None) - target.detach()
        assert_same(objective(fm.maps.NeuralFlowMap(net), draw), residual, net)


def parametrizations() -> list[fm.maps.Parametrization]:
    second = fm.maps.SecondOrder(lambda t, x: torch.stack([x[:, 1], -x[:, 0]], 1))
    return [fm.maps.MeanVelocity(), fm.maps.Endpoint(1.5), second, Stretch()]


class Stretch(fm.maps.Parametrization):
    """X = x exp((t - s) v), which knows its mean velocity by the states alone."""

    def forward(
        self, network: nn.Module, s: Tensor, t: Tensor, x: Tensor, condition: Any
    ) -> Tensor:
        return x * torch.exp(column(t - s).to(x) * network(s.to(x), t.to(x), x, condition))

    def velocity(self, network: nn.Module, t: Tensor, x: Tensor, condition: Any) -> Tensor:
        return x * network(t.to(x), t.to(x), x, condition)


@pytest.mark.parametrize("routing", ["full", "target", "value"])
@pytest.mark.parametrize("which", range(4))
def test_the_semigroup_of_mean_velocities_is_that_of_states(which: int, routing: str) -> None:
    """Value and gradient, with the diagonal's rows, on which both are zero."""
    net = network()
    learned = fm.maps.NeuralFlowMap(net, parametrizations()[which])
    draw = o.psd_u().draw(o.Pairs(None, torch.randn(20, 2)))
    black_box = fm.maps.ExactFlowMap(learned, velocity=learned.velocity)
    squares = []
    for one in (learned, black_box):
        squares.append(o.principles.semigroup(one, one, draw, routing).square().sum(1))
    torch.testing.assert_close(squares[0], squares[1])
    assert not squares[0][: draw.diagonal].any() and squares[0][draw.diagonal :].all()
    slopes = [torch.autograd.grad(square.sum(), list(net.parameters())) for square in squares]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_progressive_residual_keeps_its_digits_on_short_spans(dtype: torch.dtype) -> None:
    learned = fm.maps.NeuralFlowMap(network().to(dtype).double())
    draw = off_diagonal(o.psd_m(), 400)
    points = (100 + draw.points).to(dtype)
    end = draw.s + 1e-3 * (draw.t - draw.s)
    rows = {"s": draw.s, "t": end, "u": (draw.s + end) / 2}
    exact = o.psd_m()(learned, o.Draw(**rows, points=points.double())).total.item()
    low = o.psd_m()(learned.to(dtype), o.Draw(**rows, points=points)).total.item()
    # mean velocities of size v are rounded to epsilon v, squared
    size = learned.mean_velocity(rows["s"], end, points).double().square().sum(1).mean().item()
    assert abs(low - exact) < 20 * torch.finfo(dtype).eps ** 2 * size + 0.1 * exact


def test_the_middle_is_halfway_or_uniform() -> None:
    for objective, spread in ((o.psd_m(), 0.0), (o.psd_u(), (1 / 12) ** 0.5)):
        draw = off_diagonal(objective, 8000)
        fraction = (draw.u - draw.s) / (draw.t - draw.s)
        assert fraction.mean().item() == pytest.approx(0.5, abs=0.02)
        assert fraction.std().item() == pytest.approx(spread, abs=0.01)


def test_the_eulerian_value_route_with_data_is_mean_flow() -> None:
    """|v - sg(I' + (t - s) D_s v)|^2, one jvp along (1, 0, I'): MeanFlow's square, unweighted."""
    term = o.Term("eulerian", o.principles.eulerian, o.teachers.data, "value")
    objective = o.Composed(o.SortedPair(), o.OnInterpolant(fm.interpolants.Linear()), [term])
    net, draw = network(), off_diagonal(objective)
    one, zero = torch.ones_like(draw.s), torch.zeros_like(draw.t)
    v, along = torch.func.jvp(
        lambda s, t, x: net(s, t, x, None),
        (draw.s, draw.t, draw.points),
        (one, zero, draw.velocity),
    )
    target = draw.velocity + column(draw.t - draw.s) * along
    assert_same(objective(fm.maps.NeuralFlowMap(net), draw), v - target.detach(), net)


def test_the_lagrangian_value_route_stops_the_derivative_too() -> None:
    """|v + sg((t - s) d_t v - b(t, X))|^2: no gradient through a jvp."""
    term = o.Term("lagrangian", o.principles.lagrangian, o.teachers.own, "value")
    objective = o.Composed(o.SortedPair(), o.OnInterpolant(fm.interpolants.Linear()), [term])
    net, draw = network(), off_diagonal(objective)
    v, slope = torch.func.jvp(
        lambda t: net(draw.s, t, draw.points, None), (draw.t,), (torch.ones_like(draw.t),)
    )
    span = column(draw.t - draw.s)
    rest = span * slope - net(draw.t, draw.t, draw.points + span * v, None)
    assert_same(objective(fm.maps.NeuralFlowMap(net), draw), v + rest.detach(), net)


@pytest.mark.parametrize("principle", ["tangent", "lagrangian", "eulerian", "semigroup"])
def test_one_value_under_every_routing(principle: str) -> None:
    learned = fm.maps.NeuralFlowMap(network())
    teacher = o.teachers.Known(fm.maps.NeuralFlowMap(network()))
    draw = off_diagonal(o.psd_u())
    values = [
        getattr(o.principles, principle)(learned, teacher(learned, draw), draw, routing)
        for routing in ("full", "target", "value")
    ]
    for value in values[1:]:  # forward mode rounds differently where no gradient is recorded
        torch.testing.assert_close(value, values[0], rtol=1e-13, atol=1e-13)
    assert values[0].shape == draw.points.shape and values[0].abs().max() > 0.1


@pytest.mark.parametrize("principle", ["tangent", "lagrangian", "eulerian"])
@pytest.mark.parametrize("routing", ["full", "target", "value"])
def test_flow_maps_as_teachers_are_asked_at_the_clocks_themselves(
    principle: str, routing: str
) -> None:
    """In float32, 1 - 1e-9 is 1, where this map has no velocity."""
    learned = fm.maps.NeuralFlowMap(network().float(), fm.maps.Endpoint(1.0))
    late = torch.tensor([1 - 1e-9, 1 - 1e-12])
    early = late if principle != "lagrangian" else torch.tensor([0.0, 0.5])
    draw = o.Draw(early, late, torch.randn(2, 2).float())
    residual = getattr(o.principles, principle)(learned, learned, draw, routing)
    assert torch.isfinite(residual).all()
    plain = fm.residuals.lagrangian(
        learned, learned.velocity, draw.s, draw.t, draw.points, check_field=False
    )
    assert torch.isfinite(plain).all()


@pytest.mark.parametrize("principle", ["lagrangian", "eulerian"])
def test_the_value_route_moves_the_field_on_the_diagonal(principle: str) -> None:
    """At s = t MeanFlow is flow matching: the residual is +-(v_{s,s} - b), moved by v_{s,s}."""
    field = o.teachers.Known(lambda t, x: -x)
    net = network()
    draw = o.flow_matching().draw(o.Pairs(None, torch.randn(6, 2)))
    term = o.Term("r", getattr(o.principles, principle), field, "value")
    objective = o.Composed(o.Diagonal(), o.AtStates(), [term])
    residual = net(draw.s, draw.s, draw.points, None) + draw.points
    assert_same(objective(fm.maps.NeuralFlowMap(net), draw), residual, net)

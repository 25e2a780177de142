"""Where the gradient goes, by hand on X_{s,t}(x) = x + h (a + c h) x with h = t - s."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm


class Quadratic(nn.Module):
    """v_{s,t}(x) = (a + c h) x."""

    def __init__(self, a: float, c: float):
        super().__init__()
        self.a, self.c = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(c))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        return (self.a + self.c * (t - s)[:, None]) * x


@dataclass
class Case:
    """A tiny map, one row of a draw, and the numbers in it."""

    network: Quadratic
    learned: fm.maps.FlowMap
    draw: fm.objectives.Draw
    a: float = 0.3
    c: float = -0.2
    h: float = 0.5
    x: float = 1.7
    slope: float = 2.5  # the drawn velocity

    @property
    def end(self) -> float:
        return self.x * (1 + self.h * self.a + self.h**2 * self.c)

    @property
    def end_slope(self) -> float:
        return (self.a + 2 * self.c * self.h) * self.x

    def gradient(self, objective: fm.objectives.Objective) -> list[float]:
        total = objective(self.learned, self.draw).total
        return [g.item() for g in torch.autograd.grad(total, [self.network.a, self.network.c])]


@pytest.fixture
def case() -> Case:
    network = Quadratic(Case.a, Case.c)
    draw = fm.objectives.Draw(
        torch.tensor([0.25]),
        torch.tensor([0.75]),
        torch.tensor([[Case.x]]),
        velocity=torch.tensor([[Case.slope]]),
    )
    return Case(network, fm.maps.NeuralFlowMap(network), draw)


def test_lsd_passes_the_derivative_and_stops_the_velocity_and_its_input(case: Case) -> None:
    """r = (a + 2 c h) x - sg(a X): dr/da = x, dr/dc = 2 h x, and nothing from a X."""
    residual = case.end_slope - case.a * case.end
    expected = [2 * residual * case.x, 2 * residual * 2 * case.h * case.x]
    assert case.gradient(fm.objectives.lsd()) == pytest.approx(expected, rel=1e-12)
    unstopped = [
        2 * residual * (case.x - case.end - case.a * case.h * case.x),
        2 * residual * (2 * case.h * case.x - case.a * case.h**2 * case.x),
    ]
    assert abs(unstopped[0] - expected[0]) > 0.1 and abs(unstopped[1] - expected[1]) > 0.01


def test_lsd_on_the_diagonal_is_flow_matching(case: Case) -> None:
    """v_{s,s} = a x: dr/da = x, dr/dc = 0."""
    draw = fm.objectives.Draw(
        case.draw.s, case.draw.s, case.draw.points, velocity=case.draw.velocity, diagonal=1
    )
    case.draw = draw
    residual = case.a * case.x - case.slope
    for objective in (fm.objectives.lsd(), fm.objectives.flow_matching()):
        assert case.gradient(objective) == pytest.approx([2 * residual * case.x, 0.0], rel=1e-12)


def test_the_target_supplies_the_velocity_when_given(case: Case) -> None:
    other = fm.maps.NeuralFlowMap(Quadratic(0.9, 0.0))
    total = fm.objectives.lsd()(case.learned, case.draw, target=other).total
    assert total.item() == pytest.approx((case.end_slope - 0.9 * case.end) ** 2, rel=1e-12)


@pytest.mark.parametrize("stop", [False, True])
def test_the_lagrangian_residual_stops_the_field_on_request(case: Case, stop: bool) -> None:
    """b(t, x) = -k x: r = (a + 2 c h) x + k X, dr/da = x + k h x or, stopped, x."""
    k = 1.3
    objective = fm.objectives.lagrangian_residual(lambda t, x: -k * x, stop=stop)
    residual, passed = case.end_slope + k * case.end, 0.0 if stop else k
    expected = [
        2 * residual * (case.x + passed * case.h * case.x),
        2 * residual * (2 * case.h * case.x + passed * case.h**2 * case.x),
    ]
    assert case.gradient(objective) == pytest.approx(expected, rel=1e-12)


def test_the_stop_drops_forward_mode_tangents_too(case: Case) -> None:
    """The derivative of LSD's residual along a change of a, forward mode through the loss."""
    objective = fm.objectives.lsd()

    def total(a: Tensor) -> Tensor:
        changed = {"network.a": a, "network.c": case.network.c.detach()}
        wrapped = Wrapped(objective, case.learned)
        named = {f"learned.{key}": value for key, value in changed.items()}
        return torch.func.functional_call(wrapped, named, (case.draw,)).total

    a = case.network.a.detach()
    forward = torch.func.jvp(total, (a,), (torch.ones_like(a),))[1].item()
    assert forward == pytest.approx(case.gradient(objective)[0], rel=1e-12)


class Wrapped(nn.Module):
    def __init__(self, objective: fm.objectives.Objective, learned: fm.maps.FlowMap):
        super().__init__()
        self.objective, self.learned = objective, learned

    def forward(self, draw: fm.objectives.Draw) -> fm.objectives.Loss:
        return self.objective(self.learned, draw)

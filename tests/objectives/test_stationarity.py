"""Every objective at the exact flow map: its least value and a zero gradient; more elsewhere.

The draws weigh two velocities at each point so that their mean is the field (see conftest): without
that the gradient of a flow-matching term is Monte-Carlo noise. The two-point law is asymmetric;
Gaussian noise is reflected onto itself and hides what a skewed law shows.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives
N = 64

OBJECTIVES: dict[str, Callable[[Any], o.Composed]] = {
    "flow matching": lambda law: o.flow_matching(law.interpolant),
    "lsd": lambda law: o.lsd(law.interpolant),
    "esd": lambda law: o.esd(law.interpolant),
    "psd_m": lambda law: o.psd_m(law.interpolant),
    "psd_u": lambda law: o.psd_u(law.interpolant),
}
for r in ("full", "target", "value"):
    OBJECTIVES |= {
        f"lmd, {r}": lambda law, r=r: o.lmd(law.interpolant, law.field, routing=r),
        f"emd, {r}": lambda law, r=r: o.emd(law.interpolant, law.field, routing=r),
        f"lagrangian residual, {r}": lambda law, r=r: o.lagrangian_residual(law.field, routing=r),
        f"eulerian residual, {r}": lambda law, r=r: o.eulerian_residual(law.field, routing=r),
    }


class Expected(nn.Module):
    """The expectation of a loss as one module, for functional calls."""

    def __init__(self, objective: o.Objective, learned: fm.maps.FlowMap, draw: Any):
        super().__init__()
        self.objective, self.learned, self.draw = objective, learned, draw

    def forward(self) -> Tensor:
        return self.draw.loss(self.objective, self.learned)


# ---------------------------------------------------------------------------- what is stationary


def test_the_laws_are_exact(law: Any) -> None:
    """The map solves the equation; the velocities' mean is the field; theta = 0 is the map."""
    draw = law.draw(o.psd_u(law.interpolant), N)
    s, t, x = draw.rows.s, draw.rows.t, draw.rows.points
    assert fm.residuals.lagrangian(law.exact, law.field, s, t, x).abs().max() < 1e-12
    assert fm.residuals.identity(law.exact, t, x).abs().max() < 1e-12
    mean = (N * draw.chances[:, None] * draw.rows.velocity).reshape(N, 2, -1).sum(1)
    torch.testing.assert_close(mean, law.field(s, x)[::2])
    torch.testing.assert_close(law.learned()(s, t, x), law.exact(s, t, x))
    torch.testing.assert_close(law.learned().velocity(t, x), law.field(t, x))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_exact_map_has_the_least_value_and_no_gradient(law: Any, name: str) -> None:
    objective, learned = OBJECTIVES[name](law), law.learned()
    draw = law.draw(objective, N)
    loss = draw.loss(objective, learned)
    assert (loss - draw.irreducible).abs() < 1e-12
    assert torch.autograd.grad(loss, learned.network.theta)[0].abs().max() < 1e-12


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_perturbed_map_has_more_and_is_drawn_back(
    law: Any, laws: SimpleNamespace, name: str
) -> None:
    """In each direction alone, and whatever carries the gradient, a step against it leads back.

    Flow matching does not see what vanishes at s = t.
    """
    objective, learned = OBJECTIVES[name](law), law.learned()
    draw = law.draw(objective, N)
    expected = Expected(objective, learned, draw)

    def excess(theta: Tensor) -> Tensor:
        value = torch.func.functional_call(expected, {"learned.network.theta": theta}, ())
        return value - draw.irreducible

    shifts = 0.1 * torch.eye(len(laws.directions))
    gradients, values = torch.func.vmap(torch.func.grad_and_value(excess))(shifts)
    for direction, value, slope in zip(laws.directions, values, gradients.diagonal(), strict=True):
        if name == "flow matching" and direction.startswith("span"):
            assert abs(value) < 1e-12 and slope == 0, direction
        else:
            assert value > 1e-6 and slope > 1e-4, direction


# ---------------------------------------------------------------------------- what is not


def test_a_data_velocity_in_an_eulerian_square_must_be_stopped(law: Any) -> None:
    """|d_s X + DX I'|^2 has the mean |d_s X + DX b|^2 + |DX (I' - b)|^2.

    Its gradient moves the map to lessen the second part. It does not where DX I' carries none
    ("target", and "value" as in MeanFlow): there it is the noise's mean times a constant. So the
    full gradient is refused, unless the drawn velocity comes as a field that nobody knows as one.
    """
    learned = law.learned()
    unknown = lambda learned, draw: lambda t, x: draw.velocity  # noqa: E731
    theta, gradients, losses = learned.network.theta, {}, {}
    for routing in ("full", "target", "value"):
        teacher = unknown if routing == "full" else o.teachers.data
        term = o.Term("eulerian", o.principles.eulerian, teacher, routing)
        objective = o.Composed(o.SortedPair(), o.OnInterpolant(law.interpolant), [term])
        torch.manual_seed(0)
        draw = law.draw(objective, N)
        losses[routing] = draw.loss(objective, learned)
        gradients[routing] = torch.autograd.grad(losses[routing], theta)[0]
    rows = draw.rows
    noise = rows.velocity - law.field(rows.s, rows.points)
    spread = fm.calculus.directional(learned, rows.s, rows.t, rows.points, noise).square().sum(1)
    variance = (draw.chances * spread).sum()
    bias = torch.autograd.grad(variance, theta)[0]
    torch.testing.assert_close(gradients["full"], bias)
    assert bias.abs().max() > 0.1
    assert gradients["target"].abs().max() < 1e-12
    assert gradients["value"].abs().max() < 1e-12
    for loss in losses.values():
        torch.testing.assert_close(loss, variance)
    # so the exact map is not where this square is least
    theta.data -= 1e-2 * bias
    assert draw.loss(objective, learned) < variance - 1e-4


def test_a_semigroup_off_the_diagonal_is_not_yet_the_flow_map(laws: SimpleNamespace) -> None:
    """Progressive self-distillation takes a discontinuous map for exact: the identity off s = t."""
    law = laws.gaussian()
    still = fm.maps.ExactFlowMap(lambda s, t, x: x, velocity=law.field)
    excess = {}
    for name in ("lsd", "esd", "psd_m", "psd_u"):
        objective = OBJECTIVES[name](law)
        draw = law.draw(objective, N)
        excess[name] = draw.loss(objective, still) - draw.irreducible
    assert excess["psd_m"].abs() < 1e-12 and excess["psd_u"].abs() < 1e-12
    assert excess["lsd"] > 0.1 and excess["esd"] > 0.1


@pytest.mark.parametrize("name", ["psd_m", "psd_u"])
def test_a_semigroup_alone_is_the_flow_of_any_field(laws: SimpleNamespace, name: str) -> None:
    """It is flow matching on the diagonal that tells which."""
    law, other = laws.gaussian(), laws.gaussian(mean=-0.3, sigma=1.5)
    objective = OBJECTIVES[name](law)
    draw = law.draw(objective, N)
    assert objective(other.exact, draw.rows).parts["semigroup"] < 1e-20
    assert draw.loss(objective, other.exact) - draw.irreducible > 0.1

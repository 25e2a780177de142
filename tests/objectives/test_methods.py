"""The literature's methods at the exact flow map, and what each has instead where it is biased.

Draws and laws are those of conftest: expectations over the data are sums, to rounding.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

o = fm.objectives
N = 64
BACKWARD = {"fmm"}

# the residual is deterministic given (s, t, I_s): zero excess over flow matching, zero gradient
EXACT: dict[str, Callable[[Any], o.Composed]] = {
    "ayf_emd": lambda law: o.ayf_emd(law.interpolant, law.field),
    "ayf_lmd": lambda law: o.ayf_lmd(law.interpolant, law.field),
    "pfmm": lambda law: o.pfmm(law.interpolant, law.exact),
    "progressive distillation": lambda law: o.progressive_distillation(
        law.interpolant, law.exact, 4
    ),
    "consistency distillation": lambda law: o.consistency_distillation(law.interpolant, law.exact),
    "sCD": lambda law: o.scm(law.interpolant, law.field),
}
# the residual holds noise of the data: zero gradient
NOISY: dict[str, Callable[[Any], o.Composed]] = {
    "mean flow": lambda law: o.mean_flow(law.interpolant),
    "improved mean flow": lambda law: o.improved_mean_flow(law.interpolant),
    "sCT": lambda law: o.scm(law.interpolant),
    "fmm": lambda law: o.fmm(law.interpolant),
}


def gradient(law: Any, objective: o.Composed, name: str = "", n: int = N) -> tuple[Tensor, Tensor]:
    """Return the expected loss and its gradient at the exact map."""
    learned = law.learned(backward=name in BACKWARD)
    torch.manual_seed(1)
    draw = law.draw(objective, n)
    loss = draw.loss(objective, learned)
    return loss - draw.irreducible, torch.autograd.grad(loss, learned.network.theta)[0]


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_map_has_no_excess_and_no_gradient(law: Any, name: str) -> None:
    excess, slope = gradient(law, EXACT[name](law), name)
    assert excess.abs() < 1e-12
    assert slope.abs().max() < 1e-11


@pytest.mark.parametrize("name", NOISY)
def test_the_exact_map_is_stationary_where_the_residual_is_noisy(law: Any, name: str) -> None:
    excess, slope = gradient(law, NOISY[name](law), name)
    assert excess > 0.01  # the variance of the noise, which no map lowers
    assert slope.abs().max() < 1e-11


def test_consistency_trajectories_at_the_exact_map(laws: SimpleNamespace) -> None:
    """The outer maps end at time 1, where the two-point law's quantile is ill-conditioned."""
    for law in (laws.gaussian(), laws.full_covariance()):
        excess, slope = gradient(law, o.ctm(law.interpolant, law.exact))
        assert excess.abs() < 1e-12 and slope.abs().max() < 1e-11


@pytest.mark.parametrize("name", [*EXACT, *NOISY])
def test_a_perturbed_map_is_drawn_back(law: Any, laws: SimpleNamespace, name: str) -> None:
    """By what carries the gradient, in the direction in which the whole mean velocity is off."""
    objective = (EXACT | NOISY)[name](law)
    for direction in ("constant", "t"):
        learned = law.learned(direction, 0.1, backward=name in BACKWARD)
        torch.manual_seed(1)
        draw = law.draw(objective, N)
        slope = torch.autograd.grad(draw.loss(objective, learned), learned.network.theta)[0]
        assert slope[list(laws.directions).index(direction)] > 1e-4, direction


# ---------------------------------------------------------------------------- biased ones

BIASED: dict[str, tuple[Callable[[Any, int], o.Composed], float]] = {
    # by the number of steps, and the order in 1 / steps of the gradient at the exact map
    "consistency training": (lambda law, n: o.consistency_training(law.interpolant, n), 1.0),
    "consistency distillation, Heun": (
        lambda law, n: o.consistency_distillation(law.interpolant, law.field, n),
        2.0,
    ),
    "progressive distillation, Euler": (
        lambda law, n: o.progressive_distillation(law.interpolant, law.field, n),
        2.0,
    ),
}


@pytest.mark.parametrize("name", BIASED)
def test_the_bias_of_finite_steps_vanishes_with_them(laws: SimpleNamespace, name: str) -> None:
    """The gradient at the exact map, over that of a shift, falls by the order of the step."""
    make, order = BIASED[name]
    law, sizes = laws.gaussian(), []
    for count in (32, 64):
        objective = make(law, count)
        torch.manual_seed(2)
        draw = law.draw(objective, 2048)
        learned = law.learned()
        exact = torch.autograd.grad(draw.loss(objective, learned), learned.network.theta)[0]
        sizes.append(exact.norm())
    rate = torch.log2(sizes[0] / sizes[1])
    assert rate > order - 0.35


def test_a_shortcut_starts_from_euler_steps(laws: SimpleNamespace) -> None:
    """At the exact map only rows of the finest span are off, by what the Euler halves are."""
    law, objective = laws.gaussian(), o.shortcut(depth=3)
    draw, learned = law.draw(objective, 256), law.learned()
    per_row = objective(learned, draw.rows).per_sample[draw.rows.diagonal :]
    off = draw.rows[draw.rows.diagonal :]
    finest = (off.t - off.s) < 0.2
    assert per_row[~finest].max() < 1e-20 and per_row[finest].max() > 1e-8
    s, u, t = off.s, (off.s + off.t) / 2, off.t
    first = off.points + (u - s)[:, None] * law.field(s, off.points)
    second = first + (t - u)[:, None] * law.field(u, first)
    gap = ((second - law.exact(s, t, off.points)) / (t - s)[:, None]).square().sum(1)
    torch.testing.assert_close(per_row[finest], gap[finest])


def test_a_share_of_the_derivative_moves_the_stationary_point(laws: SimpleNamespace) -> None:
    """AYF's last r = 0.99 leaves a gradient at the exact map, which r = 1 does not."""
    law = laws.gaussian()
    for last, bound in ((1.0, 1e-11), (0.99, 0.1)):
        slope = gradient(law, o.ayf_emd(law.interpolant, law.field, last=last))[1].abs().max()
        assert slope < bound and (slope > 1e-4) == (last < 1)


@pytest.mark.parametrize("metric", [o.Adaptive(0.75), o.PseudoHuber(0.01), o.Normalised()])
def test_robust_metrics_move_the_minimum_of_skewed_noise(
    laws: SimpleNamespace, metric: o.Metric
) -> None:
    """On Gaussian noise, which is symmetric, they do not show it; hence the defaults."""
    for law, biased in ((laws.gaussian(), False), (laws.two_points(), True)):
        slope = gradient(law, o.mean_flow(law.interpolant, metric=metric))[1].abs().max()
        assert (slope > 1e-2) == biased and (slope < 1e-11) == (not biased)


def test_a_warm_start_asks_the_mean_velocity_to_be_the_field(laws: SimpleNamespace) -> None:
    """At progress 0 the residual is b - v_{s,t}; at the end of the warm-up the Eulerian one."""
    law, warmed = laws.gaussian(), o.principles.WarmedEulerian(until=0.5)
    draw, learned = law.draw(o.emd(law.interpolant, law.field), 16).rows, law.learned("x")
    start = fm.objectives.Draw(draw.s, draw.t, draw.points, progress=torch.zeros_like(draw.s))
    straight = warmed(learned, law.field, start, "value")
    expected = law.field(draw.s, draw.points) - learned.mean_velocity(draw.s, draw.t, draw.points)
    torch.testing.assert_close(straight, expected)
    end = fm.objectives.Draw(draw.s, draw.t, draw.points, progress=0.5 + 0 * draw.s)
    whole = fm.residuals.eulerian(learned, law.field, draw.s, draw.t, draw.points)
    torch.testing.assert_close(warmed(learned, law.field, end, "value"), whole)

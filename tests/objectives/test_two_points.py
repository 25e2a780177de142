"""The asymmetric two-point law: what its exactness rests on, and what its skewness shows."""

from dataclasses import replace
from types import SimpleNamespace

import torch

import flowmaps as fm

o = fm.objectives


def test_quantiles_give_the_flow_map(laws: SimpleNamespace) -> None:
    """Q_t o F_s against a solution of the equation at tolerance 1e-12."""
    law, problem = laws.two_points(), fm.problems.TwoPointMixture(0.8, -0.5, 2.0)
    rows = law.draw(o.lsd(), 24).rows
    solved = problem.reference(rows.s, rows.t, rows.points)
    torch.testing.assert_close(
        law.transport(rows.s, rows.t, rows.points), solved, atol=1e-9, rtol=0
    )


def test_the_least_value_is_the_posterior_variance(laws: SimpleNamespace) -> None:
    """Var(I' | I_s) = P[first] P[second] (first - second)^2 / (1 - s)^2."""
    law, objective = laws.two_points(), o.flow_matching()
    draw = law.draw(objective, 50)
    chances = 50 * draw.chances.reshape(50, 2)
    variance = chances.prod(1) * (2.5 / (1 - draw.rows.s[::2])) ** 2
    torch.testing.assert_close(draw.irreducible, variance.mean())
    torch.testing.assert_close(draw.loss(objective, law.exact), variance.mean())


def test_stationarity_rests_on_the_posterior(laws: SimpleNamespace) -> None:
    """With equal probabilities for the two data values the exact map is not stationary."""
    law, objective = laws.two_points(), o.flow_matching()
    draw, learned = law.draw(objective, 50), law.learned()
    even = replace(draw, chances=torch.full_like(draw.chances, 0.01))
    assert draw.gradient(objective, learned).abs().max() < 1e-12
    assert even.gradient(objective, learned).abs().max() > 0.1


def test_the_noise_is_skewed(laws: SimpleNamespace) -> None:
    """E (I' - b)^3 is not zero, as it is for every Gaussian."""
    skewness = {}
    for name in ("two_points", "gaussian"):
        law = getattr(laws, name)()
        draw = law.draw(o.flow_matching(), 200)
        noise = draw.rows.velocity - law.field(draw.rows.s, draw.rows.points)
        skewness[name] = (draw.chances[:, None] * noise**3).sum()
    assert skewness["gaussian"].abs() < 1e-12 and skewness["two_points"].abs() > 0.5

"""Flow matching and self-distillation where all is Gaussian: least values in closed form."""

import math
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import flowmaps as fm

o = fm.objectives


def pairs(law: Any, n: int) -> o.Pairs:
    return o.Pairs(*law.pairs(n))


def test_the_least_value_of_flow_matching_by_quadrature(laws: SimpleNamespace) -> None:
    """E Var(I' | I_t) = sigma pi / 2, which is 0.7854 at sigma = 1/2."""
    law = laws.gaussian(mean=0.7, sigma=0.5)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    z, w = np.polynomial.hermite_e.hermegauss(12)
    times, noise, data = np.meshgrid((nodes + 1) / 2, z, z, indexing="ij")
    t, x0, x1 = (torch.from_numpy(a).reshape(-1) for a in (times, noise, data))
    x0, x1 = x0[:, None], 0.7 + 0.5 * x1[:, None]
    path = law.interpolant
    draw = o.Draw(t, t, path.interpolate(t, x0, x1), velocity=path.velocity(t, x0, x1))
    loss = o.flow_matching(path)(law.exact, draw)
    w = w / w.sum()
    mass = torch.from_numpy(np.einsum("i,j,k->ijk", weights / 2, w, w)).reshape(-1)
    assert (mass * loss.per_sample).sum().item() == pytest.approx(0.5 * math.pi / 2, abs=1e-10)


def test_plain_draws_of_flow_matching_are_not_stationary(laws: SimpleNamespace) -> None:
    """At the exact map the noise I' - b leaves a gradient of its standard error, not zero."""
    law = laws.gaussian()
    objective, learned = o.flow_matching(), law.learned()
    loss = objective(learned, objective.draw(pairs(law, 4096)))
    slope = torch.autograd.grad(loss.total, learned.network.theta)[0].abs().max()
    assert 1e-3 < slope < 0.3


@pytest.mark.parametrize("make", [o.lsd, o.esd, o.psd_m, o.psd_u])
def test_plain_draws_suffice_off_the_diagonal(laws: SimpleNamespace, make: Any) -> None:
    """Given (s, t, I_s) the self-made residual holds no noise of the data."""
    law = laws.gaussian()
    objective, learned = make(), law.learned()
    draw = objective.draw(pairs(law, 200))
    off = draw[draw.diagonal :]
    assert off.diagonal == 0 and len(off) == 50 and bool((off.s < off.t).all())
    total = objective(learned, off).total
    assert total < 1e-20
    assert torch.autograd.grad(total, learned.network.theta)[0].abs().max() < 1e-12


@given(theta=st.lists(st.floats(-1, 1), min_size=7, max_size=7))
def test_the_excess_of_flow_matching_is_the_distance_to_the_field(
    laws: SimpleNamespace, theta: list[float]
) -> None:
    """E |v - I'|^2 = E |v - b|^2 + E |I' - b|^2, for every v."""
    law = laws.full_covariance()
    learned = law.learned()
    learned.network.theta.data = torch.tensor(theta)
    objective = o.flow_matching()
    draw = law.draw(objective, 20)
    off = learned.velocity(draw.rows.s, draw.rows.points) - law.field(draw.rows.s, draw.rows.points)
    expected = (draw.chances * off.square().sum(1)).sum() + draw.irreducible
    torch.testing.assert_close(draw.loss(objective, learned), expected)


@settings(max_examples=4)
@given(mean=st.floats(-2, 2), sigma=st.floats(0.2, 3))
@pytest.mark.parametrize("make", [o.lsd, o.esd, o.psd_u])
def test_every_gaussian_is_learned(
    laws: SimpleNamespace, make: Any, mean: float, sigma: float
) -> None:
    law = laws.gaussian(mean=mean, sigma=sigma)
    objective, learned = make(), law.learned()
    draw = law.draw(objective, 32)
    assert (draw.loss(objective, learned) - draw.irreducible).abs() < 1e-10
    assert draw.gradient(objective, learned).abs().max() < 1e-10

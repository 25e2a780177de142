"""Objectives at the exact flow map of a Gaussian: least values, zero gradients."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import flowmaps as fm


def reflected(draw: fm.objectives.Draw, gaussian: SimpleNamespace) -> fm.objectives.Draw:
    """Each row twice, the second with its velocity reflected at the field."""
    assert draw.velocity is not None
    mirror = replace(draw, velocity=2 * gaussian.field(draw.s, draw.points) - draw.velocity)
    both = pytree.tree_map(lambda a, b: torch.stack([a, b], 1).flatten(0, 1), draw, mirror)
    return replace(both, diagonal=2 * draw.diagonal)


def gradient(
    objective: fm.objectives.Objective, draw: fm.objectives.Draw, gaussian: SimpleNamespace
) -> Tensor:
    loss = objective(gaussian.learned, draw)
    return torch.autograd.grad(loss.total, gaussian.theta)[0]


def test_the_network_is_the_exact_map(gaussian: SimpleNamespace) -> None:
    s, t = torch.rand(50).sort().values.reshape(2, 25)
    x = torch.randn(25, 1)
    torch.testing.assert_close(gaussian.learned(s, t, x), gaussian.exact(s, t, x))
    torch.testing.assert_close(gaussian.learned.velocity(t, x), gaussian.field(t, x))


def test_flow_matching_at_the_exact_map_by_quadrature(gaussian: SimpleNamespace) -> None:
    """E Var(I' | I_t) = sigma pi / 2, which is 0.7854 at sigma = 1/2."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    z, w = np.polynomial.hermite_e.hermegauss(12)
    times, noise, data = np.meshgrid((nodes + 1) / 2, z, z, indexing="ij")
    t, x0, x1 = (torch.from_numpy(a).reshape(-1) for a in (times, noise, data))
    x0, x1 = x0[:, None], gaussian.mean + gaussian.sigma * x1[:, None]
    path = fm.interpolants.Linear()
    draw = fm.objectives.Draw(t, t, path.interpolate(t, x0, x1), velocity=path.velocity(t, x0, x1))
    loss = fm.objectives.flow_matching(path)(gaussian.exact, draw)
    w = w / w.sum()
    mass = torch.from_numpy(np.einsum("i,j,k->ijk", weights / 2, w, w)).reshape(-1)
    assert (mass * loss.per_sample).sum().item() == pytest.approx(
        gaussian.sigma * math.pi / 2, abs=1e-10
    )


def test_flow_matching_is_stationary_on_reflected_pairs(gaussian: SimpleNamespace) -> None:
    objective = fm.objectives.flow_matching()
    draw = objective.draw(gaussian.pairs(2000))
    noise = draw.velocity - gaussian.field(draw.s, draw.points)
    both = reflected(draw, gaussian)
    assert objective(gaussian.learned, both).total.item() == pytest.approx(
        noise.square().mean().item(), rel=1e-12
    )
    assert gradient(objective, both, gaussian).abs().max() < 1e-12
    # plain Monte Carlo would not show it
    assert gradient(objective, draw, gaussian).abs().max() > 1e-3


@pytest.mark.parametrize("index", range(4))
def test_a_perturbed_map_has_positive_excess(gaussian: SimpleNamespace, index: int) -> None:
    matching, lsd = fm.objectives.flow_matching(), fm.objectives.lsd()
    diagonal = reflected(matching.draw(gaussian.pairs(500)), gaussian)
    mixed = lsd.draw(gaussian.pairs(500))
    least = matching(gaussian.learned, diagonal).total
    with torch.no_grad():
        gaussian.theta[index] = 0.1
    moves_diagonal = index < 3  # the last one has a factor t - s
    excess = matching(gaussian.learned, diagonal).total - least
    assert (excess > 1e-4) if moves_diagonal else (excess.abs() < 1e-12)
    assert lsd(gaussian.learned, mixed).parts["lagrangian"] > 1e-5


def test_lsd_is_zero_and_stationary_off_the_diagonal(gaussian: SimpleNamespace) -> None:
    objective = fm.objectives.lsd()
    draw = objective.draw(gaussian.pairs(400))
    off = draw[draw.diagonal :]
    assert off.diagonal == 0 and len(off) == 100 and bool((off.s < off.t).all())
    assert objective(gaussian.exact, off).total < 1e-26
    assert objective(gaussian.learned, off).total < 1e-26
    assert gradient(objective, off, gaussian).abs().max() < 1e-12
    both = reflected(draw, gaussian)
    assert gradient(objective, both, gaussian).abs().max() < 1e-12


def test_the_lagrangian_residual_is_zero_at_the_exact_map(gaussian: SimpleNamespace) -> None:
    source = fm.objectives.Domain(fm.domains.Box([-2.0], [2.0]), (0.0, 1.0))
    for stop in (False, True):
        objective = fm.objectives.lagrangian_residual(gaussian.field, stop=stop)
        draw = objective.draw(source, batch=300)
        assert objective(gaussian.exact, draw).total < 1e-26
        assert gradient(objective, draw, gaussian).abs().max() < 1e-12
        with torch.no_grad():
            gaussian.theta[0] = 0.1
        assert objective(gaussian.learned, draw).total > 1e-3
        with torch.no_grad():
            gaussian.theta[0] = 0.0


def test_a_flow_map_serves_as_field(gaussian: SimpleNamespace) -> None:
    objective = fm.objectives.lagrangian_residual(gaussian.exact)
    source = fm.objectives.Domain(fm.domains.Box([-2.0], [2.0]), (0.0, 1.0))
    assert objective(gaussian.learned, objective.draw(source, batch=50)).total < 1e-26

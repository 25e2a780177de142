"""Densities along a solver map, against closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowmaps import calculus, errors, maps, solvers

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def normal(x: Tensor, scale: Tensor) -> Tensor:
    """The log-density of a centred normal law with these standard deviations, (batch, n)."""
    each = -(x / scale).square() / 2 - torch.log(scale) - math.log(2 * math.pi) / 2
    return each.sum(1)


def widening(t: Tensor, x: Tensor, rates: Tensor) -> Tensor:
    return rates * (1 + t[:, None]) * x


@pytest.mark.parametrize("gradient", [None, solvers.ContinuousAdjoint(record=True)])
def test_a_normal_law_stays_one(gradient) -> None:
    flow_map = maps.SolverFlowMap(widening, gradient=gradient, **TIGHT)
    rates, x = torch.tensor([[0.5, -1.0]]).expand(6, 2), torch.randn(6, 2)
    t = torch.linspace(-1.0, 1.0, 6)
    spread = torch.exp(rates * (t + t**2 / 2)[:, None])
    y, change = flow_map.with_log_det(0.0, t, x, rates)
    one = torch.ones_like(spread)
    assert torch.allclose(normal(x, one) - change, normal(y, spread), atol=1e-7)
    # The density of data, from their end of the way; its gradient is the score.
    leaf = y.clone().requires_grad_()
    back, change = flow_map.with_log_det(t, 0.0, leaf, rates)
    density = normal(back, one) + change
    assert torch.allclose(density, normal(y, spread), atol=1e-7)
    (score,) = torch.autograd.grad(density.sum(), leaf)
    assert torch.allclose(score, -y / spread**2, atol=1e-6)


def test_estimates_are_repeated_by_their_generator() -> None:
    field = lambda t, x: torch.sin(x) * x.flip(1)  # noqa: E731
    flow_map, x = maps.SolverFlowMap(field, **TIGHT), torch.randn(3, 4)
    draw = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    _, first = flow_map.with_log_det(0.0, 0.5, x, probes=2, generator=draw())
    _, again = flow_map.with_log_det(0.0, 0.5, x, probes=2, generator=draw())
    given = calculus.probes(x, 2, generator=draw())
    _, same = flow_map.with_log_det(0.0, 0.5, x, probes=given)
    assert torch.equal(first, again) and torch.equal(first, same)
    every = torch.eye(4)[None].expand(3, 4, 4) * 2  # twice the unit vectors: their mean is exact
    _, whole = flow_map.with_log_det(0.0, 0.5, x, probes=every)
    _, exact = flow_map.with_log_det(0.0, 0.5, x)
    assert torch.allclose(whole, exact, atol=1e-7)


def test_options_go_along() -> None:
    x = torch.randn(3, 2)
    decay = lambda t, x: -x  # noqa: E731
    for options in (
        {"atol": [1e-8, 1e-6]},
        {"rtol": torch.tensor([1e-8, 1e-6])},
        {"method": solvers.RK4(), "steps": 20},
        {"compile": "eager"},
        {"gradient": solvers.DiscreteGradient(checkpoint=True)},
        {"method": solvers.TorchDiffEq()},
    ):
        flow_map = maps.SolverFlowMap(decay, **options)
        y, change = flow_map.with_log_det(0.0, 1.0, x, chunk_size=1)
        assert torch.allclose(change, torch.full((3,), -2.0), atol=1e-5)
        assert torch.allclose(y, x * math.exp(-1), atol=1e-5)
    swing = lambda t, x: (x[1], -torch.sin(x[0]))  # noqa: E731
    half = maps.SolverFlowMap(
        lambda t, x: torch.cat(swing(t, x.split(1, 1)), dim=1),
        method=solvers.StormerVerlet(),
        steps=10,
    )
    assert torch.equal(half.with_log_det(0.0, 1.0, x)[1], torch.zeros(3))


def test_it_refuses_what_the_map_refuses(refused) -> None:
    flow_map = maps.SolverFlowMap(lambda t, x: -x, times=maps.TimeSet(0.0, 1.0))
    x = torch.ones(2, 1)
    kind = errors.UntrainedTimes
    refused(lambda: flow_map.with_log_det(0.0, 2.0, x), kind, r"\[0, 1\]", kind)
    refused(lambda: flow_map.with_log_det(0.0, 1.0, x, probes=0), ValueError, "whole number")
    wrong = torch.ones(2, 3)
    refused(lambda: flow_map.with_log_det(0.0, 1.0, x, probes=wrong), ValueError, "probes must")
    mixing = maps.SolverFlowMap(lambda t, x: x - x.mean(0))
    refused(lambda: mixing.with_log_det(0.0, 1.0, x), ValueError, "condition")

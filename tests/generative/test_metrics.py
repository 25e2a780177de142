"""Metrics against closed forms and scipy; laws in the plane against what they are said to be."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm


def cloud(seed: int, n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix + mix[0]


@given(seed=st.integers(0, 10_000), d=st.integers(1, 4))
def test_frechet_distance_is_scipys_formula_and_symmetric(seed: int, d: int) -> None:
    a, b = cloud(seed, 20, d), cloud(seed + 1, 30, d)
    spreads = [np.atleast_2d(np.cov(x.T.numpy())) for x in (a, b)]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    expected = (a.mean(0) - b.mean(0)).square().sum().item()
    expected += np.trace(spreads[0] + spreads[1] - 2 * root)
    found = fm.generative.frechet_distance(a, b)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)
    assert found == pytest.approx(fm.generative.frechet_distance(b, a), rel=1e-6, abs=1e-8)


def test_frechet_distance_vanishes_on_equal_sets_of_images() -> None:
    images = torch.rand(50, 1, 3, 3)
    assert abs(fm.generative.frechet_distance(images, images)) < 1e-9


@pytest.mark.parametrize("other", [torch.zeros(5, 3), torch.zeros(1, 2)])
def test_frechet_distance_refuses_what_has_none(other: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least two like points"):
        fm.generative.frechet_distance(torch.zeros(5, 2), other)


@given(seed=st.integers(0, 10_000))
def test_nearest_distance_is_the_mean_of_the_least(seed: int) -> None:
    a, b = cloud(seed, 7, 3), cloud(seed + 1, 9, 3)
    expected = np.mean([min(math.dist(x, y) for y in b.tolist()) for x in a.tolist()])
    assert fm.generative.nearest_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert fm.generative.nearest_distance(b[:4], b) == 0.0


def test_nearest_distance_goes_through_large_sets_in_parts(monkeypatch) -> None:
    a, b = cloud(0, 50, 3), cloud(1, 40, 3)
    whole = fm.generative.nearest_distance(a, b)
    for chunk in (1, 100, 1999):
        monkeypatch.setattr("flowmaps.generative._metrics._CHUNK", chunk)
        assert fm.generative.nearest_distance(a, b) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("data", [torch.zeros(0, 2), torch.zeros(5, 4), torch.zeros(5, 2, 1)])
def test_nearest_distance_refuses_other_points_and_none(data: torch.Tensor) -> None:
    for pair in ((torch.zeros(3, 2), data), (data, torch.zeros(3, 2))):
        with pytest.raises(ValueError, match="from points to like points"):
            fm.generative.nearest_distance(*pair)


def test_transport_error_where_nothing_moves() -> None:
    noise = torch.randn(4, 2)
    still = fm.maps.Identity()
    shift = fm.maps.ExactFlowMap(
        lambda s, t, x: x + (t - s)[:, None], velocity=lambda t, x: torch.zeros_like(x)
    )
    assert fm.generative.transport_error(still, noise) == 0.0
    assert fm.generative.transport_error(shift, noise) == math.inf
    with pytest.raises(ValueError, match="got none"):
        fm.generative.transport_error(still, noise[:0])
    with pytest.raises(ValueError, match="tolerance must be a positive"):
        fm.generative.transport_error(still, noise, tolerance=0.0)


def test_transport_error_of_a_map_of_short_spans() -> None:
    times = fm.maps.TimeSet(0.0, 1.0, backward=False, max_span=0.25)
    short = fm.maps.SolverFlowMap(lambda t, x: x, times=times, rtol=1e-10, atol=1e-10)
    assert fm.generative.transport_error(short, torch.randn(9, 2), steps=4) < 1e-8


def test_transport_error_of_a_known_mistake() -> None:
    """b = x: X_{0,1}(x) = e x; the Euler step gives 2 x, the error (e - 2)^2 / (e - 1)^2."""
    flow = fm.maps.SolverFlowMap(lambda t, x: x, times=fm.maps.TimeSet(0.0, 1.0))
    euler = fm.maps.SolverFlowMap(
        lambda t, x: x, method=fm.solvers.Euler(), steps=1, times=fm.maps.TimeSet(0.0, 1.0)
    )
    x = torch.randn(40, 2)
    expected = ((math.e - 2) / (math.e - 1)) ** 2
    assert fm.generative.transport_error(euler, x, tolerance=1e-8) == pytest.approx(expected)
    assert fm.generative.transport_error(flow, x, reference=euler) < 1e-6
    halves = ((math.e - 1.5**2) / (math.e - 1)) ** 2
    assert fm.generative.transport_error(euler, x, 2, tolerance=1e-8) == pytest.approx(halves)


@pytest.mark.parametrize("law", [fm.generative.checkerboard, fm.generative.eight_gaussians])
def test_laws_are_drawn_where_the_generator_is(law) -> None:
    expected = law(5, torch.Generator().manual_seed(0))
    with torch.device("meta"):
        drawn = law(5, torch.Generator("cpu").manual_seed(0))
    assert torch.equal(drawn, expected)


def test_the_checkerboard_fills_its_dark_squares_evenly() -> None:
    x = fm.generative.checkerboard(40_000, torch.Generator().manual_seed(0))
    square = ((x + 1) * 2).floor().long()
    assert bool((square.sum(1) % 2 == 0).all())
    counts = torch.bincount(square[:, 0] * 4 + square[:, 1], minlength=16)
    dark = counts[counts > 0]
    assert len(dark) == 8 and (dark / 5000 - 1).abs().max() < 0.06
    inside = (x + 1) * 2 - square
    assert (inside.mean(0) - 0.5).abs().max() < 0.01


def test_eight_gaussians_have_eight_centers_and_their_spread() -> None:
    x = fm.generative.eight_gaussians(40_000, torch.Generator().manual_seed(0), 2.0, 0.1)
    which = (torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 4)).round().long() % 8
    assert (torch.bincount(which, minlength=8) / 5000 - 1).abs().max() < 0.06
    centers = 2 * torch.stack([(which * math.pi / 4).cos(), (which * math.pi / 4).sin()], 1)
    assert (x - centers).std(0).sub(0.1).abs().max() < 0.002

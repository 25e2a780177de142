"""Exact fields of mixtures and boards: conditional means by quadrature, and what they transport."""

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import integrate, stats

import flowmaps as fm

PATHS = [fm.interpolants.Linear(), fm.interpolants.Trigonometric()]
SKEWED = {"means": [[-0.5, -0.5], [2.0, 0.5]], "weights": [0.8, 0.2], "spread": 0.2}


def board_by_quadrature(path: Any, t: float, x: list[float]) -> np.ndarray:
    """Return E[I' | I_t = x] over the eight dark squares, integrated over x1 numerically."""
    clock = torch.tensor([t])
    alpha, beta, slope0, slope1 = (
        part(clock).item()
        for part in (path.alpha, path.beta, path.alpha_derivative, path.beta_derivative)
    )

    def moments(value: float, lower: float) -> tuple[float, float]:
        def density(y: float) -> float:
            return float(stats.norm.pdf((value - beta * y) / alpha))

        peak = min(max(value / beta, lower), lower + 0.5) if beta else lower
        options: Any = {"points": [peak], "epsabs": 0, "epsrel": 1e-11, "limit": 200}
        mass = integrate.quad(density, lower, lower + 0.5, **options)[0]
        first = integrate.quad(lambda y: y * density(y), lower, lower + 0.5, **options)[0]
        return mass, first

    columns = [[moments(value, number / 2 - 1) for number in range(4)] for value in x]
    mass, data = 0.0, np.zeros(2)
    for i in range(4):
        for j in range(i % 2, 4, 2):
            (m0, f0), (m1, f1) = columns[0][i], columns[1][j]
            mass += m0 * m1
            data += np.array([f0 * m1, m0 * f1])
    data /= mass
    return slope0 * (np.array(x) - beta * data) / alpha + slope1 * data


@settings(max_examples=25, deadline=None)
@given(
    t=st.sampled_from([0.0, 0.05, 0.3, 0.6, 0.66, 0.67, 0.8, 0.95]),
    x=st.lists(st.floats(-1.5, 1.5), min_size=2, max_size=2),
)
@pytest.mark.parametrize("path", PATHS, ids=["linear", "trigonometric"])
def test_the_board_against_quadrature(path: Any, t: float, x: list[float]) -> None:
    state = torch.tensor([x], dtype=torch.float64)
    found = fm.problems.CheckerboardFlow(path).field(t, state)[0].numpy()
    np.testing.assert_allclose(found, board_by_quadrature(path, t, x), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("path", PATHS, ids=["linear", "trigonometric"])
def test_a_mixture_of_one_is_the_gaussian_problem(path: Any) -> None:
    """b = beta' m + (S'/S)(x - beta m), S^2 = alpha^2 + beta^2 spread^2."""
    problem = fm.problems.GaussianMixtureFlow([[1.0, -0.5]], spread=0.3, interpolant=path)
    t, x = torch.linspace(0, 1, 9), torch.randn(9, 2)
    alpha, beta = path.alpha(t)[:, None], path.beta(t)[:, None]
    slope0, slope1 = path.alpha_derivative(t)[:, None], path.beta_derivative(t)[:, None]
    mean = torch.tensor([1.0, -0.5])
    rate = (alpha * slope0 + beta * slope1 * 0.09) / (alpha**2 + 0.09 * beta**2)
    torch.testing.assert_close(problem.field(t, x), slope1 * mean + rate * (x - beta * mean))


def test_the_mixture_against_sampled_conditional_means() -> None:
    """E[I' | I_t near x] of two million pairs, within five standard errors and the cell's size."""
    problem, t = fm.problems.GaussianMixtureFlow(**SKEWED), 0.6
    generator = torch.Generator().manual_seed(0)
    x1 = problem.sample(2_000_000, generator)
    x0 = torch.randn(x1.shape, generator=generator, dtype=x1.dtype)
    state, slope = (1 - t) * x0 + t * x1, x1 - x0
    for x in ([0.3, 0.0], [-0.2, -0.3], [1.0, 0.2]):
        near = (state - torch.tensor(x)).abs().amax(1) < 0.03
        mean = slope[near].mean(0)
        error = 5 * slope[near].std(0) / math.sqrt(int(near.sum()))
        field = problem.field(t, torch.tensor([x]))[0]
        assert bool(((mean - field).abs() < error + 0.02).all())


@pytest.mark.parametrize(
    "problem",
    [
        fm.problems.eight_gaussians_flow(),
        fm.problems.GaussianMixtureFlow(**SKEWED),
        fm.problems.CheckerboardFlow(),
    ],
    ids=["eight", "skewed", "board"],
)
def test_noise_is_carried_to_the_data(problem: fm.problems.InterpolantFlow) -> None:
    """Characteristic functions of 20,000 transported points and of the data agree to 5 / sqrt n."""
    generator, n = torch.Generator().manual_seed(1), 20_000
    noise = torch.randn(n, 2, generator=generator)
    found = problem.flow_map(rtol=1e-5, atol=1e-5)(0.0, 1.0, noise)
    data = problem.sample(n, generator).to(found)
    waves = 3 * torch.randn(2, 32, generator=generator)
    for function in (torch.cos, torch.sin):
        gap = function(found @ waves).mean(0) - function(data @ waves).mean(0)
        assert gap.abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fields_are_finite_with_gradients_everywhere(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    for problem in (fm.problems.CheckerboardFlow(), fm.problems.eight_gaussians_flow()):
        x = 3 * torch.randn(256, 2, generator=generator, dtype=dtype)
        x.requires_grad_()
        t = torch.linspace(0, 0.999, 256)
        b = problem.field(t, x)
        slope = torch.autograd.grad(b.sum(), x)[0]
        assert b.dtype == dtype and bool(b.isfinite().all()) and bool(slope.isfinite().all())


def test_the_field_stays_on_the_support_at_the_end() -> None:
    """At t = 1 inside a dark square E[x0 | x] is zero: b = x."""
    x = torch.tensor([[0.25, 0.25], [-0.75, -0.75]])
    torch.testing.assert_close(fm.problems.CheckerboardFlow().field(1.0, x), x)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"means": [1.0, 2.0]}, "means must have shape"),
        ({"means": [[0.0]], "weights": [0.0]}, "positive numbers"),
        ({"means": [[0.0]], "weights": [1.0, 1.0]}, "positive numbers"),
        ({"means": [[0.0]], "spread": 0.0}, "spread must be"),
    ],
)
def test_what_is_no_mixture_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fm.problems.GaussianMixtureFlow(**arguments)

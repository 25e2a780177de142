"""The kinds of paths: coefficients, derivatives, ends, conversions and laws."""

import math
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

i = fm.interpolants
PATHS: dict[str, i.Interpolant] = {
    "variance preserving": i.VariancePreserving(),
    "variance exploding": i.VarianceExploding(),
    "TrigFlow": i.Trigonometric(scale=0.5),
    "user's": i.FromCoefficients(lambda t: (1 - t) ** 2, lambda t: t * (2 - t)),
    "latent sine": i.Latent(i.Linear(), scale=0.7),
    "latent root": i.Latent(i.Trigonometric(), scale=0.5, shape="root"),
    "retimed": i.Retimed(i.Linear(), lambda t: t**2 * (3 - 2 * t) * 0.5 + 0.5 * t),
    "linear": i.Linear(),
}
EACH = pytest.mark.parametrize("name", PATHS)
INSIDE = st.floats(0.05, 0.95)


def clock(path: i.Interpolant, fraction: float) -> Tensor:
    lower, upper = path.times
    return torch.tensor([lower + fraction * (upper - lower)], dtype=torch.float64)


@EACH
@given(fraction=INSIDE)
def test_slopes_are_derivatives(name: str, fraction: float) -> None:
    """Against differences in 40 digits would ask for mpmath forms; central ones of order six do."""
    path, h = PATHS[name], 1e-3
    t = clock(path, fraction)
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    for part, slope in (
        (path.alpha, path.alpha_derivative),
        (path.beta, path.beta_derivative),
        (path.gamma, path.gamma_derivative),
    ):
        found = sum(w * (part(t + k * h) - part(t - k * h)) / h for k, w in weights.items())
        torch.testing.assert_close(slope(t), found, rtol=1e-6, atol=1e-8)


@given(t=st.floats(0.0, 0.9999))
def test_variance_preserving_in_forty_digits(t: float) -> None:
    path = i.VariancePreserving()
    with mpmath.workdps(40):
        rate = mpmath.quad(lambda r: mpmath.mpf("0.1") + mpmath.mpf("19.9") * r, [0, 1 - t])
        mean = mpmath.exp(-rate / 2)
        noise = mpmath.sqrt(1 - mean**2)
    time = torch.tensor([t], dtype=torch.float64)
    assert path.beta(time).item() == pytest.approx(float(mean), rel=1e-12)
    assert path.alpha(time).item() == pytest.approx(float(noise), rel=1e-9)


@EACH
def test_ends_and_base_are_what_they_say(name: str) -> None:
    path = PATHS[name]
    x0, x1 = torch.randn(100_000, 1), torch.full((100_000, 1), 2.0)
    z = torch.randn_like(x0) if path.latent else None
    (a0, b0), (a1, b1) = path.ends
    start = path.interpolate(path.times[0], x0, x1, z)
    assert start.mean().item() == pytest.approx(2 * b0, abs=0.02 * max(1, path.base_scale))
    assert start.std().item() == pytest.approx(path.base_scale, rel=0.02)
    if name != "latent root":  # whose noise is cut off before it vanishes
        end = path.interpolate(path.times[1], x0, x1, z)
        torch.testing.assert_close(end, a1 * x0 + b1 * x1, rtol=1e-6, atol=1e-6)


@EACH
@settings(max_examples=20)
@given(fraction=INSIDE, x=st.floats(-2, 2), mean=st.floats(-2, 2), sigma=st.floats(0.2, 2))
def test_conversions_agree_with_gaussians(
    name: str, fraction: float, x: float, mean: float, sigma: float
) -> None:
    """Data N(mean, sigma^2): all four predictions in closed form, each from each."""
    path = PATHS[name]
    t = clock(path, fraction)
    a2 = (path.alpha(t) ** 2 + path.gamma(t) ** 2).item()
    beta = path.beta(t).item()
    variance = a2 + beta**2 * sigma**2
    off = x - beta * mean
    slope2 = 2 * (path.alpha(t) * path.alpha_derivative(t)).item()
    slope2 += 2 * (path.gamma(t) * path.gamma_derivative(t)).item()
    slope = path.beta_derivative(t).item()
    known = {
        "score": -off / variance,
        "denoiser": mean + beta * sigma**2 / variance * off,
        "noise": math.sqrt(a2) / variance * off,
        "velocity": slope * mean + (slope2 / 2 + beta * slope * sigma**2) / variance * off,
    }
    state = torch.tensor([[x]], dtype=torch.float64)
    for source in i.PREDICTIONS:
        for to in i.PREDICTIONS:
            value = torch.full_like(state, known[source])
            found = i.convert(value, t, state, path, source, to).item()
            assert found == pytest.approx(known[to], rel=1e-7, abs=1e-7), (source, to)


def test_a_velocity_tells_noise_and_denoiser_at_both_ends() -> None:
    problem = fm.problems.GaussianInterpolant(mean=[1.0], covariance=[[4.0]])
    x = torch.tensor([[0.3]], dtype=torch.float64)
    for t, noise, data in ((0.0, 0.3, 1.0), (1.0, 0.0, 0.3)):
        b = problem.field(t, x)
        assert i.convert(b, t, x, i.Linear(), "velocity", "noise").item() == pytest.approx(noise)
        assert i.convert(b, t, x, i.Linear(), "velocity", "denoiser").item() == pytest.approx(data)


def test_what_cannot_be_known_is_refused_at_a_number() -> None:
    x = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="does not tell"):
        i.convert(x, 0.0, x, i.Linear(), "noise", "denoiser")
    with pytest.raises(ValueError, match="does not tell"):
        i.convert(x, 1.0, x, i.Linear(), "denoiser", "velocity")
    with pytest.raises(ValueError, match="source must be one of"):
        i.convert(x, 0.5, x, i.Linear(), "epsilon", "score")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: i.FromCoefficients(lambda t: 1 - t, lambda t: 0.9 * t),
            "misses its end at time 1",
        ),
        (lambda: i.FromCoefficients(lambda t: 1.1 - t, lambda t: t), "misses its end at time 0"),
        (lambda: i.FromCoefficients(lambda t: 1 / (1 - t), lambda t: t), "finite"),
        (lambda: i.FromCoefficients(lambda t: 1 - t, lambda t: t, (1.0, 0.0)), "increase"),
        (lambda: i.Retimed(i.Linear(), lambda t: 0.5 * t), "must increase from 0 to 1"),
        (lambda: i.Retimed(i.Linear(), lambda t: 4 * t * (t - 0.5) - t), "must increase"),
        (lambda: i.Latent(i.Latent(i.Linear())), "of its own already"),
        (lambda: i.Latent(i.Linear(), shape="box"), "shape must be"),
        (lambda: i.VarianceExploding(80.0, 0.002), "less than sigma_max"),
        (lambda: i.VariancePreserving(clip=2.0), "clip must be"),
    ],
)
def test_what_is_no_path_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_noise_is_asked_of_latent_paths_alone() -> None:
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="needs noise z"):
        PATHS["latent sine"].interpolate(0.5, x, x)
    with pytest.raises(ValueError, match="no noise of its own"):
        i.Linear().interpolate(0.5, x, x, x)


# ---------------------------------------------------------------------------- draws and laws


@pytest.mark.parametrize("name", ["latent sine", "latent root"])
def test_draws_of_a_latent_path_have_its_law(name: str) -> None:
    """At the middle: variance alpha^2 + beta^2 v + gamma^2, and the mean of I' given I is b."""
    path = PATHS[name]
    data = 1 + 0.5 * torch.randn(100_000, 1)
    objective = fm.objectives.flow_matching(path)
    draw = objective.draw(fm.objectives.Pairs(None, data), generator=torch.Generator())
    half = torch.full_like(draw.s, 0.5 * sum(path.times))
    near = (draw.s - half).abs() < 0.02
    expected = (
        path.alpha(half[:1]) ** 2 + path.gamma(half[:1]) ** 2 + 0.25 * path.beta(half[:1]) ** 2
    )
    assert draw.points[near].var().item() == pytest.approx(expected.item(), rel=0.1)
    problem = fm.problems.GaussianMixtureFlow([[1.0]], spread=0.5, interpolant=path)
    inside = (draw.s > 0.1) & (draw.s < 0.9)
    noise = (draw.velocity - problem.field(draw.s, draw.points))[inside]
    for probe in (1.0, draw.points[inside], draw.s[inside][:, None]):
        values = noise * probe
        assert values.mean().abs() < 4.5 * values.std() / math.sqrt(len(values))


@pytest.mark.parametrize("strength", [None, 0.0, 0.3, 1.5])
def test_stochastic_samples_have_the_flow_s_law(strength: float | None) -> None:
    """Mean and standard deviation of the data for every diffusion, on two paths."""
    for path in (i.Linear(), i.Trigonometric()):
        problem = fm.problems.GaussianMixtureFlow([[0.8, -0.4]], spread=0.5, interpolant=path)
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(40_000, 2, generator=generator)
        weaken = None
        if strength is not None:
            weaken = lambda t, path=path: strength * path.alpha(t)  # noqa: E731
        found = fm.generative.sample_sde(
            problem.field, noise, path, steps=100, diffusion=weaken, generator=generator
        )
        torch.testing.assert_close(found.mean(0), torch.tensor([0.8, -0.4]), atol=0.015, rtol=0)
        torch.testing.assert_close(found.std(0), torch.tensor([0.5, 0.5]), atol=0.015, rtol=0)


def test_without_diffusion_it_is_the_flow() -> None:
    problem = fm.problems.eight_gaussians_flow()
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    still = lambda t: 0 * t  # noqa: E731
    found = fm.generative.sample_sde(problem.field, noise, steps=2000, diffusion=still)
    torch.testing.assert_close(found, problem.flow_map()(0.0, 1.0, noise), atol=1e-3, rtol=0)


def test_a_negative_diffusion_is_refused() -> None:
    problem = fm.problems.eight_gaussians_flow()
    with pytest.raises(ValueError, match="must not be negative"):
        fm.generative.sample_sde(
            problem.field, torch.zeros(2, 2), steps=2, diffusion=lambda t: -1 + 0 * t
        )

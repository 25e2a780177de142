"""Interpolants: exact ends, velocities that are derivatives, the field they stand for."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

PATHS: dict[str, fm.interpolants.Interpolant] = {
    "linear": fm.interpolants.Linear(),
    "trigonometric": fm.interpolants.Trigonometric(),
}
EACH = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
SEEDS = st.integers(0, 10**6)
FRACTIONS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8)


def pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g), torch.randn(*shape, generator=g)


def clock(path: fm.interpolants.Interpolant, fractions: list[float]) -> Tensor:
    lower, upper = path.times
    return torch.lerp(torch.tensor(lower), torch.tensor(upper), torch.tensor(fractions))


def test_every_interpolant_is_tested() -> None:
    public = [getattr(fm.interpolants, name) for name in fm.interpolants.__all__]
    kinds = {
        kind
        for kind in public
        if inspect.isclass(kind) and issubclass(kind, fm.interpolants.Interpolant)
    }
    others = {"FromCoefficients", "Latent", "Retimed", "VarianceExploding", "VariancePreserving"}
    assert {type(path).__name__ for path in PATHS.values()} | others == {
        kind.__name__ for kind in kinds if not inspect.isabstract(kind)
    }


# ---------------------------------------------------------------------------- the path


@EACH
@pytest.mark.parametrize("n", [1, 3, 64])  # sines of single numbers and of vectors differ
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_it_runs_from_base_to_data_exactly(
    path: fm.interpolants.Interpolant, n: int, dtype: torch.dtype
) -> None:
    x0, x1 = (x.to(dtype) for x in pair(n, n, 2, 3))
    for time, end in zip(path.times, (x0, x1), strict=True):
        for t in (time, torch.full((n,), time), torch.full((n,), time, dtype=torch.float32)):
            assert torch.equal(path.interpolate(t, x0, x1), end)


@EACH
def test_values_have_the_state_s_dtype(
    path: fm.interpolants.Interpolant, default_dtype: torch.dtype
) -> None:
    for dtype in (default_dtype, torch.bfloat16):
        x0, x1 = torch.ones(3, 2, dtype=dtype), torch.zeros(3, 2, dtype=dtype)
        assert path.interpolate(torch.rand(3), x0, x1).dtype == dtype
        assert path.velocity(0.3, x0, x1).dtype == dtype


@EACH
@given(seed=SEEDS, fractions=FRACTIONS)
def test_every_sample_has_its_own_time(
    path: fm.interpolants.Interpolant, seed: int, fractions: list[float]
) -> None:
    t = clock(path, fractions)
    x0, x1 = pair(seed, len(t), 2)
    for method in (path.interpolate, path.velocity):
        together = method(t, x0, x1)
        alone = [method(t[i].item(), x0[i : i + 1], x1[i : i + 1]) for i in range(len(t))]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-14, atol=1e-14)


@EACH
@given(seed=SEEDS, fractions=FRACTIONS)
def test_it_is_linear_in_the_samples(
    path: fm.interpolants.Interpolant, seed: int, fractions: list[float]
) -> None:
    t = clock(path, fractions)
    (a0, a1), (b0, b1) = pair(seed, len(t), 2), pair(seed + 1, len(t), 2)
    for method in (path.interpolate, path.velocity):
        whole = method(t, a0 + 2 * b0, a1 + 2 * b1)
        torch.testing.assert_close(whole, method(t, a0, a1) + 2 * method(t, b0, b1))


@EACH
@given(seed=SEEDS, fractions=FRACTIONS)
def test_the_velocity_is_the_derivative(
    path: fm.interpolants.Interpolant, seed: int, fractions: list[float]
) -> None:
    t = clock(path, fractions)
    x0, x1 = pair(seed, len(t), 3)
    slope = torch.func.jvp(lambda t: path.interpolate(t, x0, x1), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(path.velocity(t, x0, x1), slope)
    for coefficient, derivative in (
        (path.alpha, path.alpha_derivative),
        (path.beta, path.beta_derivative),
    ):
        difference = (coefficient(t + 1e-4) - coefficient(t - 1e-4)) / 2e-4
        torch.testing.assert_close(derivative(t), difference, rtol=1e-7, atol=1e-7)


@EACH
def test_it_is_rebuilt_from_its_config(path: fm.interpolants.Interpolant) -> None:
    again = type(path)(**path.config())
    t = torch.rand(5)
    assert again.times == path.times
    assert torch.equal(again.alpha(t), path.alpha(t)) and torch.equal(again.beta(t), path.beta(t))


def test_the_trigonometric_path_is_a_quarter_circle() -> None:
    path, t = PATHS["trigonometric"], torch.linspace(0, 1, 101)
    torch.testing.assert_close(path.alpha(t), torch.cos(math.pi * t / 2), rtol=0, atol=3e-16)
    torch.testing.assert_close(path.beta(t), torch.sin(math.pi * t / 2), rtol=0, atol=3e-16)
    assert path.alpha(t)[-1] == 0 and path.beta_derivative(t)[-1] == 0


# ---------------------------------------------------------------------------- the field

Field = Callable[[Tensor, Tensor], Tensor]


def by_way_of_the_line(path: fm.interpolants.Interpolant, linear: Field) -> Field:
    """The field of a path from that of the linear one: I_t = c L_tau, c = alpha + beta.

    With tau = beta / c, b(t, x) = (c'/c) x + c tau' b_linear(tau, x / c).
    """

    def field(t: Tensor, x: Tensor) -> Tensor:
        alpha, beta = path.alpha(t), path.beta(t)
        slope0, slope1 = path.alpha_derivative(t), path.beta_derivative(t)
        c, rate = alpha + beta, slope0 + slope1
        turn = (slope1 * alpha - beta * slope0) / c
        return (rate / c)[:, None] * x + turn[:, None] * linear(beta / c, x / c[:, None])

    return field


@EACH
def test_a_gaussian_s_field_is_the_problem_s(path: fm.interpolants.Interpolant) -> None:
    """b = beta' m + (alpha alpha' + beta beta' C) (alpha^2 + beta^2 C)^{-1} (x - beta m)."""
    mean, covariance = torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.5]])
    problem = fm.problems.GaussianInterpolant(mean, covariance)
    t, x = clock(path, torch.linspace(0, 1, 41).tolist()), torch.randn(41, 2)
    a, b, da, db = (
        value[:, None, None]
        for value in (
            path.alpha(t),
            path.beta(t),
            path.alpha_derivative(t),
            path.beta_derivative(t),
        )
    )
    one = torch.eye(2)
    spread = a**2 * one + b**2 * covariance
    gain = torch.linalg.solve(spread, a * da * one + b * db * covariance, left=False)
    expected = db[:, :, 0] * mean + (gain @ (x - b[:, :, 0] * mean)[:, :, None])[:, :, 0]
    field = by_way_of_the_line(path, problem.field)
    torch.testing.assert_close(field(t, x), expected, rtol=1e-10, atol=1e-10)


@EACH
@pytest.mark.parametrize("law", ["Gaussian", "two points"])
def test_the_velocity_is_the_field_on_average(path: fm.interpolants.Interpolant, law: str) -> None:
    """E[(I' - b(t, I)) g(t, I)] = 0 for every g: the residual is noise, within four deviations."""
    n = 100_000
    x0 = torch.randn(n, 1)
    if law == "Gaussian":
        problem = fm.problems.GaussianInterpolant([0.7], [[0.25]])
        x1 = 0.7 + 0.5 * torch.randn(n, 1)
    else:
        problem = fm.problems.TwoPointMixture(0.8, -0.5, 2.0)
        x1 = torch.where(torch.rand(n, 1) < 0.8, -0.5, 2.0)
    t = clock(path, (0.9 * torch.rand(n)).tolist())
    x = path.interpolate(t, x0, x1)
    noise = path.velocity(t, x0, x1) - by_way_of_the_line(path, problem.field)(t, x)
    probes = {"1": 1.0, "x": x, "x^2": x**2, "t": t[:, None], "sin 3x": torch.sin(3 * x)}
    for name, probe in probes.items():
        values = noise * probe
        assert values.mean().abs() < 4 * values.std() / math.sqrt(n), name
    wrong = noise + 0.05 * x
    assert (wrong * x).mean().abs() > 4 * (wrong * x).std() / math.sqrt(n)


# ---------------------------------------------------------------------------- bad input


@EACH
@pytest.mark.parametrize(
    ("t", "shape", "dtype", "error", "message"),
    [
        (0.5, (3, 1), torch.float64, ValueError, "one shape and dtype"),
        (0.5, (3, 2), torch.float16, ValueError, "one shape and dtype"),
        (0.5, (3, 2), torch.long, TypeError, "floating-point"),
        (torch.zeros(2), (3, 2), torch.float64, ValueError, "one time for every sample"),
        ("noon", (3, 2), torch.float64, TypeError, "t must be a number"),
    ],
)
def test_bad_input_is_refused(
    path: fm.interpolants.Interpolant,
    t: Any,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        path.interpolate(t, torch.zeros(shape, dtype=dtype), torch.zeros(3, 2))


@pytest.mark.parametrize("path", [fm.interpolants.Linear(), fm.interpolants.Trigonometric()])
@pytest.mark.parametrize("t", [2.0, -1e-3])
def test_times_outside_the_interval_are_refused(
    path: fm.interpolants.Interpolant, t: float
) -> None:
    x = torch.zeros(2, 1)
    for ask in (path.interpolate, path.velocity):
        with pytest.raises(ValueError, match=r"interval \[0, 1\], got"):
            ask(t, x, x)
        ask(torch.tensor(t), x, x)  # values of tensors are not looked at
        with fm.checking("full"), pytest.raises(ValueError, match=r"interval \[0, 1\]"):
            ask(torch.tensor(t), x, x)

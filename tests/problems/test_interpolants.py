"""The two interpolant problems against the laws they transport."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch.distributions import MultivariateNormal

import flowmaps as fm

MEAN = [1.0, -0.5, 0.25]
COVARIANCE = [[1.0, 0.6, 0.1], [0.6, 0.5, 0.0], [0.1, 0.0, 2.0]]


def gaussian() -> fm.problems.GaussianInterpolant:
    return fm.problems.GaussianInterpolant(MEAN, COVARIANCE)


def gaussian_log_density(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    covariance = (1 - t) ** 2 * torch.eye(3) + t**2 * torch.tensor(COVARIANCE)
    return MultivariateNormal(t * torch.tensor(MEAN), covariance).log_prob(x)


def mixture_log_density(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    points, weights = torch.tensor([-0.5, 2.0]), torch.tensor([0.8, 0.2])
    parts = torch.distributions.Normal(t * points, 1 - t).log_prob(x) + weights.log()
    return torch.logsumexp(parts, 0)


@pytest.mark.parametrize("time", [0.0, 0.3, 0.7, 0.9])
@pytest.mark.parametrize(
    ("problem", "log_density"),
    [(gaussian(), gaussian_log_density), (fm.problems.TwoPointMixture(), mixture_log_density)],
    ids=["gaussian", "mixture"],
)
def test_fields_obey_the_continuity_equation(problem, log_density, time: float) -> None:
    """d/dt log rho + b . grad log rho + div b = 0, with rho written down without the field."""
    t = torch.tensor(time)
    for x in problem.domain.sample(5, torch.Generator().manual_seed(2)):
        rate, score = torch.func.jacrev(log_density, argnums=(0, 1))(t, x)
        field = problem.field(t, x[None])[0]
        jacobian = torch.func.jacfwd(lambda z: problem.field(t, z[None])[0])(x)
        residual = rate.sum() + field @ score + jacobian.trace()
        assert abs(residual) < 1e-9 * (1 + abs(rate.sum()) + abs(jacobian.trace()))


def test_gaussian_map_pushes_the_base_law_to_the_data_law() -> None:
    """Affine: mean and covariance at time t follow from X's offset and Jacobian."""
    problem = gaussian()
    origin = problem.exact(0.0, 1.0, torch.zeros(1, 3))[0]
    jacobian = torch.func.jacfwd(lambda z: problem.exact(0.0, 1.0, z[None])[0])(torch.zeros(3))
    assert torch.allclose(origin, torch.tensor(MEAN))
    assert torch.allclose(jacobian @ jacobian.T, torch.tensor(COVARIANCE))


def test_gaussian_in_one_dimension_is_the_scalar_formula() -> None:
    problem = fm.problems.GaussianInterpolant([0.7], [[0.25]])
    x, s, t = torch.tensor([[-1.0], [2.0]]), 0.2, 0.9
    deviation = [math.sqrt((1 - r) ** 2 + r**2 * 0.25) for r in (s, t)]
    expected = t * 0.7 + deviation[1] / deviation[0] * (x - s * 0.7)
    assert torch.allclose(problem.exact(s, t, x), expected)


def test_gaussian_posterior_mean_is_linear_regression() -> None:
    """E[x1 | I_t = x] = m + Cov(x1, I_t) Cov(I_t)^{-1} (x - t m); and b = E[x1 - x0 | I_t = x]."""
    problem, t = gaussian(), 0.4
    x = problem.domain.sample(4)
    mean, covariance = torch.tensor(MEAN), torch.tensor(COVARIANCE)
    total = (1 - t) ** 2 * torch.eye(3) + t**2 * covariance
    expected = mean + (x - t * mean) @ torch.linalg.solve(total, t * covariance)
    assert torch.allclose(problem.posterior_mean(t, x), expected)
    assert torch.allclose(problem.field(t, x), (expected - x) / (1 - t))


def test_gaussian_conditions_set_mean_and_variances_along_the_axes() -> None:
    problem = gaussian()
    variances, axes = np.linalg.eigh(np.array(COVARIANCE))
    assert list(problem.parameters.values()) == pytest.approx([*MEAN, *variances])
    other = torch.tensor([[0.0, 1.0, 2.0, 3.0, 3.0, 3.0]])  # an isotropic law
    x = torch.tensor([[0.3, -0.1, 0.2]])
    expected = other[:, :3] + math.sqrt(3) * x
    assert torch.allclose(problem.exact(0.0, 1.0, x, other), expected)
    derivative = torch.func.jacfwd(lambda c: problem.exact(0.0, 1.0, x, c))(other)
    assert torch.isfinite(derivative).all()


def quantile_map(s: float, t: float, x: float) -> float:
    """Return Q_t(F_s(x)) with F_t the distribution function of I_t, by bisection."""

    def mass(t: float, y: float) -> float:
        first, second = norm.cdf([(y + 0.5 * t) / (1 - t), (y - 2 * t) / (1 - t)])
        return float(0.8 * first + 0.2 * second)

    target = mass(s, x)
    root: Any = brentq(lambda y: mass(t, y) - target, -20.0, 20.0, xtol=1e-14)
    return root


@pytest.mark.parametrize(("s", "t"), [(0.0, 0.5), (0.0, 0.95), (0.6, 0.1)])
def test_mixture_reference_is_the_quantile_map(s: float, t: float) -> None:
    """In one dimension trajectories keep their rank: X_{s,t} = Q_t o F_s."""
    x = torch.tensor([[-2.0], [-0.3], [0.4], [0.84], [1.5]])
    expected = torch.tensor([[quantile_map(s, t, value)] for value in x.flatten().tolist()])
    ours = fm.problems.TwoPointMixture().reference(s, t, x)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)


def test_mixture_posterior_is_bayes_rule() -> None:
    problem = fm.problems.TwoPointMixture()
    generator = torch.Generator().manual_seed(0)
    x, condition = (
        problem.domain.sample(6, generator),
        problem.parameter_domain.sample(6, generator),
    )
    t = torch.linspace(0.0, 0.9, 6)
    weights = problem.posterior_weights(t, x, condition)
    prior = torch.stack([condition[:, 0], 1 - condition[:, 0]], dim=1)
    points = condition[:, 1:]
    density = torch.exp(-((x - t[:, None] * points) ** 2) / (2 * (1 - t[:, None]) ** 2))
    joint = prior * density
    assert torch.allclose(weights, joint / joint.sum(1, keepdim=True))
    assert torch.allclose(problem.posterior_mean(t, x, condition), (weights * points).sum(1, True))


def test_mixture_is_stable_where_densities_underflow() -> None:
    problem = fm.problems.TwoPointMixture()
    x = torch.tensor([[-100.0], [-0.5], [0.75], [2.0], [100.0]])
    for dtype in (torch.float32, torch.float64):
        weights = problem.posterior_weights(0.999, x.to(dtype))
        assert torch.isfinite(weights).all()
        assert torch.allclose(weights.sum(1), torch.ones(5, dtype=dtype))
        field = problem.field(0.999, x.to(dtype))
        assert torch.isfinite(field).all()
        assert field[1].abs() < 1e-2 * field[0].abs()  # at rest near the points, pulled from afar
        assert torch.isfinite(
            torch.func.jacfwd(lambda z: problem.field(0.999, z))(x.to(dtype))
        ).all()


BAD = {
    "sizes": ([1.0], [[1.0, 0.0], [0.0, 1.0]], r"\(dim,\) and covariance \(dim, dim\)"),
    "asymmetric": ([0.0, 0.0], [[1.0, 0.5], [0.2, 1.0]], "symmetric"),
    "indefinite": ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "positive definite, got eigenvalues"),
    "nan mean": ([math.nan], [[1.0]], "mean must be finite"),
    "nan covariance": ([0.0], [[math.nan]], "finite and symmetric"),
}


@pytest.mark.parametrize(("mean", "covariance", "message"), BAD.values(), ids=BAD)
def test_bad_laws_are_refused(mean, covariance, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fm.problems.GaussianInterpolant(mean, covariance)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.2, math.nan])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        fm.problems.TwoPointMixture(weight=weight)

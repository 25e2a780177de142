"""Laws of data with known field and flow map, and maps with parameters that are exact at theta = 0.

Each law gives draws in which every (s, t, x) stands twice, once for each of two velocities of the
interpolant there, weighted so that their mean is the field: what holds of an expectation over the
data then holds of a sum, to rounding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import flowmaps as fm

Velocities = Callable[[Tensor, Tensor, Tensor], tuple[list[Tensor], list[Tensor]]]

DIRECTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "constant": lambda s, t, x: torch.ones_like(x),
    "x": lambda s, t, x: x,
    "sine of x": lambda s, t, x: torch.sin(2 * x.flip(1)),
    "s": lambda s, t, x: s * torch.ones_like(x),
    "t": lambda s, t, x: t * torch.ones_like(x),
    "span": lambda s, t, x: (t - s) * torch.ones_like(x),
    "span times x": lambda s, t, x: (t - s) * x,
}


class Perturbed(nn.Module):
    """The mean velocity of an exact map plus sum_k theta_k direction_k(s, t, x)."""

    def __init__(self, transport: Callable[..., Tensor], field: Callable[..., Tensor]):
        super().__init__()
        self.transport, self.field = transport, field
        self.theta = nn.Parameter(torch.zeros(len(DIRECTIONS)))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        start, end = s[:, None], t[:, None]
        meet = start == end
        chord = (self.transport(s, t, x) - x) / torch.where(meet, 1.0, end - start)
        known = torch.where(meet, self.field(t, x), chord)
        added = [direction(start, end, x) for direction in DIRECTIONS.values()]
        return known + torch.einsum("k,k...->...", self.theta, torch.stack(added))


@dataclass(frozen=True)
class Law:
    """An interpolant between base and data, its exact field and flow map, and exact draws.

    Args:
        interpolant: the path.
        field, transport: b(t, x) and X_{s,t}(x), times (batch,).
        pairs: n -> x0, x1.
        velocities: (s, x, I'_s) -> velocities at (s, x) and their probabilities (batch,).
        domain: states for objectives that need no data.
        times: interval of s and t.
    """

    interpolant: fm.interpolants.Interpolant
    field: Callable[..., Tensor]
    transport: Callable[..., Tensor]
    pairs: Callable[[int], tuple[Tensor, Tensor]]
    velocities: Velocities
    domain: fm.domains.Box
    times: tuple[float, float] = (0.0, 1.0)

    @property
    def exact(self) -> fm.maps.FlowMap:
        return fm.maps.ExactFlowMap(self.transport, velocity=self.field)

    def learned(
        self, direction: str | None = None, by: float = 0.1, backward: bool = False
    ) -> fm.maps.FlowMap:
        """Return a map exact at ``.network.theta`` = 0, which is ``by`` in the direction named."""
        network = Perturbed(self.transport, self.field)
        if direction is not None:
            network.theta.data[list(DIRECTIONS).index(direction)] = by
        return fm.maps.NeuralFlowMap(network, times=fm.maps.TimeSet(0.0, 1.0, backward=backward))

    def draw(self, objective: fm.objectives.Objective, n: int) -> "WeightedDraw":
        """Return n points at times of the objective's law, each with both its velocities."""
        s, t = objective.times.sample(n, self.times)
        x0, x1 = self.pairs(n)
        points = self.interpolant.interpolate(s, x0, x1)
        if isinstance(objective.points, fm.objectives.AtStates):
            points = self.domain.sample(n)
        velocities, chances = self.velocities(s, points, self.interpolant.velocity(s, x0, x1))
        u = None if objective.middles is None else objective.middles.sample(s, t)
        rows = fm.objectives.Draw(s, t, points, u=u)
        twice = pytree.tree_map(lambda leaf: leaf.repeat_interleave(2, 0), rows)
        velocity = torch.stack(velocities, 1).flatten(0, 1)
        twice = replace(twice, velocity=velocity, diagonal=2 * objective.times.diagonal(n))
        if (
            u is not None
        ):  # on the path of the same noise and data, which on the linear one is straight
            step = (twice.u - twice.s)[:, None]
            twice = replace(twice, middle=twice.points + step * velocity)
        return WeightedDraw(twice, torch.stack(chances, 1).flatten() / n, self)


@dataclass(frozen=True)
class WeightedDraw:
    """Rows of a draw and their probabilities, with which a loss is an expectation."""

    rows: fm.objectives.Draw
    chances: Tensor
    law: Law

    def loss(self, objective: fm.objectives.Objective, learned: fm.maps.FlowMap) -> Tensor:
        return (self.chances * objective(learned, self.rows).per_sample).sum()

    def gradient(self, objective: fm.objectives.Objective, learned: fm.maps.FlowMap) -> Tensor:
        return torch.autograd.grad(self.loss(objective, learned), learned.network.theta)[0]

    @property
    def irreducible(self) -> Tensor:
        """E |I' - b|^2 on the diagonal, which no map can lower."""
        rows = self.rows[: self.rows.diagonal]
        noise = rows.velocity - self.law.field(rows.s, rows.points)
        return (self.chances[: len(rows)] * noise.square().sum(1)).sum()


# ---------------------------------------------------------------------------- Gaussians


def gaussian(
    interpolant: fm.interpolants.Interpolant | None = None, mean: float = 0.7, sigma: float = 0.5
) -> Law:
    """N(0, 1) to N(mean, sigma^2), one dimension: S^2 = alpha^2 + beta^2 sigma^2 is the variance.

    b = beta' m + (S'/S)(x - beta m) and X_{s,t}(x) = beta_t m + (S_t/S_s)(x - beta_s m).
    """
    path = interpolant or fm.interpolants.Linear()

    def spread(t: Tensor) -> Tensor:
        return torch.sqrt(path.alpha(t) ** 2 + (path.beta(t) * sigma) ** 2)[:, None]

    def field(t: Tensor, x: Tensor) -> Tensor:
        slope = path.alpha(t) * path.alpha_derivative(t)
        slope = slope + path.beta(t) * path.beta_derivative(t) * sigma**2
        rate = slope[:, None] / spread(t) ** 2
        return mean * path.beta_derivative(t)[:, None] + rate * (x - mean * path.beta(t)[:, None])

    def transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        centered = x - mean * path.beta(s)[:, None]
        return mean * path.beta(t)[:, None] + spread(t) / spread(s) * centered

    return Law(
        path,
        field,
        transport,
        lambda n: (torch.randn(n, 1), mean + sigma * torch.randn(n, 1)),
        reflections(field),
        fm.domains.Box([-2.0], [2.0]),
        path.times,
    )


def full_covariance() -> Law:
    """The plane's N(0, 1) to a Gaussian whose covariance is not diagonal, linear path."""
    mean, covariance = torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 0.6], [0.6, 0.5]])
    problem = fm.problems.GaussianInterpolant(mean, covariance)
    root = torch.linalg.cholesky(covariance)
    return Law(
        fm.interpolants.Linear(),
        problem.field,
        problem.exact,
        lambda n: (torch.randn(n, 2), mean + torch.randn(n, 2) @ root.T),
        reflections(problem.field),
        fm.domains.Box([-2.0, -2.0], [2.0, 2.0]),
    )


def reflections(field: Callable[..., Tensor]) -> Velocities:
    """A velocity and its reflection at the field: Gaussian noise is symmetric."""

    def velocities(s: Tensor, x: Tensor, slope: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        half = torch.full_like(s, 0.5)
        return [slope, 2 * field(s, x) - slope], [half, half]

    return velocities


# ---------------------------------------------------------------------------- two points


def two_points() -> Law:
    """N(0, 1) to -1/2 with probability .8 and 2 with .2, linear path: asymmetric, and exact.

    At I_s = x the data is one of the points, with velocity (point - x) / (1 - s) and probability by
    Bayes' rule. In one dimension the flow map is X_{s,t} = Q_t o F_s, quantile after distribution.
    """
    first, second, weight = -0.5, 2.0, 0.8
    problem = fm.problems.TwoPointMixture(weight, first, second)

    def distribution(t: Tensor, x: Tensor) -> Tensor:
        below = [normal((x - t * point) / (1 - t)) for point in (first, second)]
        return weight * below[0] + (1 - weight) * below[1]

    def density(t: Tensor, x: Tensor) -> Tensor:
        heights = [bell((x - t * point) / (1 - t)) for point in (first, second)]
        return (weight * heights[0] + (1 - weight) * heights[1]) / (1 - t)

    def transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        s, t = s[:, None], t[:, None]
        level = distribution(s, x)
        with torch.no_grad():
            low, high = torch.full_like(x, -10.0), torch.full_like(x, 12.0)
            for _ in range(60):
                middle = (low + high) / 2
                above = distribution(t.detach(), middle) > level.detach()
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        # a step of Newton's method gives the derivatives, in reverse and in forward mode
        y = ((low + high) / 2).detach()
        return y - (distribution(t, y) - level) / density(t, y)

    def pairs(n: int) -> tuple[Tensor, Tensor]:
        chosen = torch.rand(n, 1) < weight
        return torch.randn(n, 1), torch.where(chosen, first, second)

    def velocities(s: Tensor, x: Tensor, slope: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        slopes = [(point - x) / (1 - s)[:, None] for point in (first, second)]
        return slopes, list(problem.posterior_weights(s, x).unbind(1))

    return Law(
        fm.interpolants.Linear(),
        problem.field,
        transport,
        pairs,
        velocities,
        fm.domains.Box([-1.0], [1.0]),
        (0.0, 0.7),  # later the quantile is ill-conditioned between the points
    )


def normal(z: Tensor) -> Tensor:
    return torch.erfc(-z / math.sqrt(2)) / 2


def bell(z: Tensor) -> Tensor:
    return torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


# ---------------------------------------------------------------------------- fixtures

LAWS: dict[str, Callable[[], Law]] = {
    "Gaussian": gaussian,
    "full covariance": full_covariance,
    "trigonometric": lambda: gaussian(fm.interpolants.Trigonometric()),
    "two points": two_points,
}


@pytest.fixture(params=LAWS)
def law(request: pytest.FixtureRequest) -> Law:
    """Each of the laws in turn."""
    return LAWS[request.param]()


@pytest.fixture(scope="session")
def laws() -> SimpleNamespace:
    """Makers of the laws, and the names of the directions in which a map is perturbed."""
    return SimpleNamespace(
        gaussian=gaussian,
        full_covariance=full_covariance,
        two_points=two_points,
        directions=tuple(DIRECTIONS),
    )

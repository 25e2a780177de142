"""The Gaussian in one dimension: base N(0, 1), data N(m, sigma^2), linear path, all known."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

MEAN, SIGMA = 0.7, 0.5


def _spread(t: Tensor) -> Tensor:
    return torch.sqrt((1 - t) ** 2 + (t * SIGMA) ** 2)


def _field(t: Tensor, x: Tensor) -> Tensor:
    """b(t, x) = m + (S'/S)(x - t m)."""
    rate = (t * (1 + SIGMA**2) - 1) / _spread(t) ** 2
    return MEAN + rate[:, None] * (x - t[:, None] * MEAN)


def _transport(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """X_{s,t}(x) = t m + (S(t)/S(s)) (x - s m)."""
    return t[:, None] * MEAN + (_spread(t) / _spread(s))[:, None] * (x - s[:, None] * MEAN)


class _MeanVelocity(nn.Module):
    """(X_{s,t}(x) - x) / (t - s) without the division, plus what vanishes at theta = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(4))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        rate = ((t + s) * (1 + SIGMA**2) - 2) / (_spread(t) + _spread(s)) / _spread(s)
        exact = MEAN + rate[:, None] * (x - s[:, None] * MEAN)
        a, b, c, d = self.theta
        return exact + a + b * x + c * t[:, None] + d * (t - s)[:, None] * x


@pytest.fixture
def gaussian() -> SimpleNamespace:
    """Field, exact map, and a map with parameters that is exact at theta = 0."""
    learned = fm.maps.NeuralFlowMap(_MeanVelocity())
    return SimpleNamespace(
        mean=MEAN,
        sigma=SIGMA,
        field=_field,
        exact=fm.maps.ExactFlowMap(_transport),
        learned=learned,
        theta=learned.network.theta,
        pairs=lambda n: fm.objectives.Pairs(torch.randn(n, 1), MEAN + SIGMA * torch.randn(n, 1)),
    )

"""Independent oracles: closed forms, and SciPy's DOP853 on formulas written in NumPy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor


class ExactFlow(NamedTuple):
    """A field, its flow map in closed form, and starts where both are tame for times in [0, 3]."""

    field: Callable[[Tensor, Tensor], Tensor]
    flow: Callable[[Tensor, Tensor, Tensor], Tensor]
    start: list[list[float]]


def _turn(angle: Tensor, x: Tensor) -> Tensor:
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], dim=1)


EXACT = {
    "logistic": ExactFlow(
        lambda t, x: x * (1 - x),
        lambda s, t, x: x / (x + (1 - x) * torch.exp(s - t)[:, None]),
        [[0.2], [0.5], [0.8]],
    ),
    "gaussian": ExactFlow(
        lambda t, x: -t[:, None] * x,
        lambda s, t, x: x * torch.exp((s**2 - t**2) / 2)[:, None],
        [[1.0, -2.0, 0.5]],
    ),
    "riccati": ExactFlow(
        lambda t, x: -torch.cos(t)[:, None] * x**2,
        lambda s, t, x: x / (1 + x * (torch.sin(t) - torch.sin(s))[:, None]),
        [[0.5], [-0.25]],
    ),
    "swing": ExactFlow(  # a rotation whose speed is 2 cos t
        lambda t, x: 2 * torch.cos(t)[:, None] * torch.stack([-x[:, 1], x[:, 0]], dim=1),
        lambda s, t, x: _turn(2 * (torch.sin(t) - torch.sin(s)), x),
        [[1.0, 0.0], [0.3, -0.7]],
    ),
}


@pytest.fixture(params=list(EXACT))
def exact(request: pytest.FixtureRequest) -> ExactFlow:
    """Runs a test on every exact flow."""
    return EXACT[request.param]


@pytest.fixture(scope="session")
def exact_flows() -> dict[str, ExactFlow]:
    """All exact flows by name, for tests that draw one."""
    return EXACT


def _dop853(rhs: Callable, s: float, t: float, x: np.ndarray) -> np.ndarray:
    if s == t:
        return x
    found = solve_ivp(rhs, (s, t), x, method="DOP853", rtol=1e-12, atol=1e-13)
    assert found.success
    return found.y[:, -1]


@pytest.fixture(scope="session")
def dop853() -> Callable[[Callable, float, float, np.ndarray], np.ndarray]:
    """``dop853(rhs, s, t, x)`` for one sample in NumPy, tolerances 1e-12."""
    return _dop853


class Pendulum(NamedTuple):
    """x'' = -g sin x - d x' cos t with condition (g, d), and its derivatives by DOP853."""

    field: Callable[[Tensor, Tensor, Tensor], Tensor]
    solution: Callable[[float, float, Tensor, Tensor], Tensor]
    """X_{s,t}(x; p) of one sample."""
    derivatives: Callable[[float, float, Tensor, Tensor], tuple[Tensor, ...]]
    """X, dX/dx (2, 2), dX/dp (2, 2), dX/ds (2,), dX/dt (2,) of one sample."""


def _pendulum(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    g, d = condition.unbind(1)
    return torch.stack([x[:, 1], -g * torch.sin(x[:, 0]) - d * x[:, 1] * torch.cos(t)], dim=1)


def _rate(t: float, x: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.array([x[1], -p[0] * np.sin(x[0]) - p[1] * x[1] * np.cos(t)])


def _variational(t: float, z: np.ndarray, p: np.ndarray) -> np.ndarray:
    x, jacobian, sensitivity = z[:2], z[2:6].reshape(2, 2), z[6:].reshape(2, 2)
    by_state = np.array([[0.0, 1.0], [-p[0] * np.cos(x[0]), -p[1] * np.cos(t)]])
    by_parameters = np.array([[0.0, 0.0], [-np.sin(x[0]), -x[1] * np.cos(t)]])
    rates = by_state @ jacobian, by_state @ sensitivity + by_parameters
    return np.concatenate([_rate(t, x, p), rates[0].ravel(), rates[1].ravel()])


def _derivatives(s: float, t: float, x: Tensor, p: Tensor) -> tuple[Tensor, ...]:
    start, parameters = x.detach().numpy(), p.detach().numpy()
    z = np.concatenate([start, np.eye(2).ravel(), np.zeros(4)])
    z = _dop853(lambda r, y: _variational(r, y, parameters), s, t, z)
    end, jacobian, sensitivity = z[:2], z[2:6].reshape(2, 2), z[6:].reshape(2, 2)
    parts = (
        end,
        jacobian,
        sensitivity,
        -jacobian @ _rate(s, start, parameters),
        _rate(t, end, parameters),
    )
    return tuple(torch.from_numpy(np.array(part)) for part in parts)


@pytest.fixture(scope="session")
def pendulum() -> Pendulum:
    """A driven pendulum with parameters as condition and exact derivatives."""
    return Pendulum(_pendulum, lambda s, t, x, p: _derivatives(s, t, x, p)[0], _derivatives)


def _central(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    h, weights = 1e-3, (3 / 4, -3 / 20, 1 / 60)
    pairs = (function(x + k * h * v) - function(x - k * h * v) for k in (1, 2, 3))
    return torch.stack([w / h * pair for w, pair in zip(weights, pairs, strict=True)]).sum(0)


@pytest.fixture(scope="session")
def central() -> Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]:
    """``central(function, x, v)``: the derivative along v by central differences of order 6."""
    return _central

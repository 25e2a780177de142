"""Errors of derivatives fall with the tolerance, against the variational equation by DOP853."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowmaps.solvers import ContinuousAdjoint, DiscreteGradient, Dop853, Rodas5P, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

TOLERANCES = (1e-4, 1e-6, 1e-8)
NAMES = ("s", "t", "x", "condition")


@pytest.fixture(scope="module")
def case(pendulum):
    """Times, states and conditions, weights, and the gradients of the weighted ends."""
    s, t, x, p, w = (
        torch.tensor(values, dtype=torch.float64)
        for values in (
            [0.0, 1.4, 0.9],
            [1.8, 0.1, -1.0],
            [[0.4, 0.0], [1.5, -0.6], [-2.0, 0.3]],
            [[1.0, 0.2], [2.0, -0.3], [3.0, 0.8]],
            [[1.0, -0.3], [0.2, 0.7], [-0.5, 1.1]],
        )
    )
    rows = [pendulum.derivatives(float(s[i]), float(t[i]), x[i], p[i]) for i in range(3)]
    _, by_x, by_p, by_s, by_t = (torch.stack(parts) for parts in zip(*rows, strict=True))
    truth = [(w * by_s).sum(1), (w * by_t).sum(1)]
    truth += [(matrices.mT @ w[..., None])[..., 0] for matrices in (by_x, by_p)]
    return (s, t, x, p), w, truth


def largest(found: Any, truth: list[Tensor]) -> dict[str, float]:
    pairs = zip(found, truth, strict=True)
    errors = (float(((a - b).abs() / (1 + b.abs())).max()) for a, b in pairs)
    return dict(zip(NAMES, errors, strict=True))


WAYS: dict[str, dict[str, Any]] = {
    "Tsit5": {"method": Tsit5()},
    "Dop853": {"method": Dop853()},
    "Rodas5P": {"method": Rodas5P()},
    "step sizes": {"gradient": DiscreteGradient(step_sizes=True)},
    "adjoint": {"gradient": ContinuousAdjoint()},
    "adjoint, recorded": {"gradient": ContinuousAdjoint(record=True)},
    "adjoint, Dop853": {"gradient": ContinuousAdjoint(), "method": Dop853()},
}


@pytest.mark.parametrize("way", list(WAYS))
def test_reverse_mode(way, pendulum, case) -> None:
    arguments, w, truth = case
    for tolerance in TOLERANCES:
        leaves = [a.clone().requires_grad_() for a in arguments]
        end = solve(pendulum.field, *leaves, rtol=tolerance, atol=tolerance, **WAYS[way]).x
        errors = largest(torch.autograd.grad((w * end).sum(), leaves), truth)
        assert max(errors.values()) < 100 * tolerance, (tolerance, errors)


@pytest.mark.parametrize("way", ["Tsit5", "Dop853", "step sizes"])
def test_forward_mode(way, pendulum, case) -> None:
    """Along the gradient itself, so that the derivative is its square."""
    arguments, w, truth = case
    square = torch.stack([gradient.square().sum() for gradient in truth]).sum()
    for tolerance in TOLERANCES:

        def run(*arguments: Tensor, tolerance: float = tolerance) -> Tensor:
            return solve(pendulum.field, *arguments, rtol=tolerance, atol=tolerance, **WAYS[way]).x

        change = (w * jvp(run, arguments, tuple(truth))[1]).sum()
        assert abs(change - square) < 100 * tolerance * square, tolerance

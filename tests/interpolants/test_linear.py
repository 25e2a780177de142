"""The linear interpolant: ends, velocity, shapes, bad input."""

from typing import Any

import pytest
import torch

import flowmaps as fm


def test_it_runs_from_base_to_data(default_dtype: torch.dtype) -> None:
    path = fm.interpolants.Linear()
    x0, x1 = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    lower, upper = path.times
    assert torch.equal(path.interpolate(lower, x0, x1), x0)
    assert torch.equal(path.interpolate(upper, x0, x1), x1)
    assert path.velocity(0.3, x0, x1).dtype == default_dtype


@pytest.mark.parametrize("path", [fm.interpolants.Linear()])
def test_the_velocity_is_the_derivative(path: fm.interpolants.Interpolant) -> None:
    x0, x1, t = torch.randn(6, 3), torch.randn(6, 3), torch.rand(6)
    slope = torch.func.jvp(lambda t: path.interpolate(t, x0, x1), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(path.velocity(t, x0, x1), slope)
    for coefficient, derivative in (
        (path.alpha, path.alpha_derivative),
        (path.beta, path.beta_derivative),
    ):
        difference = (coefficient(t + 1e-4) - coefficient(t - 1e-4)) / 2e-4
        torch.testing.assert_close(derivative(t), difference, rtol=1e-7, atol=1e-7)


def test_every_sample_has_its_own_time() -> None:
    path = fm.interpolants.Linear()
    x = path.interpolate(torch.tensor([0.0, 0.5, 1.0]), torch.zeros(3, 2), torch.ones(3, 2))
    assert x.tolist() == [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]


def test_half_precision_states_keep_their_dtype() -> None:
    x = torch.ones(3, 2, dtype=torch.bfloat16)
    assert fm.interpolants.Linear().interpolate(torch.rand(3), x, x).dtype == torch.bfloat16


def test_it_describes_itself() -> None:
    assert fm.interpolants.Linear(**fm.interpolants.Linear().config()).times == (0.0, 1.0)


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
    t: Any, shape: tuple[int, ...], dtype: torch.dtype, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fm.interpolants.Linear().interpolate(t, torch.zeros(shape, dtype=dtype), torch.zeros(3, 2))

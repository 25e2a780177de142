"""Single-precision states at large times: a warning where the field feels it, silence elsewhere."""

import math
import warnings

import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import RK4, TorchDiffEq, solve


def waves(t: Tensor, x: Tensor) -> Tensor:
    return torch.cos(t)[:, None] + 0 * x


X = torch.zeros(2, 1, dtype=torch.float32)


@pytest.mark.parametrize(
    "options", [{}, {"method": RK4(), "steps": 8}, {"method": TorchDiffEq()}], ids=str
)
@pytest.mark.parametrize("s", [1e5, -1e6, 1e9])
def test_a_field_of_time_is_warned_of(s: float, options: dict) -> None:
    with pytest.warns(UserWarning, match=r"times .* apart between s = .*float64.*nearer origin"):
        solve(waves, torch.tensor([s - 1.0, s], dtype=torch.float64), s + 1.0, X, **options)


@pytest.mark.parametrize("s", [0.0, 1.0, -100.0, 1e3])
def test_small_errors_go_without_a_warning(s: float) -> None:
    """What float32 does to the times costs less than 1e-5, as it does to the states."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = solve(waves, s, s + 1.0, X).x
    assert abs(y[0].item() - (math.sin(s + 1) - math.sin(s))) < 1e-5


def test_nobody_else_is_warned() -> None:
    """Fields without time, double precision, no span, and the cure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve(lambda t, x: -x, 1e6, 1e6 + 1, X + 1).success.all()
        assert solve(waves, 1e6, 1e6 + 1, X.double()).success.all()
        assert solve(waves, 1e6, 1e6, X).success.all()
        assert solve(lambda t, x: waves(t + 1e6 % math.tau, x), 0.0, 1.0, X).success.all()
        for few in (1, 3, 50):  # units of time, over which nothing happens
            assert solve(waves, 0.3, 0.3 + few * 3e-8, X + 1).success.all()
        fm.maps.SolverFlowMap(lambda t, x: -x)(1e6, 1e6 + 1, X)


@pytest.mark.parametrize("s", [1e6, 1000.0, -2e6])
def test_the_warning_asks_within_a_span_that_has_times(s: float) -> None:
    seen = []

    def field(t: Tensor, x: Tensor) -> Tensor:
        seen.append(t.double())
        return -x

    solve(field, s, s + 0.3, torch.ones(1, 1, dtype=torch.float32), check_field=False)
    asked = torch.cat(seen)
    assert s <= asked.min() and asked.max() <= s + 0.3

"""Laws that a flow carries along, by samples: told apart, and never by chance alone."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import flowmaps as fm
from flowmaps.testing.properties import PushForward
from flowmaps.testing.properties._law import kolmogorov_smirnov

ONLY = ["push-forward of samples"]


def _normal(t: float, n: int, generator: torch.Generator, rate: float = 1.0) -> Tensor:
    """Return samples of the law at t that starts at 0 as a standard normal one."""
    return math.exp(-rate * t) * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def _decay(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x * torch.exp(s - t)[:, None]


BOX, TIMES = fm.testing.Box([-3.0, -3.0], [3.0, 3.0]), (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_right_map_carries_the_law_along(seed: int) -> None:
    report = fm.testing.verify(_decay, None, BOX, TIMES, samples=_normal, only=ONLY, seed=seed)
    found = report["push-forward of samples"]
    assert found.status == "passed" and found.points == 4
    assert 0 < found.quantiles[1.0] < 0.03


@pytest.mark.parametrize(
    "wrong",
    [
        lambda s, t, x: _decay(s, t, x) + 0.2,
        lambda s, t, x: x * torch.exp(2 * (s - t))[:, None],
        lambda s, t, x: _decay(s, t, x).abs(),
        lambda s, t, x: _decay(s, t, x) * float("nan"),
    ],
    ids=["shifted", "faster", "folded", "NaN"],
)
def test_another_law_is_told_apart(wrong: Callable[..., Tensor]) -> None:
    report = fm.testing.verify(wrong, None, BOX, TIMES, samples=_normal, only=ONLY)
    assert report["push-forward of samples"].status == "failed"


def test_a_rotation_of_an_isotropic_law_passes_though_it_is_another_flow() -> None:
    """The law alone does not tell flows apart."""

    def turning(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        angle = (t - s)[:, None]
        return torch.cat(
            [
                x[:, :1] * angle.cos() - x[:, 1:] * angle.sin(),
                x[:, :1] * angle.sin() + x[:, 1:] * angle.cos(),
            ],
            dim=1,
        )

    report = fm.testing.verify(
        turning,
        lambda t, x: 0 * x,
        BOX,
        TIMES,
        samples=lambda t, n, generator: _normal(0.0, n, generator),
        points=64,
        shrink=False,
    )
    assert report["push-forward of samples"].status == "passed"
    assert report.verdict == "a flow"


def test_samples_are_of_the_condition_that_they_are_asked_for() -> None:
    def flow_map(s: Tensor, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        return x * torch.exp(condition[:, 0] * (s - t))[:, None]

    def samples(t: float, n: int, generator: torch.Generator, condition: Tensor) -> Tensor:
        assert condition.shape == (n, 1) and bool((condition == condition[:1]).all())
        return _normal(t, n, generator, condition[0, 0].item())

    rates = fm.testing.Box([0.5], [2.0])
    report = fm.testing.verify(flow_map, None, BOX, TIMES, rates, samples=samples, only=ONLY)
    assert report["push-forward of samples"].status == "passed"
    asleep = fm.testing.verify(
        lambda s, t, x, c: flow_map(s, t, x, 0 * c),
        None,
        BOX,
        TIMES,
        rates,
        samples=samples,
        only=ONLY,
    )
    assert asleep["push-forward of samples"].status == "failed"


@pytest.mark.parametrize(
    "samples",
    [
        lambda t, n, generator: torch.zeros(n, 3),
        lambda t, n, generator: torch.zeros(7, 2),
        lambda t, n, generator: torch.full((n, 2), math.inf),
    ],
)
def test_samples_of_another_shape_are_an_error(samples: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="must return n finite states"):
        fm.testing.verify(_decay, None, BOX, TIMES, samples=samples)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(-1.0, 1.0), st.floats(0.5, 2.0))
def test_the_distance_is_that_of_kolmogorov_and_smirnov(
    seed: int, shift: float, width: float
) -> None:
    """Against scipy, along the one direction that numbers have; ties included."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 500, generator=generator, dtype=torch.float64).round(decimals=1)
    a = width * a + shift
    found = kolmogorov_smirnov(a[:, None], b[:, None])
    assert found.item() == pytest.approx(stats.ks_2samp(a.numpy(), b.numpy())[0], abs=1e-12)


def test_the_bound_is_exceeded_as_seldom_as_it_says() -> None:
    """The asymptotic law of the distance gives less than the bound allows, by a factor of ten."""
    prop = PushForward(_normal)
    one = torch.zeros(1, dtype=torch.float64)
    bound = prop.resolution(fm.testing.Draw(one, one, one, one[:, None], one[:, None], None))
    n = 16384
    chance = 16 * stats.kstwobign.sf(bound * math.sqrt(n / 2))
    assert 1e-9 < chance <= 1e-7

"""Calibration against closed forms: errors that are known are found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowmaps as fm

BOX = fm.testing.Box([-1.0, 0.5], [1.0, 2.0])
TIMES = (0.0, 1.0)


def exact(s, t, x):
    return x * torch.exp(s - t)[:, None]


def measured(flow_map, reference=exact, **options):
    options = {"points": 256, "directions": "forward"} | options
    return fm.testing.calibrate(flow_map, reference, BOX, TIMES, **options)


@settings(max_examples=6)
@given(error=st.floats(1e-6, 1e-1), quantile=st.sampled_from([0.5, 0.95, 1.0]))
def test_the_quantile_of_a_known_error(error, quantile):
    """X (1 + error (t - s)): relative to x, values are off by error h exp(-h)."""
    budget = measured(
        lambda s, t, x: exact(s, t, x) * (1 + error * (t - s))[:, None], quantile=quantile
    )
    h = torch.distributions.Beta(1.0, 1.0).sample((200_000, 3)).sort(1).values
    h = h[:, 2] - h[:, 0]
    wanted = error * float((h * torch.exp(-h)).quantile(quantile))
    assert budget.state == pytest.approx(wanted, rel=0.05)
    assert budget.velocity == pytest.approx(error, rel=0.02)  # at t = s
    assert (budget.kind, budget.quantile) == ("learned", quantile)


@pytest.mark.parametrize("derivatives", ["forward", "differences"])
def test_the_map_itself_is_off_by_nothing(derivatives):
    problem = fm.problems.get("rotation")
    budget = fm.testing.calibrate(
        problem.flow_map(),
        problem.flow_map(),
        problem.domain,
        (0.0, 1.0),
        points=64,
        derivatives=derivatives,
    )
    assert budget.state == 0 and budget.velocity < 1e-8


def test_a_calibrated_map_passes_at_other_points_and_a_worse_one_does_not():
    def off(error):
        return lambda s, t, x: exact(s, t, x) * (1 + error * (t - s))[:, None]

    budget = measured(off(1e-3))
    asked = {"budget": budget, "directions": "forward", "points": 256, "seed": 7, "shrink": False}
    judged = [fm.testing.verify(off(e), lambda t, x: -x, BOX, TIMES, **asked) for e in (1e-3, 1e-2)]
    for name in ("tangent", "lagrangian", "integral lagrangian"):
        fine, worse = (one[name].worst for one in judged)
        assert fine <= 1 < worse


@pytest.mark.parametrize("derivatives", ["forward", "differences"])
def test_states_that_wrap_are_compared_by_their_difference_at_every_point(derivatives):
    """An angle that turns by 3 a unit of time, one percent too fast; its wraps are no errors."""

    def wrap(x):
        return torch.remainder(x + torch.pi, 2 * torch.pi) - torch.pi

    def turning(rate):
        return lambda s, t, x: wrap(x + rate * (t - s)[:, None])

    budget = fm.testing.calibrate(
        turning(3.03),
        turning(3.0),
        fm.testing.Box(-torch.pi, torch.pi),
        (0.0, 1.0),
        quantile=1,
        points=512,
        derivatives=derivatives,
        difference=lambda a, b: wrap(a - b),
    )
    assert budget.velocity == pytest.approx(0.01, rel=1e-6) and budget.state < 0.03


def test_values_alone():
    budget = measured(lambda s, t, x: 1.01 * exact(s, t, x).detach(), derivatives="none")
    assert budget.state == budget.velocity == pytest.approx(0.01, rel=0.15)


def test_what_cannot_be_compared_is_refused(refused):
    def nan(s, t, x):
        return exact(s, t, x) * torch.where(x[:, :1] > 0, 1.0, torch.nan)

    def in_numpy(s, t, x):
        return torch.from_numpy(exact(s, t, x).numpy())

    refused(lambda: measured(nan), ValueError, "of the map's values are not finite")
    refused(lambda: measured(exact, nan), ValueError, "reference's values are not finite at")
    refused(
        lambda: measured(lambda s, t, x: x[:1]), ValueError, "the map cannot be compared: .*shape"
    )
    by_numpy = r"has no forward mode choose derivatives=\"differences\""
    refused(lambda: measured(in_numpy), ValueError, by_numpy)
    refused(lambda: measured(exact, difference=3), TypeError, "difference must be a function")
    refused(lambda: measured(exact, seed="one"), TypeError, "seed must be a whole number")
    refused(lambda: measured(exact, 3), TypeError, "reference must be a callable")
    refused(lambda: measured(exact, quantile=0), ValueError, "quantile must be")
    refused(lambda: measured(exact, derivatives="all"), ValueError, "derivatives must be")
    refused(
        lambda: (
            measured(lambda s, t, x: x + 1e-3, lambda s, t, x: 0 * x, derivatives="none", points=8)
            and fm.testing.calibrate(3, exact, BOX, TIMES)
        ),
        TypeError,
        "flow_map must be a callable",
    )

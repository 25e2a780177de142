"""States of an interpolant as the domain of a verification: their law, their conditions."""

import math

import pytest
import torch

import flowmaps as fm

DATA = torch.tensor([[[3.0, -1.0]], [[-2.0, 5.0]]])  # two samples of shape (1, 2), labels 0 and 1
LINEAR, CURVED = fm.interpolants.Linear(), fm.interpolants.Trigonometric()


def states(interpolant=LINEAR):
    pairs = fm.objectives.Pairs(torch.zeros_like(DATA), DATA, condition=torch.tensor([0, 1]))
    return fm.testing.Interpolated(interpolant, pairs)


@pytest.mark.parametrize(
    ("interpolant", "beta"), [(LINEAR, lambda s: s), (CURVED, lambda s: math.sin(math.pi * s / 2))]
)
def test_each_state_is_of_its_start_time_and_its_own_condition(interpolant, beta):
    """Without noise I_s = beta(s) x1, so that a map which sees all of a draw can check it."""

    def flow_map(s, t, x, label):
        for row in range(len(x)):
            seen.append((float(s[row]), x[row].clone(), int(label[row])))
        return x

    seen: list = []
    fm.testing.verify(flow_map, domain=states(interpolant), only=["finite values"], points=32)
    assert len(seen) >= 32 and {label for *_, label in seen} == {0, 1}
    for s, x, label in seen:
        assert x.shape == (1, 2) and 0 <= s <= 1
        torch.testing.assert_close(x, beta(s) * DATA[label].double(), atol=1e-12, rtol=1e-12)


def test_the_law_of_a_gaussian():
    """Noise and normal data of deviation 2: I_s has variance (1 - s)^2 + 4 s^2."""
    data = 2 * torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    domain = fm.testing.Interpolated(LINEAR, fm.objectives.Pairs(None, data))
    s = torch.full((20_000,), 0.3, dtype=torch.float64)
    x, condition = domain.at(s, torch.Generator().manual_seed(1))
    assert condition is None and x.dtype == torch.float64
    assert float(x.var()) == pytest.approx(0.7**2 + 4 * 0.3**2, rel=0.05)
    assert bool(domain.contains(x).all()) and not domain.contains(x * math.nan).any()


def test_the_exact_map_of_a_generative_field_is_verified_there():
    """Data at one point m: b = (m - x) / (1 - t), X = m + (x - m) (1 - t) / (1 - s)."""
    m = torch.tensor([1.0, -2.0], dtype=torch.float64)
    pairs = fm.objectives.Pairs(None, m.repeat(4, 1))
    report = fm.testing.verify(
        lambda s, t, x: m.to(x) + (x - m.to(x)) * ((1 - t) / (1 - s))[:, None],
        lambda t, x: (m.to(x) - x) / (1 - t)[:, None],
        fm.testing.Interpolated(LINEAR, pairs),
        (0.0, 0.9),
        directions="forward",
        points=256,
    )
    assert report.verdict == "flow map of the field"


def test_wrong_use_is_refused(refused):
    pairs = fm.objectives.Pairs(None, DATA)
    refused(lambda: fm.testing.Interpolated("linear", pairs), TypeError, "interpolant must be")
    refused(lambda: fm.testing.Interpolated(LINEAR, DATA), TypeError, "pairs must be")
    refused(
        lambda: fm.testing.verify(
            lambda s, t, x, c: x, domain=states(), conditions=torch.zeros(2), points=8
        ),
        ValueError,
        "conditions come with the data",
    )
    refused(
        lambda: fm.testing.verify(lambda s, t, x, c: x, domain=states(), times=(1.0, 2.0)),
        ValueError,
        "times must be",
    )


@pytest.mark.parametrize("budget", [1e-6, fm.testing.Budget("learned", state=1e-6, quantile=0.9)])
def test_a_machine_starts_from_the_states_of_its_start(budget):
    """Whoever never leaves the map of one time sees only states of that time."""

    def flow_map(s, t, x, label):
        starts.update(
            (float(a), float(b[0, 0] / DATA[c, 0, 0])) for a, b, c in zip(s, x, label, strict=True)
        )
        return x * (t / s)[:, None, None]

    starts: set = set()
    fm.testing.run_machine(flow_map, states(), (0.1, 0.9), budget=budget, runs=8, steps=2)
    assert len(starts) > 3
    # X_{s,t}(x) = x t / s keeps I_s = s x1 there: every call is at I of its own start,
    # but for what it is disturbed by
    assert all(abs(part - s) < 1e-4 for s, part in starts), starts

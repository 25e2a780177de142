"""Sources: how often rows are drawn, what belongs together, what records are found."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

import flowmaps as fm

o = fm.objectives
SEEDS = st.integers(0, 10**6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recorded(seed: int, n_times: int, n: int, own: bool) -> o.Trajectories:
    """Records at irregular times; a state tells its trajectory and its time."""
    g = seeded(seed)
    gaps = 0.01 + torch.rand(n_times, n if own else 1, generator=g) ** 4
    clock = gaps.cumsum(0) + torch.randn(1, n if own else 1, generator=g)
    states = torch.stack([torch.arange(n).expand(n_times, n).double(), clock.expand(-1, n)], dim=2)
    return o.Trajectories(clock if own else clock[:, 0], states, {"row": torch.arange(n)})


def evenly(counts: Tensor) -> bool:
    """Whether counts are those of equal chances, by chi-square."""
    return stats.chisquare(counts.numpy()).pvalue > 1e-4


# ---------------------------------------------------------------------------- pairs


def test_pairs_are_drawn_evenly() -> None:
    x1 = torch.arange(7.0)[:, None]
    x0, drawn, _ = o.Pairs(10 * x1, x1).sample(70_000, seeded())
    assert evenly(drawn.flatten().long().bincount()) and torch.equal(x0, 10 * drawn)


def test_independent_sets_may_differ_in_size() -> None:
    """Every x1 meets every x0 equally often; its condition stays with it."""
    x0, x1 = torch.arange(3.0)[:, None], torch.arange(5.0)[:, None]
    free = o.Pairs(x0, x1, torch.arange(5), fm.interpolants.Independent())
    a, b, row = free.sample(60_000, seeded())
    assert torch.equal(b.flatten().long(), row) and len(free) == 5
    assert evenly(torch.bincount(3 * row + a.flatten().long()))
    once = free.sample(None, seeded(1))
    assert torch.equal(once[1], x1) and once[0].shape == (5, 1)


def test_rows_are_row_by_row_unless_told_otherwise() -> None:
    x = torch.randn(4, 2)
    assert isinstance(o.Pairs(x, x).coupling, fm.interpolants.Given)
    assert isinstance(o.Pairs(None, x).coupling, fm.interpolants.Independent)


def test_what_is_coupled_decides_the_field() -> None:
    """Pairs (x, 2x) at t = 1/2: b = x 2/3; drawn independently: b = x (4 - 1) / 2 / (5 / 4)."""
    x0 = torch.randn(50_000, 1)
    law = o.OnInterpolant(fm.interpolants.Linear())
    for coupling, gain in ((None, 2 / 3), (fm.interpolants.Independent(), 1.2)):
        draw = law.draw(o.Pairs(x0, 2 * x0, coupling=coupling), Half(), None, seeded(), 0.0)
        assert draw.velocity is not None
        slope = (draw.velocity * draw.points).mean() / draw.points.square().mean()
        assert slope.item() == pytest.approx(gain, abs=0.02)


class Half(o.TimeLaw):
    """s = t = 1/2."""

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        half = torch.full((n,), 0.5, dtype=torch.float64)
        return half, half

    def diagonal(self, n: int, progress: float = 0.0) -> int:
        return n


# ---------------------------------------------------------------------------- trajectories


def test_trajectories_are_drawn_evenly_or_each_once() -> None:
    data = recorded(0, 3, 7, own=True)
    rows, condition = data.sample(70_000, seeded())
    assert evenly(rows.bincount()) and torch.equal(condition["row"], rows)
    assert data.sample()[0].tolist() == list(range(7)) and len(data) == 7


@given(SEEDS, st.integers(2, 9), st.integers(1, 5), st.booleans(), st.booleans())
def test_records_are_found_by_time(
    seed: int, n_times: int, n: int, own: bool, on_records: bool
) -> None:
    """Against all distances: the nearest record, and the last one not after a time."""
    data, g = recorded(seed, n_times, n, own), seeded(seed)
    rows, _ = data.sample(50, g)
    clock = data.times[:, rows] if own else data.times[:, None].expand(-1, 50)
    time = torch.lerp(clock[0] - 0.5, clock[-1] + 0.5, torch.rand(50, generator=g).double())
    if on_records:
        time = clock.gather(0, torch.randint(n_times, (1, 50), generator=g))[0]
    assert torch.equal(data.nearest(rows, time), (clock - time).abs().argmin(0))
    last = torch.where(clock <= time, torch.arange(n_times)[:, None], -1).max(0).values
    assert torch.equal(data.latest(rows, time), last.clamp(min=0))
    found, states = data.record(rows, data.nearest(rows, time))
    assert torch.equal(states[:, 0].long(), rows) and torch.equal(states[:, 1], found)
    if on_records:
        assert torch.equal(found, time)


@pytest.mark.parametrize("times", [[0.0, 1.0, 4.0], [[0.0], [1.0], [4.0]]])
def test_of_two_records_as_near_the_earlier_is_taken(times: list) -> None:
    data = o.Trajectories(times, torch.zeros(3, 1, 1))
    halfway = torch.tensor([0.5, 2.5], dtype=torch.float64)
    assert data.nearest(torch.zeros(2).long(), halfway).tolist() == [0, 1]


@given(SEEDS, st.booleans())
def test_fractions_are_of_each_trajectory_s_own_interval(seed: int, own: bool) -> None:
    data = recorded(seed, 4, 3, own)
    rows = torch.arange(3)
    first, last = data.states[0, :, 1], data.states[-1, :, 1]
    for fraction, expected in ((0.0, first), (0.5, (first + last) / 2), (1.0, last)):
        time = data.clock(rows, torch.full((3,), fraction, dtype=torch.float64))
        torch.testing.assert_close(time, expected)
        assert bool((time <= last).all())


def test_records_come_as_along_returns_them() -> None:
    flow = fm.problems.HarmonicOscillator().flow_map()
    x, times = torch.randn(6, 2), [0.0, 0.3, 1.0]
    data = o.Trajectories(times, flow.along(0.0, times, x))
    time, states = data.record(torch.tensor([4, 1]), torch.tensor([0, 2]))
    assert time.tolist() == [0.0, 1.0] and time.dtype == torch.float64
    torch.testing.assert_close(states, torch.cat([x[4:5], flow(0.0, 1.0, x[1:2])]))


TIMES, STATES = torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3, 4, 2)
SPOILT = STATES.clone()
SPOILT[1, 2, 0] = torch.nan
CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "one time": (lambda: o.Trajectories([0.0], STATES[:1]), ValueError, "two times and one traj"),
    "no trajectory": (lambda: o.Trajectories(TIMES, STATES[:, :0]), ValueError, "one trajectory"),
    "no batch": (lambda: o.Trajectories(TIMES, STATES[:, 0, 0]), ValueError, r"\(n_times, n, \*e"),
    "integers": (lambda: o.Trajectories(TIMES, STATES.long()), TypeError, "floating-point"),
    "a list of states": (lambda: o.Trajectories(TIMES, [[0.0]]), TypeError, "must be a torch"),
    "other times": (lambda: o.Trajectories(TIMES[:2], STATES), ValueError, r"\(3,\) or \(3, 4\)"),
    "times of other trajectories": (
        lambda: o.Trajectories(TIMES[:, None].expand(3, 2), STATES),
        ValueError,
        r"\(3,\) or \(3, 4\) .* got \(3, 2\)",
    ),
    "times as text": (lambda: o.Trajectories("now", STATES), TypeError, "times must be a real"),
    "times backwards": (lambda: o.Trajectories([2.0, 1.0, 0.0], STATES), ValueError, "strictly"),
    "a time twice": (lambda: o.Trajectories([0.0, 1.0, 1.0], STATES), ValueError, "strictly incr"),
    "times infinite": (lambda: o.Trajectories([0.0, 1.0, torch.inf], STATES), ValueError, "finite"),
    "times of one trajectory": (
        lambda: o.Trajectories(torch.tensor([[0.0] * 4, [1.0] * 4, [2, 2, 1, 2.0]]), STATES),
        ValueError,
        r"strictly increasing, and are not in trajectories \[2\]",
    ),
    "a state that is not finite": (
        lambda: o.Trajectories(TIMES, SPOILT),
        ValueError,
        r"not finite in trajectories \[2\]; leave those out",
    ),
    "conditions of times": (
        lambda: o.Trajectories(TIMES, STATES, torch.zeros(3)),
        ValueError,
        "condition must have one row for each of the 4",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])


def test_the_advice_on_states_that_are_not_finite_helps() -> None:
    kept = SPOILT[:, SPOILT.isfinite().flatten(2).all(2).all(0)]
    assert len(o.Trajectories(TIMES, kept)) == 3

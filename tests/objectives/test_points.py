"""Laws of points: which records and states a draw is made of."""

from collections.abc import Callable
from typing import final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm

o = fm.objectives
RECORDS = {
    "seed": st.integers(0, 10**6),
    "n_times": st.integers(2, 9),
    "n": st.integers(1, 6),
    "own": st.booleans(),
}
BATCHES = st.one_of(st.none(), st.integers(1, 40))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@final
class Fixed(o.TimeLaw):
    """Fractions given: of the first rows s = t."""

    def __init__(self, s: Tensor, t: Tensor):
        self.s, self.t = s, t

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        lower, upper = interval
        return lower + (upper - lower) * self.s[:n], lower + (upper - lower) * self.t[:n]

    def diagonal(self, n: int, progress: float = 0.0) -> int:
        return int((self.s == self.t)[:n].sum())


@st.composite
def laws(draw: st.DrawFn) -> o.TimeLaw:
    limit = draw(st.sampled_from([None, o.GrowingSpan(0.05, 1.0)]))
    rest = draw(st.sampled_from([o.SortedPair(limit), o.FromStart(limit), o.Diagonal()]))
    share = draw(st.sampled_from([None, 0.0, 0.5, 1.0]))
    return rest if share is None else o.Mixed(share, rest)


def recorded(seed: int, n_times: int, n: int, own: bool) -> o.Trajectories:
    """Records at irregular times; a state tells its trajectory and its time."""
    g = seeded(seed)
    gaps = 0.01 + torch.rand(n_times, n if own else 1, generator=g) ** 4
    clock = gaps.cumsum(0) + torch.randn(1, n if own else 1, generator=g)
    states = torch.stack([torch.arange(n).expand(n_times, n).double(), clock.expand(-1, n)], dim=2)
    return o.Trajectories(clock if own else clock[:, 0], states, torch.arange(n))


def own_clock(data: o.Trajectories, rows: Tensor) -> Tensor:
    """The times of the records of each row, (n_times, batch)."""
    return data.states[:, rows, 1]


# ---------------------------------------------------------------------------- two records


@given(law=laws(), batch=BATCHES, progress=st.floats(0.0, 1.0), **RECORDS)
def test_points_and_images_are_records_of_one_trajectory(
    seed: int,
    law: o.TimeLaw,
    batch: int | None,
    progress: float,
    n_times: int,
    n: int,
    own: bool,
) -> None:
    data = recorded(seed, n_times, n, own)
    draw = o.OnTrajectories().draw(data, law, batch, seeded(seed), progress)
    assert len(draw) == (n if batch is None else batch) and draw.images is not None
    assert draw.s.dtype == draw.t.dtype == torch.float64
    rows = draw.condition
    for time, state in ((draw.s, draw.points), (draw.t, draw.images)):
        assert torch.equal(state[:, 0].long(), rows) and torch.equal(state[:, 1], time)
        assert (own_clock(data, rows) == time).any(0).all()
    assert draw.diagonal == law.diagonal(len(draw), progress)
    assert torch.equal(draw.s[: draw.diagonal], draw.t[: draw.diagonal])
    assert (draw.s < draw.t)[draw.diagonal :].all()


@given(**RECORDS)
def test_times_snap_to_the_nearest_records(seed: int, n_times: int, n: int, own: bool) -> None:
    """Against all distances; rows whose times meet take the next record, or the one before."""
    data, g = recorded(seed, n_times, n, own), seeded(seed + 1)
    s, t = torch.rand(60, 2, generator=g).double().sort(1).values.unbind(1)
    s, t = torch.cat([t[:20], s[20:]]), t  # twenty rows on the diagonal
    draw = o.OnTrajectories().draw(data, Fixed(s, t), 60, seeded(seed), 0.0)
    clock = own_clock(data, draw.condition)
    first, last = (
        (clock - torch.lerp(clock[0], clock[-1], fraction)).abs().argmin(0) for fraction in (s, t)
    )
    for i in range(20, 60):
        if first[i] == last[i]:
            at_end = int(first[i]) == n_times - 1
            first[i], last[i] = (first[i] - 1, last[i]) if at_end else (first[i], last[i] + 1)
    assert torch.equal(draw.s, clock.gather(0, first[None])[0])
    assert torch.equal(draw.t, clock.gather(0, last[None])[0])


@given(law=laws(), **RECORDS)
def test_the_order_of_the_trajectories_does_not_matter(
    seed: int, law: o.TimeLaw, n_times: int, n: int, own: bool
) -> None:
    """A trajectory is drawn alike wherever it stands; with every one once, row by row."""
    data = recorded(seed, n_times, n, own)
    order = torch.randperm(n, generator=seeded(seed))
    times = data.times[:, order] if own else data.times
    mixed = o.Trajectories(times, data.states[:, order], order)
    for points in (o.OnTrajectories(), o.AtStates()):
        draw = points.draw(mixed, law, 30, seeded(seed), 0.0)
        same = points.draw(data, law, 30, seeded(seed), 0.0)
        assert torch.equal(draw.condition, order[same.condition])
        if not own:
            assert torch.equal(draw.points[:, 1], same.points[:, 1])
            assert torch.equal(draw.t, same.t)


@final
class Growing(o.TimeLaw):
    """A share of the rows that falls with progress has s = t = the interval's end."""

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        s, t = torch.full((2, n), interval[1], dtype=torch.float64)
        s[self.diagonal(n, progress) :] = interval[0]
        return s, t

    def diagonal(self, n: int, progress: float = 0.0) -> int:
        return round((1 - progress) * n)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_the_diagonal_is_the_law_s_at_this_progress(progress: float) -> None:
    sources = {o.OnTrajectories(): DATA, o.AtStates(): DATA, LINE: PAIRS}
    for points, source in (*sources.items(), (o.AtStates(), DOMAIN)):
        draw = points.draw(source, Growing(), 8, seeded(), progress)
        assert draw.diagonal == round(8 * (1 - progress)) == (draw.s == draw.t).sum()


def test_every_record_is_reached() -> None:
    data = recorded(0, 6, 3, own=False)
    draw = o.OnTrajectories().draw(data, o.SortedPair(), 4000, seeded(), 0.0)
    starts, ends = (time.unique().tolist() for time in (draw.s, draw.t))
    assert starts == data.times[:-1].tolist() and ends == data.times[1:].tolist()
    again = o.OnTrajectories().draw(data, o.Diagonal(), 4000, seeded(), 0.0)
    assert again.s.unique().tolist() == data.times.tolist()


def test_trajectories_of_different_times_are_drawn_over_their_own() -> None:
    """Not over the hull of all: records of windows far apart would all snap to their ends."""
    times = torch.tensor([0.0, 100.0]) + torch.linspace(0, 1, 11)[:, None]
    data = o.Trajectories(times, torch.zeros(11, 2, 1), torch.arange(2))
    draw = o.OnTrajectories().draw(data, o.Diagonal(), 20_000, seeded(), 0.0)
    for row in (0, 1):
        counts = (draw.s[draw.condition == row] - 100 * row).mul(10).round().long().bincount()
        inner = counts[1:-1].double()
        assert (inner / inner.mean() - 1).abs().max() < 0.15 and counts[0] < 0.7 * inner.mean()


# ---------------------------------------------------------------------------- known fields


@given(law=laws(), batch=BATCHES, **RECORDS)
def test_states_are_records_and_spans_are_the_law_s(
    seed: int, law: o.TimeLaw, batch: int | None, n_times: int, n: int, own: bool
) -> None:
    data = recorded(seed, n_times, n, own)
    draw = o.AtStates().draw(data, law, batch, seeded(seed), 0.0)
    rows, on = draw.condition, draw.diagonal
    clock = own_clock(data, rows)
    assert draw.images is None
    assert torch.equal(draw.points, torch.stack([rows.double(), draw.s], dim=1))
    assert (clock == draw.s).any(0).all()
    assert torch.equal(draw.s[:on], draw.t[:on])
    assert (draw.s < draw.t)[on:].all() and (draw.t <= clock[-1]).all()
    g = seeded(seed)
    data.sample(batch, g)
    s, t = (torch.lerp(clock[0], clock[-1], f) for f in law.sample(len(draw), (0.0, 1.0), g, 0.0))
    torch.testing.assert_close(draw.t - draw.s, t - s)
    before = torch.where(clock <= s + 1e-12, clock, -torch.inf).max(0).values
    torch.testing.assert_close(draw.s[on:], before[on:])
    nearest = (clock - s).abs().min(0).values
    torch.testing.assert_close((draw.s - s).abs()[:on], nearest[:on])


def wiggle(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The flow of x' = 1 but between the records of spacing 1/4, and with the right slope there."""
    span = (t - s)[:, None]
    return x + span + 0.1 * torch.sin(4 * torch.pi * span) ** 2


def test_a_residual_sees_between_the_records() -> None:
    """A map with the right slope at the records' distances is caught; the exact one is not."""
    times = torch.linspace(0, 2, 9)
    data = o.Trajectories(times, times[:, None, None] + torch.randn(1, 50, 1))
    objective = o.lagrangian_residual(lambda t, x: torch.ones_like(x))
    draw = objective.draw(data, batch=200, generator=seeded())
    exact = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
    wrong = fm.maps.ExactFlowMap(wiggle)
    assert objective(exact, draw).total < 1e-20
    assert objective(wrong, draw).total > 0.1
    snapped = o.OnTrajectories().draw(data, o.SortedPair(), 200, seeded(), 0.0)
    assert objective(wrong, snapped).total < 1e-20


def test_a_known_field_is_learned_at_records_as_in_a_domain() -> None:
    """Records that fill a box teach what the box does: a wrong map has the same residual."""
    pendulum = fm.problems.DampedPendulum()
    x = pendulum.domain.sample(4000, seeded())
    still = fm.maps.Identity()
    objective = o.lagrangian_residual(pendulum.field, times=o.FromStart())
    box = objective(still, objective.draw(o.Domain(pendulum.domain, (0.0, 1.0)), batch=4000))
    data = o.Trajectories([0.0, 1.0], torch.stack([x, 0 * x]))
    assert objective(still, objective.draw(data)).total.item() == pytest.approx(
        box.total.item(), rel=0.1
    )


@pytest.mark.parametrize("points", [o.OnTrajectories(), o.AtStates()], ids=["both", "start"])
def test_draws_are_made_on_the_cpu_by_the_generator_alone(points: o.PointLaw) -> None:
    data, law = recorded(0, 5, 4, own=True), o.Mixed(0.5)
    torch.manual_seed(1)
    first = points.draw(data, law, 20, seeded(), 0.0)
    with torch.device("meta"):
        again = points.draw(data, law, 20, seeded(), 0.0)
    assert torch.equal(first.points, again.points) and torch.equal(first.t, again.t)


def test_images_keep_their_shape_and_dtype() -> None:
    states = torch.randn(3, 4, 2, 5, dtype=torch.float32)
    draw = o.OnTrajectories().draw(
        o.Trajectories([0.0, 1.0, 2.0], states), o.SortedPair(), 7, None, 0.0
    )
    assert draw.images is not None and draw.images.shape == draw.points.shape == (7, 2, 5)
    assert draw.images.dtype == torch.float32 and draw.condition is None


PAIRS = o.Pairs(None, torch.zeros(3, 1))
DOMAIN = o.Domain(fm.domains.Box([0.0], [1.0]), (0.0, 1.0))
DATA = o.Trajectories([0.0, 1.0], torch.zeros(2, 3, 1))
LINE = o.OnInterpolant(fm.interpolants.Linear())
CASES: dict[str, tuple[o.PointLaw, object, str]] = {
    "pairs for states": (
        o.AtStates(),
        PAIRS,
        r"objectives.Trajectories\(times, states\) or fm.objectives.Domain\(domain, times\), got P",
    ),
    "a box for states": (o.AtStates(), fm.domains.Box([0.0], [1.0]), "got Box"),
    "nothing for states": (o.AtStates(), None, "got NoneType"),
    "a domain for images": (o.OnTrajectories(), DOMAIN, "points and images from .* got Domain"),
    "pairs for images": (o.OnTrajectories(), PAIRS, "points and images from .* got Pairs"),
    "records for an interpolant": (LINE, DATA, r"Pairs\(x0, x1\), got Trajectories"),
    "a domain for an interpolant": (LINE, DOMAIN, r"Pairs\(x0, x1\), got Domain"),
}


@pytest.mark.parametrize("name", CASES)
def test_sources_of_another_kind_are_refused(name: str, refused: Callable[..., None]) -> None:
    law, source, message = CASES[name]
    refused(lambda: law.draw(source, o.SortedPair(), 4, None, 0.0), TypeError, message)

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps.domains import Ball, Box, Domain, Points, SubLevel

INF, NAN = math.inf, math.nan


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(level: float = 1.0) -> SubLevel:
    return SubLevel(lambda x: x.square().sum(1), level, Box([-1.0, -1.0], [1.0, 1.0]))


DOMAINS = {
    "box": Box([-1.0, 100.0, 1e-4], [1.0, 100.1, 1e4]),
    "ball": Ball([3.0, -1000.0, 0.1], 0.3),
    "sublevel": disc(0.37),
    "points": Points(torch.tensor([[0.1, 0.2], [1 / 3, -5.0]], dtype=torch.float64)),
    "near points": Points(
        torch.tensor([[0.1, 1000.2], [1 / 3, -5000.0]], dtype=torch.float64), radius=1e-9
    ),
}
EACH = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_samples_are_inside_whatever_their_dtype(domain: Domain, dtype: torch.dtype) -> None:
    x = domain.sample(3000, seeded(), dtype)
    assert x.shape == (3000, domain.dim)
    assert x.dtype == dtype
    assert domain.contains(x).all()


@EACH
def test_a_generator_fixes_the_draws_in_every_dtype(domain: Domain) -> None:
    x = domain.sample(50, seeded(1))
    assert torch.equal(x, domain.sample(50, seeded(1)))
    assert not torch.equal(x, domain.sample(50, seeded(2)))
    assert torch.equal(x.float(), domain.sample(50, seeded(1), torch.float32))


@EACH
def test_draws_without_a_generator_follow_torch_s_own_seed(domain: Domain) -> None:
    torch.manual_seed(7)
    x = domain.sample(20)
    torch.manual_seed(7)
    assert torch.equal(x, domain.sample(20))


def test_default_dtype_is_torch_s(default_dtype: torch.dtype) -> None:
    assert Box(0.0, 1.0).sample(2).dtype == default_dtype
    assert disc().sample(2).dtype == default_dtype


@EACH
def test_no_draws_give_an_empty_batch(domain: Domain) -> None:
    assert domain.sample(0).shape == (0, domain.dim)
    assert domain.contains(domain.sample(0)).shape == (0,)


@EACH
def test_points_with_nan_are_outside(domain: Domain) -> None:
    assert not domain.contains(torch.full((1, domain.dim), math.nan)).any()


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_box_contains_its_bounds_and_nothing_beyond(lower: float, width: float) -> None:
    box = Box(lower, lower + width)
    ends = torch.stack([box.lower, box.upper])
    step = torch.tensor([[-1e-4], [1e-4]], dtype=torch.float64) * width
    assert box.contains(ends).all()
    assert not box.contains(ends + step).any()


def test_uniform_laws_have_the_right_moments() -> None:
    n = 20_000
    box = Box([-1.0, 2.0], [1.0, 5.0]).sample(n, seeded())
    assert torch.allclose(box.mean(0), torch.tensor([0.0, 3.5]), atol=0.03)
    assert torch.allclose(box.var(0), torch.tensor([4 / 12, 9 / 12]), atol=0.03)
    # In a ball of dimension d, E|x - c|^2 = r^2 d / (d + 2).
    for d in (1, 2, 5):
        radius = (Ball([1.0] * d, 2.0).sample(n, seeded()) - 1).square().sum(1)
        assert radius.mean().item() == pytest.approx(4 * d / (d + 2), abs=0.05)
    inside = disc().sample(n, seeded())
    assert inside.square().sum(1).mean().item() == pytest.approx(0.5, abs=0.02)
    assert inside.mean(0).abs().max() < 0.02


def test_points_are_drawn_evenly_with_replacement() -> None:
    data = torch.arange(4.0)[:, None]
    counts = Points(data).sample(20_000, seeded()).flatten().long().bincount()
    assert (counts - 5000).abs().max() < 300
    assert not Points(data).contains(torch.tensor([[0.5]])).any()


def test_points_keep_their_own_copy() -> None:
    data = torch.zeros(1, 2)
    points = Points(data)
    data += 1
    assert points.sample(1).tolist() == [[0.0, 0.0]]


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 30), st.floats(1e-3, 2.0))
def test_a_radius_admits_what_is_near_a_point(seed: int, d: int, m: int, radius: float) -> None:
    """Against the distances to all points, in units of the data's spread or as given."""
    g = seeded(seed)
    units = 10.0 ** torch.randint(-3, 4, (d,), generator=g)
    data, x = (units * torch.randn(k, d, generator=g) for k in (m, 40))
    spread = data.std(0, correction=0) if m > 1 else torch.ones(d)
    for points, scale in (
        (Points(data, radius), spread),
        (Points(data, radius, units), units),
        (Points(data, radius, 3.0), torch.full((d,), 3.0)),
    ):
        distance = ((x[:, None] - data) / scale).norm(dim=2).min(1).values
        assert torch.equal(points.contains(x), distance <= radius)
        assert points.contains(data).all()
        drawn = points.sample(20, g)
        assert (drawn[:, None] == data).all(2).any(1).all()


def test_a_coordinate_that_does_not_vary_has_unit_one() -> None:
    points = Points(torch.tensor([[0.1, 0.0], [0.1, 4.0], [0.1, 8.0]]), radius=0.5)
    assert points.scale.tolist() == pytest.approx([1.0, math.sqrt(32 / 3)])
    near = torch.tensor([[0.59, 0.0], [0.61, 0.0], [0.1, 1.6], [0.1, 1.7]])
    assert points.contains(near).tolist() == [True, False, True, False]


def test_what_is_not_finite_is_near_no_point() -> None:
    points = Points(torch.zeros(2, 2), radius=1e300)
    x = torch.tensor([[INF, 0.0], [NAN, 0.0], [0.0, -INF], [1.0, 1.0]])
    assert points.contains(x).tolist() == [False, False, False, True]


def test_sublevel_draws_do_not_depend_on_how_many_are_asked_for() -> None:
    assert torch.equal(disc().sample(9000, seeded())[:10], disc().sample(10, seeded()))


def test_thin_sublevels_are_found_and_empty_ones_refused() -> None:
    assert disc(1e-3).sample(20, seeded()).square().sum(1).max() <= 1e-3
    with pytest.raises(ValueError, match="only 0 of .* tighter box or a higher level"):
        disc(-1.0).sample(1)


@pytest.mark.parametrize("domain", [DOMAINS["box"], DOMAINS["ball"]])
def test_config_rebuilds(domain: Box | Ball) -> None:
    again = type(domain)(**domain.config())
    assert repr(again) == repr(domain)
    assert torch.equal(again.sample(5, seeded()), domain.sample(5, seeded()))


def test_numbers_lists_and_tensors_make_the_same_box() -> None:
    boxes = [Box(0, 1), Box([0.0], [1.0]), Box(torch.tensor(0.0), torch.tensor([1]))]
    assert len({repr(box) for box in boxes}) == 1
    assert boxes[0].dim == 1


BOX = Box([0.0, 0.0], [1.0, 1.0])
X = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
BAD = {
    "box: lower above upper": (
        lambda: Box([0.0, 1.0], [1.0, 1.0]),
        ValueError,
        r"below upper.*coordinates \[1\]",
    ),
    "box: upside down": (lambda: Box(1.0, 0.0), ValueError, r"coordinates \[0\]"),
    "box: infinite lower": (lambda: Box(-INF, 0.0), ValueError, "lower must be a finite"),
    "box: infinite upper": (lambda: Box(0.0, INF), ValueError, "upper must be a finite"),
    "box: NaN": (lambda: Box(NAN, 0.0), ValueError, "lower must be a finite"),
    "box: lengths": (lambda: Box([0.0], [1.0, 2.0]), ValueError, "same length, got 1 and 2"),
    "box: lengths, the other way": (lambda: Box([0.0, 0.0], [1.0]), ValueError, "got 2 and 1"),
    "box: matrix": (
        lambda: Box(torch.zeros(2, 2), torch.ones(2, 2)),
        ValueError,
        "finite number or vector",
    ),
    "box: text": (lambda: Box("a", 1.0), TypeError, "lower must be a real number"),
    "box: no coordinates": (lambda: Box([], []), ValueError, "at least one coordinate"),
    "box: no coordinates in a tensor": (
        lambda: Box(X[:0, 0], X[:0, 0]),
        ValueError,
        "at least one coordinate",
    ),
    "box: negative number": (
        lambda: BOX.sample(-1),
        ValueError,
        "n must be a whole number of at least 0, got -1",
    ),
    "ball: negative number": (lambda: DOMAINS["ball"].sample(-1), ValueError, "at least 0, got -1"),
    "box: half a point": (lambda: BOX.sample(0.5), TypeError, "n must be a whole number"),
    "box: integers": (lambda: BOX.sample(1, dtype=torch.int64), TypeError, "floating-point"),
    "box: points elsewhere": (lambda: BOX.contains(X[:, :1]), ValueError, r"\(n, 2\)"),
    "box: points of another width": (
        lambda: Box(0.0, 1.0).contains(torch.zeros(3, 2)),
        ValueError,
        r"\(n, 1\), got \(3, 2\)",
    ),
    "box: points as list": (lambda: BOX.contains([1.0]), TypeError, "got list"),
    "ball: no radius": (lambda: Ball(0.0, 0.0), ValueError, "radius must be positive"),
    "ball: negative radius": (lambda: Ball([0.0], -1.0), ValueError, "radius must be positive"),
    "ball: radius as text": (lambda: Ball(0.0, "1"), TypeError, "radius must be a n"),
    "sublevel: box": (lambda: SubLevel(abs, 1.0, (0, 1)), TypeError, "domains.Box"),
    "sublevel: function": (lambda: SubLevel(3, 1.0, BOX), TypeError, "a callable"),
    "sublevel: level": (lambda: SubLevel(abs, NAN, BOX), ValueError, "level must be"),
    "sublevel: infinite level": (lambda: disc(INF), ValueError, "level must be finite"),
    "sublevel: empty": (
        lambda: SubLevel(lambda x: x.sum(1) + 9, 1.0, BOX).sample(1),
        ValueError,
        "tighter box",
    ),
    "sublevel: another shape": (
        lambda: SubLevel(lambda x: x, 1.0, BOX).sample(1),
        ValueError,
        "one value a point",
    ),
    "sublevel: a column": (
        lambda: SubLevel(lambda x: x, 0.0, Box(0.0, 1.0)).sample(1),
        ValueError,
        r"one value a point, shape \(4096,\), got \(4096, 1\)",
    ),
    "points: none": (lambda: Points(X[:0]), ValueError, "m >= 1"),
    "points: none of one coordinate": (lambda: Points(torch.zeros(0, 1)), ValueError, "m >= 1"),
    "points: all NaN": (lambda: Points(X * NAN), ValueError, "remove rows with NaN"),
    "points: NaN": (lambda: Points(torch.tensor([[NAN]])), ValueError, "finite points"),
    "points: a list": (lambda: Points([[1.0]]), TypeError, "got list"),
    "points: negative radius": (lambda: Points(X, -0.1), ValueError, "radius must be at least 0"),
    "points: NaN for a radius": (lambda: Points(X, NAN), ValueError, "radius must be at least 0"),
    "points: radius as text": (lambda: Points(X, "1"), TypeError, "radius must be a number"),
    "points: scale of zero": (lambda: Points(X, 0.1, 0.0), ValueError, "scale must be a positive"),
    "points: scale too long": (lambda: Points(X, 0.1, [1.0] * 3), ValueError, "or 2 of them"),
    "points: scale as text": (lambda: Points(X, 0.1, "1"), TypeError, "scale must be a real"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])


def test_bad_types_are_refused() -> None:
    with pytest.raises(TypeError, match="n must be a whole number"):
        Box(0.0, 1.0).sample(2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="floating-point dtype, got torch.int64"):
        Box(0.0, 1.0).sample(2, dtype=torch.int64)
    with pytest.raises(TypeError, match="box must be a flowmaps.domains.Box, got Ball"):
        SubLevel(lambda x: x[:, 0], 0.0, Ball(0.0, 1.0))  # pyright: ignore[reportArgumentType]


def test_domain_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        fm.domains.Domain(1)  # pyright: ignore[reportAbstractUsage]

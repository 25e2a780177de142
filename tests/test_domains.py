import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps.domains import Ball, Box, Domain, Points, SubLevel


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(level: float = 1.0) -> SubLevel:
    return SubLevel(lambda x: x.square().sum(1), level, Box([-1.0, -1.0], [1.0, 1.0]))


DOMAINS = {
    "box": Box([-1.0, 100.0, 1e-4], [1.0, 100.1, 1e4]),
    "ball": Ball([3.0, -1000.0, 0.1], 0.3),
    "sublevel": disc(0.37),
    "points": Points(torch.tensor([[0.1, 0.2], [1 / 3, -5.0]], dtype=torch.float64)),
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


BAD = {
    "lower above upper": (lambda: Box([0.0, 1.0], [1.0, 1.0]), r"below upper.*coordinates \[1\]"),
    "infinite": (lambda: Box(0.0, math.inf), "upper must be a finite"),
    "nan": (lambda: Box(math.nan, 0.0), "lower must be a finite"),
    "lengths": (lambda: Box([0.0], [1.0, 2.0]), "same length, got 1 and 2"),
    "matrix": (lambda: Box(torch.zeros(2, 2), torch.ones(2, 2)), "finite number or vector"),
    "no coordinates": (lambda: Box([], []), "at least one coordinate"),
    "radius": (lambda: Ball([0.0], -1.0), "radius must be positive"),
    "level": (lambda: disc(math.inf), "level must be finite"),
    "function": (
        lambda: SubLevel(lambda x: x, 0.0, Box(0.0, 1.0)).sample(1),
        r"one value a point, shape \(4096,\), got \(4096, 1\)",
    ),
    "no points": (lambda: Points(torch.zeros(0, 2)), "m >= 1"),
    "points nan": (lambda: Points(torch.tensor([[math.nan]])), "finite points"),
    "negative n": (lambda: Box(0.0, 1.0).sample(-1), "at least 0, got -1"),
    "wrong width": (lambda: Box(0.0, 1.0).contains(torch.zeros(3, 2)), r"\(n, 1\), got \(3, 2\)"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_values_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types_are_refused() -> None:
    with pytest.raises(TypeError, match="n must be an integer, got float"):
        Box(0.0, 1.0).sample(2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="floating-point dtype, got torch.int64"):
        Box(0.0, 1.0).sample(2, dtype=torch.int64)
    with pytest.raises(TypeError, match="box must be a flowmaps.domains.Box, got Ball"):
        SubLevel(lambda x: x[:, 0], 0.0, Ball(0.0, 1.0))  # pyright: ignore[reportArgumentType]


def test_domain_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        fm.domains.Domain(1)  # pyright: ignore[reportAbstractUsage]

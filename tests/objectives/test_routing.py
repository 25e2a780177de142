"""Where the gradient goes, by hand on X_{s,t}(x) = x + h v, v = (a + c h) x + d, h = t - s.

So d_t X = (a + 2 c h) x + d = -d_s X, DX = 1 + h a + h^2 c, and the map's own field is a x + d.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives
Pair = tuple[float, float]
Routes = dict[str, Pair]


class Quadratic(nn.Module):
    """v_{s,t}(x) = (a + c h) x + d; a and c are trained."""

    def __init__(self, a: float, c: float, d: float):
        super().__init__()
        self.a, self.c, self.d = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(c)), d

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        return (self.a + self.c * (t - s)[:, None]) * x + self.d


@dataclass(frozen=True)
class Row:
    """The numbers of one row: the map, spans h1 before and h2 after u, state, field, velocity."""

    a: float = 0.3
    c: float = -0.2
    d: float = 1.9
    h1: float = 0.2
    h2: float = 0.3
    x: float = 1.7
    k: float = 1.3
    q: float = 0.8  # the known field is q - k x
    slope: float = 2.5  # the drawn velocity

    @property
    def h(self) -> float:
        return self.h1 + self.h2

    @property
    def end(self) -> float:
        return self.image(self.h, self.x)

    @property
    def slope_at_end(self) -> float:
        return (self.a + 2 * self.c * self.h) * self.x + self.d

    @property
    def learned(self) -> fm.maps.FlowMap:
        return fm.maps.NeuralFlowMap(Quadratic(self.a, self.c, self.d))

    @property
    def known(self) -> float:
        return self.q - self.k * self.x

    def field(self, t: Tensor, x: Tensor) -> Tensor:
        return self.q - self.k * x

    def factor(self, h: float) -> float:
        return 1 + h * self.a + h**2 * self.c

    def image(self, h: float, x: float) -> float:
        return self.factor(h) * x + h * self.d

    def own(self, x: float) -> float:
        return self.a * x + self.d

    def draw(self, diagonal: bool = False) -> o.Draw:
        s, x = torch.tensor([0.25]), torch.tensor([[self.x]])
        t = s if diagonal else s + self.h
        velocity = torch.tensor([[self.slope]])
        return o.Draw(s, t, x, u=s + self.h1, velocity=velocity, diagonal=int(diagonal))


# ---------------------------------------------------------------------------- residuals by hand
# each returns r, and (dr/da, dr/dc) by routing


def lagrangian_own(n: Row) -> tuple[float, Routes]:
    """r = d_t X - (a X + d)."""
    a, h, x = n.a, n.h, n.x
    return n.slope_at_end - n.own(n.end), {
        "full": (x - n.end - a * h * x, 2 * h * x - a * h**2 * x),
        "target": (x, 2 * h * x),
        "value": (x, h * x),
    }


def lagrangian_known(n: Row) -> tuple[float, Routes]:
    """r = d_t X - (q - k X)."""
    h, x, k = n.h, n.x, n.k
    return n.slope_at_end - (n.q - k * n.end), {
        "full": (x + k * h * x, 2 * h * x + k * h**2 * x),
        "target": (x, 2 * h * x),
        "value": (x, h * x),
    }


def eulerian_own(n: Row) -> tuple[float, Routes]:
    """r = d_s X + DX (a x + d)."""
    h, x, own = n.h, n.x, n.own(n.x)
    return -n.slope_at_end + n.factor(h) * own, {
        "full": (-x + h * own + n.factor(h) * x, -2 * h * x + h**2 * own),
        "target": (-x, -2 * h * x),
        "value": (-x, -h * x),
    }


def eulerian_by(n: Row, b: float) -> tuple[float, Routes]:
    """r = d_s X + DX b with a velocity b that does not depend on the map."""
    h, x = n.h, n.x
    return -n.slope_at_end + n.factor(h) * b, {
        "full": (-x + h * b, -2 * h * x + h**2 * b),
        "target": (-x, -2 * h * x),
        "value": (-x, -h * x),
    }


def semigroup_own(n: Row) -> tuple[float, Routes]:
    """r = (X_{u,t}(X_{s,u}) - X_{s,t}) / h, where X_{s,t} / h brings v."""
    h, h1, h2, x, second = n.h, n.h1, n.h2, n.x, n.factor(n.h2)
    middle = n.image(h1, x)
    by_a, by_c = second * h1 * x + h2 * middle, second * h1**2 * x + h2**2 * middle
    return (n.image(h2, middle) - n.end) / h, {
        "full": ((by_a - h * x) / h, (by_c - h**2 * x) / h),
        "target": (-x, -h * x),
        "value": (-x, -h * x),
    }


def tangent_by(n: Row, b: float) -> tuple[float, Routes]:
    """r = a x + d - b with a velocity b that does not depend on the map."""
    return n.own(n.x) - b, dict.fromkeys(("full", "target", "value"), (n.x, 0.0))


ROUTINGS = ("full", "target", "value")
p, teachers = o.principles, o.teachers
CASES: dict[str, tuple] = {
    "lagrangian, own": (p.lagrangian, lambda n: teachers.own, lagrangian_own),
    "lagrangian, known": (p.lagrangian, lambda n: teachers.Known(n.field), lagrangian_known),
    "eulerian, own": (p.eulerian, lambda n: teachers.own, eulerian_own),
    "eulerian, known": (
        p.eulerian,
        lambda n: teachers.Known(n.field),
        lambda n: eulerian_by(n, n.known),
    ),
    "eulerian, data": (p.eulerian, lambda n: teachers.data, lambda n: eulerian_by(n, n.slope)),
    "semigroup, own": (p.semigroup, lambda n: teachers.own, semigroup_own),
    "tangent, known": (
        p.tangent,
        lambda n: teachers.Known(n.field),
        lambda n: tangent_by(n, n.known),
    ),
    "tangent, data": (p.tangent, lambda n: teachers.data, lambda n: tangent_by(n, n.slope)),
}


ROUTES = [
    (name, routing)
    for name in CASES
    for routing in ROUTINGS
    if (name, routing) != ("eulerian, data", "full")  # biased by noise: refused
]


def single(principle: p.Principle, teacher: teachers.Teacher, routing: str) -> o.Composed:
    return o.Composed(o.SortedPair(), o.AtStates(), [o.Term("r", principle, teacher, routing)])


def gradient(objective: o.Objective, learned: fm.maps.FlowMap, draw: o.Draw) -> list[float]:
    total = objective(learned, draw).total
    return [g.item() for g in torch.autograd.grad(total, list(learned.parameters()))]


def by_hand(residual: float, slopes: Pair) -> list[float]:
    return [2 * residual * slope for slope in slopes]


numbers = st.builds(
    Row,
    **dict.fromkeys("acd", st.floats(-1.5, 1.5)),
    **dict.fromkeys(("h1", "h2"), st.floats(0.05, 0.35)),
    **dict.fromkeys(("x", "k", "q", "slope"), st.floats(-2, 2)),
)


@settings(max_examples=5)
@given(row=numbers)
@pytest.mark.parametrize(("name", "routing"), ROUTES)
def test_value_and_gradient_are_those_by_hand(name: str, routing: str, row: Row) -> None:
    """One value under every routing; the gradient of the part that carries it."""
    principle, teacher, hand = CASES[name]
    learned = row.learned
    objective, (residual, routes) = single(principle, teacher(row), routing), hand(row)
    total = objective(learned, row.draw()).total.item()
    assert total == pytest.approx(residual**2, rel=1e-9, abs=1e-9)
    expected = by_hand(residual, routes[routing])
    assert gradient(objective, learned, row.draw()) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_routings_tell_apart_by_hand() -> None:
    """The default row would show a routing taken for another."""
    for name in ("lagrangian, own", "lagrangian, known", "eulerian, own", "eulerian, data"):
        _, routes = CASES[name][2](Row())
        for one, other in (("full", "target"), ("target", "value"), ("full", "value")):
            apart = max(abs(a - b) for a, b in zip(routes[one], routes[other], strict=True))
            assert apart > 0.05, name


@pytest.mark.parametrize("routing", ["target", "value"])
def test_the_mean_over_noise_moves_the_map_as_the_field_does(routing: str) -> None:
    """Data's two velocities at a point, averaged, are the field; with a full gradient they are not.

    There a drawn velocity would add the gradient of the variance of DX I': it is refused.
    """
    row = Row()
    learned = row.learned
    noisy = [replace(row, slope=row.known + e).draw() for e in (-1.5, 1.5)]
    drawn = single(p.eulerian, teachers.data, routing)
    mean = [
        sum(pair) / 2 for pair in zip(*(gradient(drawn, learned, d) for d in noisy), strict=True)
    ]
    known = single(p.eulerian, teachers.Known(row.field), routing)
    assert mean == pytest.approx(gradient(known, learned, row.draw()), rel=1e-9)
    with pytest.raises(TypeError, match='take the routing "value"'):
        single(p.eulerian, teachers.data, "full")(learned, row.draw())


@pytest.mark.parametrize(
    ("objective", "hand", "routing"),
    [
        (o.lsd(), lagrangian_own, "target"),
        (o.esd(), eulerian_own, "value"),
        (o.esd(routing="target"), eulerian_own, "target"),
        (o.psd_m(), semigroup_own, "target"),
        (o.psd_u(), semigroup_own, "target"),
        (
            o.lmd(teacher=Row().field, routing="full", metric=o.Squared()),
            lagrangian_known,
            "full",
        ),
        (
            o.lmd(teacher=Row().field, metric=o.Squared()),
            lagrangian_known,
            "target",
        ),
        (o.emd(teacher=Row().field), lambda n: eulerian_by(n, n.known), "full"),
        (o.lagrangian_residual(Row().field), lagrangian_known, "full"),
        (o.eulerian_residual(Row().field), lambda n: eulerian_by(n, n.known), "full"),
    ],
    ids=[
        "lsd",
        "esd",
        "esd as published",
        "psd_m",
        "psd_u",
        "lmd as published",
        "lmd",
        "emd",
        "lagrangian residual",
        "eulerian residual",
    ],
)
def test_each_method_routes_as_published(
    objective: o.Composed, hand: Callable[[Row], tuple[float, Routes]], routing: str
) -> None:
    row = Row()
    learned = row.learned
    residual, routes = hand(row)
    expected = by_hand(residual, routes[routing])
    assert gradient(objective, learned, row.draw()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("make", [o.flow_matching, o.lsd, o.esd, o.psd_m, o.psd_u])
def test_on_the_diagonal_data_is_matched(make: Callable[[], o.Composed]) -> None:
    """v_{s,s} = a x: dr/da = x, dr/dc = 0."""
    row = Row()
    learned = row.learned
    expected = by_hand(row.own(row.x) - row.slope, (row.x, 0.0))
    assert gradient(make(), learned, row.draw(diagonal=True)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "residual"),
    [
        (o.lsd, lambda n, other: n.slope_at_end - other.own(n.end)),
        (o.esd, lambda n, other: -n.slope_at_end + n.factor(n.h) * other.own(n.x)),
        (o.psd_m, lambda n, other: (other.image(n.h2, other.image(n.h1, n.x)) - n.end) / n.h),
    ],
    ids=["lsd", "esd", "psd_m"],
)
def test_the_target_supplies_what_is_self_made(
    make: Callable[[], o.Composed], residual: Callable[[Row, Row], float]
) -> None:
    row = Row()
    other = replace(row, a=0.9, c=0.4)
    target = other.learned
    total = make()(row.learned, row.draw(), target=target).total
    assert total.item() == pytest.approx(residual(row, other) ** 2, rel=1e-9)
    unused = torch.autograd.grad(total, list(target.parameters()), allow_unused=True)
    assert unused == (None, None)


# ---------------------------------------------------------------------------- forward mode


class Wrapped(nn.Module):
    def __init__(self, objective: o.Objective, learned: fm.maps.FlowMap):
        super().__init__()
        self.objective, self.learned = objective, learned

    def forward(self, draw: o.Draw) -> Tensor:
        return self.objective(self.learned, draw).total


@pytest.mark.parametrize(("name", "routing"), ROUTES)
def test_a_stop_drops_forward_mode_tangents_too(name: str, routing: str) -> None:
    """The loss's derivatives along a and c in forward mode are the gradient."""
    row = Row()
    principle, teacher, _ = CASES[name]
    learned = row.learned
    objective = single(principle, teacher(row), routing)
    wrapped = Wrapped(objective, learned)

    def total(a: Tensor, c: Tensor) -> Tensor:
        weights = {"learned.network.a": a, "learned.network.c": c}
        return torch.func.functional_call(wrapped, weights, (row.draw(),))

    a, c = learned.network.a.detach(), learned.network.c.detach()
    one, zero = torch.ones(()), torch.zeros(())
    forward = [
        torch.func.jvp(total, (a, c), direction)[1].item()
        for direction in ((one, zero), (zero, one))
    ]
    assert forward == pytest.approx(gradient(objective, learned, row.draw()), rel=1e-9)

"""Teachers: copied and frozen, maps or fields, and the weights and spans of distillation."""

import copy
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives


def learned_map() -> fm.maps.NeuralFlowMap:
    network = fm.networks.MLP(dim=2, width=8, depth=1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return fm.maps.NeuralFlowMap(network)


def pairs(n: int = 16) -> o.Pairs:
    return o.Pairs(None, torch.randn(n, 2))


class Decay(nn.Module):
    """The field -k x, with dropout so that train mode shows."""

    def __init__(self, k: float):
        super().__init__()
        self.k, self.dropout = nn.Parameter(torch.tensor(k)), nn.Dropout(0.5)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.dropout(-self.k * x)


MAKERS = {"lmd": o.lmd, "emd": o.emd}


# ---------------------------------------------------------------------------- teachers


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_training_leaves_the_teacher_as_it_was_given(make: Callable[..., o.Composed]) -> None:
    """Even where the learned map is the very module that was given."""
    learned = learned_map()
    before = copy.deepcopy(learned)
    objective = make(teacher=learned)
    draw = objective.draw(pairs())
    optimizer = torch.optim.SGD(learned.parameters(), lr=0.1)
    expected = make(teacher=before)(before, draw).total
    for _ in range(2):
        optimizer.zero_grad()
        objective(learned, draw).total.backward()
        optimizer.step()
    assert not torch.equal(learned(0.0, 1.0, draw.points), before(0.0, 1.0, draw.points))
    assert torch.equal(objective(before, draw).total, expected)
    assert all(weight.grad is None for weight in objective.parameters())
    assert not any(weight.requires_grad for weight in objective.parameters())
    assert all(weight.requires_grad for weight in learned.parameters())


def test_the_teacher_stays_in_eval_mode() -> None:
    given = Decay(1.0).train()
    objective = o.lmd(teacher=given).train()
    draw = objective.draw(pairs())
    learned = learned_map()
    assert given.training and not objective.terms[0].teacher.given.training
    assert torch.equal(objective(learned, draw).total, objective(learned, draw).total)


def test_a_frozen_teacher_passes_gradients_to_its_inputs() -> None:
    """Routed in full the gradient runs through b(t, X), by a module or by a function alike."""
    learned, k = learned_map(), 1.3
    gradients = {}
    for name, teacher, routing in (
        ("module", Decay(k), "full"),
        ("function", lambda t, x: -k * x, "full"),
        ("stopped", Decay(k), "target"),
    ):
        objective = o.lmd(teacher=teacher, routing=routing)
        torch.manual_seed(0)
        total = objective(learned, objective.draw(pairs())).total
        gradients[name] = torch.cat(
            [g.flatten() for g in torch.autograd.grad(total, list(learned.parameters()))]
        )
    torch.testing.assert_close(gradients["module"], gradients["function"])
    assert (gradients["module"] - gradients["stopped"]).abs().max() > 0.1


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_flow_map_serves_as_field(laws: SimpleNamespace, make: Callable[..., o.Composed]) -> None:
    law = laws.full_covariance()
    learned = law.learned("x", 0.3)
    draw = make(teacher=law.field).draw(o.Pairs(*law.pairs(20)))
    expected = make(teacher=law.field)(learned, draw)
    solver = fm.maps.SolverFlowMap(law.field, method=fm.solvers.RK4(), steps=4)
    for teacher in (law.exact, solver):
        torch.testing.assert_close(make(teacher=teacher)(learned, draw), expected)


def test_the_semigroup_distils_a_flow_map(laws: SimpleNamespace) -> None:
    """(Y_{u,t} o Y_{s,u} - X_{s,t}) / (t - s) with a known Y: progressive flow map matching."""
    law = laws.gaussian()
    teacher = o.teachers.Known(law.exact)
    term = o.Term("semigroup", o.principles.semigroup, teacher)
    objective = o.Composed(
        o.SortedPair(), o.OnInterpolant(law.interpolant), [term], o.UniformMiddle()
    )
    draw, learned = law.draw(objective, 30), law.learned()
    assert draw.loss(objective, learned) < 1e-20
    assert draw.gradient(objective, learned).abs().max() < 1e-12
    off = law.learned("constant", 0.1)  # X + 0.1 (t - s)
    torch.testing.assert_close(draw.loss(objective, off), torch.tensor(0.01))


# ---------------------------------------------------------------------------- weights and spans


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (o.lsd, "lagrangian"),
        (o.esd, "eulerian"),
        (o.psd_m, "semigroup"),
        (lambda weight: o.lmd(teacher=lambda t, x: -x, weight=weight), "lagrangian"),
        (lambda weight: o.emd(teacher=lambda t, x: -x, weight=weight), "eulerian"),
    ],
    ids=["lsd", "esd", "psd_m", "lmd", "emd"],
)
def test_a_weight_may_depend_on_the_times(make: Callable[..., o.Composed], name: str) -> None:
    """It multiplies its own term's rows, not the other term's nor the parts."""
    seen = []

    def weight(s: Tensor, t: Tensor) -> Tensor:
        seen.append((s, t))
        return (t - s) ** 2

    learned, plain, weighted = learned_map(), make(weight=1.0), make(weight=weight)
    draw = plain.draw(pairs())
    count = draw.diagonal
    one, other = plain(learned, draw), weighted(learned, draw)
    factor = torch.where(torch.arange(16) < count, 1.0, (draw.t - draw.s) ** 2)
    torch.testing.assert_close(other.per_sample, factor * one.per_sample)
    torch.testing.assert_close(other.total, other.per_sample.mean())
    assert other.parts == one.parts and one.parts[name] > 0
    assert torch.equal(seen[0][0], draw.s[count:]) and torch.equal(seen[0][1], draw.t[count:])


@pytest.mark.parametrize("make", [*MAKERS.values(), o.lsd, o.esd, o.psd_m, o.psd_u])
def test_a_limit_bounds_the_spans(make: Callable[..., o.Composed]) -> None:
    settings = {"teacher": lambda t, x: -x} if make in MAKERS.values() else {}
    objective = make(limit=o.GrowingSpan(0.2, 0.5), **settings)
    for progress, longest in ((0.0, 0.2), (0.25, 0.6), (1.0, 1.0)):
        draw = objective.draw(pairs(400), progress=progress)
        span = (draw.t - draw.s).max()
        assert 0.6 * longest < span <= longest
        assert draw.u is None or bool(((draw.s <= draw.u) & (draw.u <= draw.t)).all())


# ---------------------------------------------------------------------------- refusals


def semigroup_with(teacher: o.teachers.Teacher, routing: str = "full") -> o.Loss:
    term = o.Term("semigroup", o.principles.semigroup, teacher, routing)
    objective = o.Composed(o.SortedPair(), o.AtStates(), [term])
    return objective(learned_map(), o.psd_m().draw(pairs()))


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (o.lmd, TypeError, "distillation needs teacher=, a field"),
        (o.emd, TypeError, "distillation needs teacher=, a field"),
        (lambda: o.lmd(teacher=2.0), TypeError, "teacher must be a field.*got 2.0"),
        (lambda: o.lmd(teacher=torch.mul, routing="some"), ValueError, "routing must be one of"),
        (lambda: semigroup_with(o.teachers.data), TypeError, "asks its teacher for a flow map"),
        (
            lambda: semigroup_with(o.teachers.Known(lambda t, x: -x), "target"),
            TypeError,
            r"give a flow map such as fm.maps.SolverFlowMap\(field\)",
        ),
        (
            lambda: o.psd_m()(learned_map(), o.lsd().draw(pairs())),
            ValueError,
            "carries no middle times",
        ),
    ],
    ids=["lmd", "emd", "number", "routing", "data", "field", "no middle"],
)
def test_what_cannot_distil_is_refused(
    refused: Callable[..., None], act: Callable[[], object], error: type[Exception], message: str
) -> None:
    refused(act, error, message)


# ---------------------------------------------------------------------------- frozen teachers


def holders(learned: fm.maps.FlowMap) -> dict[str, Any]:
    """Ways to give a learned map's velocity as a teacher."""

    def outer() -> Any:
        def inner(t: Tensor, x: Tensor) -> Tensor:
            return learned.velocity(t, x)

        return lambda t, x: inner(t, x)

    return {
        "map": learned,
        "method": learned.velocity,
        "closure": lambda t, x: learned.velocity(t, x),
        "closure of a closure": outer(),
        "default": lambda t, x, by=learned: by.velocity(t, x),
        "keyword": functools.partial(lambda t, x, *, by: by.velocity(t, x), by=learned),
        "partial": functools.partial(learned.velocity),
        "partial of a closure": functools.partial(lambda t, x: learned.velocity(t, x)),
    }


@pytest.mark.parametrize("name", holders(fm.maps.Identity()))
def test_a_teacher_does_not_follow_training(name: str) -> None:
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=4, depth=1))
    known = fm.objectives.teachers.Known(holders(learned)[name])
    draw = fm.objectives.Draw(torch.zeros(3), torch.ones(3), torch.randn(3, 2))

    def answer(known: fm.objectives.teachers.Known) -> Tensor:
        return fm.objectives.teachers.as_field(known(learned, draw))(draw.t, draw.points)

    assert not answer(known).any()
    with torch.no_grad():
        for weight in learned.parameters():
            weight.add_(0.1)
    assert not answer(known).any() and not any(p.requires_grad for p in known.parameters())
    assert len(list(known.parameters())) == len(list(learned.parameters()))
    again = copy.deepcopy(known)
    for weight in again.parameters():
        weight.data.add_(0.1)
    torch.testing.assert_close(answer(again), learned.velocity(draw.t, draw.points))
    assert not answer(known).any()


def test_a_function_that_holds_no_module_is_taken_as_it_is() -> None:
    rate = 2.0
    field = lambda t, x: rate * x  # noqa: E731
    assert fm.objectives.teachers.Known(field).given is field

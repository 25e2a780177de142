"""Objectives by forward mode, by differences and by a network's own dual evaluation: one result.

The exact Gaussian map solves both relations, so that a residual at it is the error of the
derivative alone, whatever took it.
"""

import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from torch import Tensor, nn

import flowmaps as fm

o = fm.objectives
N = 48
BACKENDS: dict[str, float] = {"forward": 1e-11, "differences": 1e-8, "dual": 1e-11}
"""By name, the error allowed in float64."""
ALONG: Any = {"dt": 1.0}

ZERO: dict[str, Callable[..., o.Composed]] = {
    "lmd": lambda law, by: o.lmd(law.interpolant, law.field, derivative=by),
    "lmd, value": lambda law, by: o.lmd(law.interpolant, law.field, "value", derivative=by),
    "emd": lambda law, by: o.emd(law.interpolant, law.field, derivative=by),
    "emd, target": lambda law, by: o.emd(law.interpolant, law.field, "target", derivative=by),
    "ayf_emd": lambda law, by: o.ayf_emd(law.interpolant, law.field, derivative=by),
    "ayf_lmd": lambda law, by: o.ayf_lmd(law.interpolant, law.field, derivative=by),
    "scm, distilled": lambda law, by: o.scm(law.interpolant, law.field, derivative=by),
    "lagrangian": lambda law, by: o.lagrangian_residual(law.field, derivative=by),
    "eulerian": lambda law, by: o.eulerian_residual(law.field, derivative=by),
}
"""Their residual is zero at the exact map."""
LEAST: dict[str, Callable[..., o.Composed]] = {
    "lsd": lambda law, by: o.lsd(law.interpolant, derivative=by),
    "esd": lambda law, by: o.esd(law.interpolant, derivative=by),
    "mean_flow": lambda law, by: o.mean_flow(law.interpolant, derivative=by),
    "improved": lambda law, by: o.improved_mean_flow(law.interpolant, derivative=by),
    "scm": lambda law, by: o.scm(law.interpolant, derivative=by),
    "fmm": lambda law, by: o.fmm(law.interpolant, derivative=by),
}
"""Their residual holds noise of the data."""


class WithDual(nn.Module):
    """A network and its dual evaluation: the hook, filled in by forward mode."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.theta = network, network.theta

    def forward(self, *arguments: Any) -> Tensor:
        return self.network(*arguments)

    def dual(self, s: Any, t: Any, x: Any, condition: Any, ds: Any, dt: Any, dx: Any, _: Any):
        return torch.func.jvp(lambda *at: self.network(*at, condition), (s, t, x), (ds, dt, dx))


class ByHand(nn.Module):
    """Two layers of tanh; value and tangent are stacked along the batch in every product."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)])

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        h = torch.cat([s[:, None], t[:, None], x], 1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return self.layers[-1](h)

    def dual(self, s: Any, t: Any, x: Any, condition: Any, ds: Any, dt: Any, dx: Any, _: Any):
        h = torch.cat(
            [torch.cat([s, ds])[:, None], torch.cat([t, dt])[:, None], torch.cat([x, dx])], 1
        )
        for number, layer in enumerate(self.layers):
            value, tangent = F.linear(h, layer.weight).chunk(2)
            value = value + layer.bias
            if number < len(self.layers) - 1:
                value = torch.tanh(value)
                tangent = (1 - value**2) * tangent
            h = torch.cat([value, tangent])
        return h.chunk(2)


def exact(law: Any, **settings: Any) -> fm.maps.FlowMap:
    """The exact map, whose network can do all three."""
    learned = law.learned(backward=True, **settings)
    return fm.maps.NeuralFlowMap(WithDual(learned.network), times=learned.times)


# ---------------------------------------------------------------------------- one result


@pytest.mark.parametrize("by", BACKENDS)
@pytest.mark.parametrize("name", ZERO)
def test_the_residual_at_the_exact_map_is_zero(laws: SimpleNamespace, name: str, by: str) -> None:
    law = laws.gaussian()
    objective, learned = ZERO[name](law, by), exact(law)
    draw = law.draw(objective, N)
    residual = objective.terms[0](learned, draw.rows)
    assert residual.abs().max() < BACKENDS[by]


@pytest.mark.parametrize("name", ZERO | LEAST)
def test_losses_and_gradients_are_those_of_forward_mode(laws: SimpleNamespace, name: str) -> None:
    """At the exact map and away from it; in the order of differences, h^2."""
    law = laws.gaussian()
    make = (ZERO | LEAST)[name]
    for direction in (None, "span times x", "sine of x"):
        learned = exact(law, direction=direction)
        torch.manual_seed(0)
        draw = law.draw(make(law, "forward"), N)
        found = {}
        for by in BACKENDS:
            loss = draw.loss(make(law, by), learned)
            found[by] = loss.detach(), torch.autograd.grad(loss, learned.network.theta)[0]
        for by, error in BACKENDS.items():
            torch.testing.assert_close(found[by], found["forward"], rtol=error, atol=10 * error)


@pytest.mark.parametrize("where", ["inside", "lower", "upper", "short", "corner"])
@pytest.mark.parametrize("own", [True, False], ids=["mean velocity", "states"])
def test_differences_are_of_second_order(laws: SimpleNamespace, where: str, own: bool) -> None:
    """In the middle, at both ends of the times, and where neither side has room for the step."""
    law = laws.gaussian()
    s, t = {
        "inside": (0.3, 0.6),
        "lower": (0.0, 0.7),
        "upper": (0.4, 1.0),
        "short": (0.5, 0.5 + 1 / 32),
        "corner": (1 / 64, 1 / 32),
    }[where]
    times = fm.maps.TimeSet(0.0, 1.0, backward=False)
    learned = fm.maps.NeuralFlowMap(law.learned().network, times=times)
    if not own:
        learned = fm.maps.ExactFlowMap(law.transport, times=times)
    x = torch.linspace(-2, 2, 9)[:, None]
    for residual in (fm.residuals.lagrangian, fm.residuals.eulerian):
        errors = []
        for step in (1 / 8, 1 / 16, 1 / 32, 1 / 64):
            by = fm.calculus.Differences(step)
            errors.append(residual(learned, law.field, s, t, x, by=by).abs().max().item())
        orders = [math.log2(a / b) for a, b in zip(errors[:-1], errors[1:], strict=True)]
        if where in ("inside", "lower", "upper"):
            assert orders[-1] == pytest.approx(2, abs=0.2), (residual.__name__, errors)
        assert max(errors) < 1 and errors[-1] < 5e-3, (residual.__name__, errors)


# ---------------------------------------------------------------------------- differences


class Watched(nn.Module):
    """Keeps the times that it is asked at."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        self.asked = s, t
        return torch.sin(x + s[:, None]) * torch.cos(t[:, None])


SETS = {
    "forwards": fm.maps.TimeSet(0.0, 1.0, backward=False),
    "backwards": fm.maps.TimeSet(0.0, 1.0, forward=False),
    "both": fm.maps.TimeSet(-1.0, 3.0),
    "short": fm.maps.TimeSet(0.0, 1.0, backward=False, max_span=0.25),
    "all": fm.maps.TimeSet(),
}
PART = st.one_of(st.sampled_from([0.0, 1.0, 1e-9, 1 - 1e-9]), st.floats(0, 1))


@pytest.mark.parametrize("name", SETS)
@given(start=PART, share=PART, step=st.sampled_from([None, 0.25, 1e-3]), late=st.booleans())
@example(start=0.0, share=0.0, step=None, late=False)
@example(start=1.0, share=0.0, step=None, late=False)
def test_differences_stay_inside_the_times(
    name: str, start: float, share: float, step: float | None, late: bool
) -> None:
    times, network = SETS[name], Watched()
    lower, upper = (times.lower, times.upper) if name != "all" else (-5.0, 5.0)
    low = lower + start * (upper - lower)
    high = low + share * (min(upper, low + times.max_span) - low)
    s, t = (high, low) if name == "backwards" else (low, high)
    learned = fm.maps.NeuralFlowMap(network, times=times)
    along = {"dt": 1.0} if late else {"ds": 1.0, "dx": torch.ones(1, 1)}
    at = torch.tensor([s]), torch.tensor([t]), torch.ones(1, 1)
    value, tangent = fm.calculus.Differences(step)(learned, *at, **along)
    assert bool(times.admits(*network.asked).all())
    torch.testing.assert_close(value, learned(*at))
    error = (tangent - fm.calculus.jvp(learned, *at, **along)[1]).abs()
    length = 1.0 if name == "all" else min(times.upper - times.lower, times.max_span)
    longest = length * (torch.finfo(torch.float64).eps ** (1 / 3) if step is None else step)
    # at an end a third of h^2 times the third derivative, which is 8 at most; and rounding
    assert error <= abs(t - s) * 8 / 3 * longest**2 + 1e-9


def test_a_map_of_one_pair_of_times_has_no_difference_of_states() -> None:
    times = fm.maps.TimeSet(0.0, 1.0, backward=False)
    drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None], times=times)
    by = fm.calculus.Differences()
    x = torch.zeros(1, 1)
    assert by(drift, 0.0, 0.0, x, ds=1.0)[1].isnan()
    assert by(drift, 0.0, 0.0, x, dt=1.0)[1] == pytest.approx(1.0, abs=1e-9)


def test_differences_along_states_and_conditions() -> None:
    """The tangent may be of any argument, as for forward mode."""
    flow = lambda s, t, x, c: x * torch.exp(c["rate"] * (t - s))[:, None]  # noqa: E731
    x, condition = torch.randn(5, 2), {"rate": torch.rand(5)}
    given = {
        "dx": torch.randn(5, 2),
        "condition": condition,
        "dcondition": {"rate": torch.randn(5)},
        "ds": torch.rand(5),
    }
    found = fm.calculus.Differences()(flow, 0.0, 0.5, x, **given)
    torch.testing.assert_close(
        found, fm.calculus.jvp(flow, 0.0, 0.5, x, **given), rtol=1e-8, atol=1e-8
    )


def test_in_single_precision_a_default_step_leaves_three_digits(laws: SimpleNamespace) -> None:
    law = laws.gaussian()
    learned = law.learned().to(torch.float32)
    s, t = torch.rand(2, 200).sort(0).values
    x = torch.randn(200, 1, dtype=torch.float32)
    by = fm.calculus.Differences()
    for residual in (fm.residuals.lagrangian, fm.residuals.eulerian):
        assert residual(learned, law.field, s, t, x, by=by).abs().max() < 1e-3


# ---------------------------------------------------------------------------- a network's own


def test_a_dual_by_hand_is_forward_mode() -> None:
    learned = fm.maps.NeuralFlowMap(ByHand())
    s, t = torch.rand(2, 7).sort(0).values
    at = s, t, torch.randn(7, 2)
    along = {"ds": torch.randn(7), "dt": torch.randn(7), "dx": torch.randn(7, 2)}
    found = fm.calculus.dual(learned, *at, **along)
    torch.testing.assert_close(found, fm.calculus.jvp(learned, *at, **along), rtol=0, atol=1e-12)


def test_no_forward_mode_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be differentiated forwards trains by the two others."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("forward mode")

    monkeypatch.setattr(torch.func, "jvp", refuse)
    for by in ("differences", "dual"):
        for make in (o.lsd, o.esd, o.mean_flow, o.improved_mean_flow, o.scm, o.fmm):
            times = fm.maps.TimeSet(0.0, 1.0)
            learned = fm.maps.NeuralFlowMap(ByHand(), times=times)
            make(derivative=by).loss(learned, None, torch.randn(8, 2)).total.backward()


@pytest.mark.parametrize("by", BACKENDS)
def test_compiled_losses_are_the_eager_ones(by: str) -> None:
    objective = o.lsd(derivative=by)
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1))
    nn.init.normal_(learned.network.head.weight)
    draw = objective.draw(o.Pairs(None, torch.randn(16, 2)))
    compiled = torch.compile(
        lambda draw: objective(learned, draw).total, backend="aot_eager", fullgraph=True
    )
    weights = list(learned.parameters())
    ours = torch.autograd.grad(compiled(draw), weights)
    torch.testing.assert_close(ours, torch.autograd.grad(objective(learned, draw).total, weights))


# ---------------------------------------------------------------------------- the option


def test_every_method_with_a_derivative_has_the_option() -> None:
    teacher = {"teacher": lambda t, x: x}
    for name in o.__all__:
        make = getattr(o, name)
        asked = inspect.signature(make).parameters if inspect.isfunction(make) else {}
        if "reduction" not in asked:
            continue
        given: Any = {"field": teacher["teacher"]} if "field" in asked else {}
        given = teacher if "teacher" in asked else given
        terms = make(**given).terms
        has = any(hasattr(term.principle, "takes_derivative") for term in terms)
        assert has == ("derivative" in asked), name


class Dropping(nn.Module):
    """A network with dropout, and no dual."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.1)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: None = None) -> Tensor:
        return self.drop(x)


def check(objective: o.Objective, network: nn.Module) -> None:
    pairs = o.Pairs(None, torch.randn(8, 2))
    objective.check(objective.draw(pairs), fm.maps.NeuralFlowMap(network))


HALF: Any = fm.networks.MLP(dim=2, width=4, depth=1).bfloat16()
OTHER: Any = 2.0
CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "another name": (
        lambda: o.lsd(derivative="backward"),
        ValueError,
        r"derivative must be one of \('forward', 'differences', 'dual'\), or .* got 'backward'",
    ),
    "a number": (lambda: o.lsd(derivative=OTHER), TypeError, "or called as fm.calculus.jvp is"),
    "a class": (
        lambda: o.lsd(derivative=fm.calculus.Differences),
        TypeError,
        r"such|as fm.calculus.Differences\(step=1e-3\), got <class",
    ),
    "no derivative to take": (
        lambda: o.Term("a", o.principles.semigroup, o.teachers.own, derivative="dual"),
        ValueError,
        "the principle semigroup takes no derivative",
    ),
    "a step of no length": (
        lambda: fm.calculus.Differences(0.0),
        ValueError,
        "step must be a positive, finite number",
    ),
    "a step of all": (lambda: fm.calculus.Differences(0.5), ValueError, "at most 1/4"),
    "states in bfloat16": (
        lambda: fm.calculus.Differences()(
            fm.maps.NeuralFlowMap(HALF), 0.0, 0.5, torch.zeros(2, 2).bfloat16(), **ALONG
        ),
        TypeError,
        "half precision are rounding, got states in torch.bfloat16; convert to float32",
    ),
    "states in float16": (
        lambda: fm.calculus.Differences()(
            lambda s, t, x: x, 0.0, 0.5, torch.zeros(2, 2).half(), **ALONG
        ),
        TypeError,
        "got states in torch.float16",
    ),
    "weights in bfloat16": (
        lambda: check(o.lsd(derivative="differences"), HALF),
        TypeError,
        "got weights in torch.bfloat16",
    ),
    "dropout": (
        lambda: check(o.lsd(derivative="differences"), Dropping()),
        ValueError,
        "the map's part network.drop is dropout",
    ),
    "no dual": (
        lambda: check(o.lsd(derivative="dual"), Dropping()),
        TypeError,
        r"the network Dropping has no method dual\(s, t, x, condition, ds, dt, dx, dcondition\)",
    ),
    "a map without dual": (
        lambda: fm.calculus.dual(fm.maps.Identity(), 0.0, 1.0, torch.zeros(1, 1)),
        TypeError,
        "asks the map for its method dual, which fm.maps.NeuralFlowMap has, got Identity",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case: str) -> None:
    act, error, message = CASES[case]
    with pytest.raises(error, match=message):
        act()

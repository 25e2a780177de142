"""Objectives refuse what makes no loss, in one sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import flowmaps as fm

o = fm.objectives
ANYTHING: Any = abs
NUMBER: Any = 2.0
TERMS: Any = o.lsd().terms
NAME: Any = "snr"
NETWORK: Any = fm.networks.MLP(dim=1, width=4, depth=1)
BOX = fm.domains.Box([-1.0], [1.0])


def learned() -> fm.maps.NeuralFlowMap:
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))


def short() -> fm.maps.NeuralFlowMap:
    return fm.maps.NeuralFlowMap(learned().network, times=fm.maps.TimeSet(0.0, 0.5))


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


def on_two_points(objective: o.Objective) -> object:
    return objective(learned(), objective.draw(o.Domain(BOX, (0.0, 1.0)), batch=2))


CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "pairs of two lengths": (
        lambda: o.Pairs(zeros(3, 1), zeros(4, 1)),
        ValueError,
        "coupled row by row",
    ),
    "pairs of two dtypes": (
        lambda: o.Pairs(zeros(3, 1).half(), zeros(3, 1)),
        ValueError,
        "coupled row by row",
    ),
    "integer data": (lambda: o.Pairs(None, zeros(3, 1).long()), TypeError, "floating-point"),
    "no data": (lambda: o.Pairs(None, zeros(0, 1)), ValueError, "no samples"),
    "condition of another length": (
        lambda: o.Pairs(None, zeros(3, 1), zeros(2)),
        ValueError,
        "condition",
    ),
    "a domain that cannot be drawn": (
        lambda: o.Domain((0.0, 1.0), (0.0, 1.0)),
        TypeError,
        "must have .sample",
    ),
    "no domain": (lambda: o.Domain(None, (0.0, 1.0)), TypeError, "must have .sample"),
    "a name for an interpolant": (
        lambda: o.lsd(ANYTHING),
        TypeError,
        "fm.interpolants.Interpolant such as",
    ),
    "a number for a field": (
        lambda: o.lagrangian_residual(NUMBER),
        TypeError,
        "teacher must be a field",
    ),
    "scale of another shape": (
        lambda: on_two_points(o.lagrangian_residual(lambda t, x: x, scale=torch.ones(2, 1))),
        ValueError,
        r"shape of an event, \(1,\), got \(2, 1\)",
    ),
    "conditions that cannot": (
        lambda: o.Domain(BOX, (0.0, 1.0), condition=2.0),
        TypeError,
        "must have .sample",
    ),
    "times backwards": (lambda: o.Domain(BOX, (1.0, 0.0)), ValueError, r"times\[0\] < times\[1\]"),
    "times not finite": (lambda: o.Domain(BOX, (0.0, float("inf"))), ValueError, "finite"),
    "a domain without batch": (
        lambda: o.Domain(BOX, (0.0, 1.0)).sample(),
        ValueError,
        "give batch=",
    ),
    "pairs for a domain's objective": (
        lambda: o.lagrangian_residual(lambda t, x: x).draw(o.Pairs(None, zeros(3, 1)), batch=2),
        TypeError,
        r"fm.objectives.Domain\(domain, times\), got Pairs",
    ),
    "a domain for data's objective": (
        lambda: o.lsd().draw(o.Domain(BOX, (0.0, 1.0)), batch=2),
        TypeError,
        r"fm.objectives.Pairs\(x0, x1\), got Domain",
    ),
    "no rows": (
        lambda: o.lsd().draw(o.Pairs(None, zeros(3, 1)), batch=0),
        ValueError,
        "batch must be a whole number of at least 1",
    ),
    "half a batch": (
        lambda: o.lsd().draw(o.Pairs(None, zeros(3, 1)), batch=ANYTHING),
        TypeError,
        "batch must be a whole number",
    ),
    "a raw network": (
        lambda: o.lsd()(NETWORK, o.lsd().draw(o.Pairs(None, zeros(3, 1)))),
        TypeError,
        "trains a flow map, got MLP; wrap a network in fm.maps.NeuralFlowMap",
    ),
    "a function": (
        lambda: o.lsd()(ANYTHING, o.lsd().draw(o.Pairs(None, zeros(3, 1)))),
        TypeError,
        "trains a flow map, got <built-in",
    ),
    "a weight by name": (
        lambda: o.lsd(weight=NAME),
        TypeError,
        r"a number or weight\(s, t\), got 'snr'",
    ),
    "a weight's number": (
        lambda: o.lsd(weight=lambda s, t: NUMBER).loss(learned(), None, zeros(8, 1)),
        TypeError,
        r"must return a tensor of shape \(2,\), got 2.0",
    ),
    "a weight for all": (
        lambda: o.lsd(weight=lambda s, t: torch.ones(())).loss(learned(), None, zeros(8, 1)),
        ValueError,
        r"weight\(s, t\) must have the shape of s, \(2,\), got \(\)",
    ),
    "a negative weight": (
        lambda: o.lsd(weight=lambda s, t: -t).loss(learned(), None, zeros(8, 1)),
        ValueError,
        r"weight\(s, t\) must not be negative, got -",
    ),
    "times of another map": (
        lambda: o.lsd().loss(short(), None, zeros(64, 1)),
        fm.errors.UntrainedTimes,
        r"not for the times of samples .* of the draw; give the map times=",
    ),
    "times checked": (
        lambda: o.lsd().check(o.lsd().draw(o.Pairs(None, zeros(64, 1))), short()),
        fm.errors.UntrainedTimes,
        "of the draw; give the map times=",
    ),
    "a routing for records": (
        lambda: o.Term("r", o.principles.recorded, o.teachers.own, "value"),
        ValueError,
        "recorded has nothing to stop",
    ),
    "share outside": (lambda: o.lsd(diagonal=1.5), ValueError, r"in \[0, 1\]"),
    "negative weight": (lambda: o.lsd(weight=-1.0), ValueError, "not negative"),
    "reduction": (lambda: o.lsd(reduction="max"), ValueError, "reduction must be one of"),
    "scale": (
        lambda: o.lagrangian_residual(lambda t, x: x, scale=[0.0]),
        ValueError,
        "scale must be positive",
    ),
    "growing span": (lambda: o.GrowingSpan(start=0.0), ValueError, r"in \(0, 1\]"),
    "limit outside": (
        lambda: o.SortedPair(lambda progress: 2.0).sample(3, (0.0, 1.0)),
        ValueError,
        "limit of spans",
    ),
    "two terms of one name": (
        lambda: o.Composed(o.Diagonal(), o.AtStates(), [*TERMS, *TERMS]),
        ValueError,
        "different names",
    ),
    "rows": (
        lambda: o.Term("a", ANYTHING, ANYTHING, rows="some"),
        ValueError,
        "rows must be one of",
    ),
    "no velocity": (
        lambda: o.flow_matching()(learned(), o.Draw(zeros(2), zeros(2), zeros(2, 1))),
        ValueError,
        "carries no velocity",
    ),
    "backward slice": (
        lambda: o.Draw(zeros(2), zeros(2), zeros(2, 1))[::-1],
        ValueError,
        "forward slice",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case: str) -> None:
    act, error, message = CASES[case]
    with pytest.raises(error, match=message):
        act()

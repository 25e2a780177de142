"""Maps refuse parts and settings that cannot be meant."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

maps, solvers, errors = fm.maps, fm.solvers, fm.errors

NAN = float("nan")
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
RATES = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
CURE = "Pass whatever differs between samples as condition="


def field(t: Tensor, x: Tensor) -> Tensor:
    return -x


def shift(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return x + (t - s)[:, None]


class Network(nn.Module):
    """A network that returns what it is told to."""

    def __init__(self, output: Callable[[Tensor], Any]):
        super().__init__()
        self.output = output

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Any:
        return self.output(x)


FLOW = maps.ExactFlowMap(shift)
UNIT = maps.ExactFlowMap(shift, maps.TimeSet(0.0, 1.0, backward=False))
LEARNED = maps.NeuralFlowMap(Network(lambda x: x))
STEP = FLOW.between(0.0, 1.0)


def untrained_tensors() -> Tensor:
    with fm.checking("full"):
        return LEARNED(0.0, torch.tensor([1.0, 2.0, 1.0]), X)


CASES = {
    "exact: no callable": (lambda: maps.ExactFlowMap(3), TypeError, r"callable X\(s, t, x\)"),
    "exact: velocity": (lambda: maps.ExactFlowMap(shift, velocity=X), TypeError, "velocity"),
    "exact: times": (lambda: maps.ExactFlowMap(shift, (0, 1)), TypeError, "be a TimeSet"),
    "exact: gives another shape": (
        lambda: maps.ExactFlowMap(lambda s, t, x: x[:, :1])(0.0, 1.0, X),
        ValueError,
        r"\(3, 2\)",
    ),
    "exact: gives another dtype": (
        lambda: maps.ExactFlowMap(lambda s, t, x: x.float())(0.0, 1.0, X),
        TypeError,
        "state's dtype",
    ),
    "neural: no module": (lambda: maps.NeuralFlowMap(shift), TypeError, "an nn.Module"),
    "neural: parametrisation as text": (
        lambda: maps.NeuralFlowMap(Network(abs), "mean"),
        TypeError,
        r"MeanVelocity\(\), got 'mean",
    ),
    "neural: parametrisation not made": (
        lambda: maps.NeuralFlowMap(Network(abs), maps.MeanVelocity),
        TypeError,
        "such as Mean",
    ),
    "neural: gives nothing": (
        lambda: maps.NeuralFlowMap(Network(lambda x: None))(0.0, 1.0, X),
        TypeError,
        "the network",
    ),
    "neural: gives another shape": (
        lambda: maps.NeuralFlowMap(Network(lambda x: x[:1]))(0.0, 1.0, X),
        ValueError,
        "the network",
    ),
    "neural: untrained numbers": (
        lambda: LEARNED(1.0, 0.0, X),
        ValueError,
        "s <= t only",
        errors.UntrainedTimes,
    ),
    "neural: untrained tensors": (
        untrained_tensors,
        ValueError,
        r"not for the times of samples \[1\]",
        errors.UntrainedTimes,
    ),
    "neural: velocity elsewhere": (
        lambda: LEARNED.velocity(3.0, X),
        ValueError,
        r"\[0, 1\]",
        errors.UntrainedTimes,
    ),
    "endpoint: NaN": (lambda: maps.Endpoint(NAN), ValueError, "end time must be finite"),
    "endpoint: text": (lambda: maps.Endpoint("1"), TypeError, "end time must be a number"),
    "second order": (lambda: maps.SecondOrder(None), TypeError, r"callable b\(t, x\)"),
    "times: empty": (lambda: maps.TimeSet(1.0, 1.0), ValueError, "lower < upper"),
    "times: NaN": (lambda: maps.TimeSet(NAN, 1.0), ValueError, "lower < upper"),
    "times: no span": (lambda: maps.TimeSet(max_span=0.0), ValueError, "max_span > 0"),
    "times: no direction": (
        lambda: maps.TimeSet(forward=False, backward=False),
        ValueError,
        "needs a direction",
    ),
    "times: text": (lambda: maps.TimeSet("0", 1.0), TypeError, "lower of a TimeSet"),
    "times: direction as text": (
        lambda: maps.TimeSet(backward="no"),
        TypeError,
        "backward .* must be True or False",
    ),
    "solver: field": (lambda: maps.SolverFlowMap(X), TypeError, "got a tensor of shape"),
    "solver: method as text": (
        lambda: maps.SolverFlowMap(field, "tsit5"),
        TypeError,
        r"Tsit5\(\), got 'tsit5'",
    ),
    "solver: method not made": (
        lambda: maps.SolverFlowMap(field, solvers.RK4),
        TypeError,
        "must be a method object",
    ),
    "solver: derivatives": (
        lambda: maps.SolverFlowMap(field, derivatives="no"),
        ValueError,
        '"by relation" or',
    ),
    "solver: path": (
        lambda: maps.SolverFlowMap(field, path="fast"),
        ValueError,
        '"interpolated" or "stops"',
    ),
    "autonomous: span": (
        lambda: maps.Autonomous(UNIT, 2.0),
        ValueError,
        r"\[0, span\] allowed by the map",
    ),
    "autonomous: negative span": (
        lambda: maps.Autonomous(FLOW, -1.0),
        ValueError,
        "span must be positive",
    ),
    "autonomous: span as text": (
        lambda: maps.Autonomous(FLOW, "1"),
        TypeError,
        "a number for span",
    ),
    "autonomous: a function": (lambda: maps.Autonomous(shift, 1.0), TypeError, "needs a FlowMap"),
    "conjugated: a function": (
        lambda: maps.Conjugated(FLOW, torch.exp),
        TypeError,
        "Affine or FromFunctions",
    ),
    "affine: scale zero": (lambda: maps.Affine(0.0, [1.0, 0.0]), ValueError, "scale not zero"),
    "affine: NaN": (lambda: maps.Affine([NAN], 1.0), ValueError, "shift must be finite"),
    "affine: text": (lambda: maps.Affine("a", 1.0), TypeError, "shift must be a real number"),
    "affine: another event": (
        lambda: maps.Affine([0.0] * 3, 1.0)(X),
        ValueError,
        r"sample's shape \(2,\)",
    ),
    "affine: along the batch": (
        lambda: maps.Affine(RATES, 1.0)(X),
        ValueError,
        r"shift has shape \(3, 1\)",
    ),
    "from functions": (
        lambda: maps.FromFunctions(torch.exp, None),
        TypeError,
        "needs two callables",
    ),
    "piecewise: breaks too few": (
        lambda: maps.Piecewise([FLOW] * 3, [1.0]),
        ValueError,
        "3 maps meet at 2 breaks, got 1",
    ),
    "piecewise: no breaks": (
        lambda: maps.Piecewise([FLOW], []),
        ValueError,
        "breaks must hold at least one time",
    ),
    "piecewise: falling breaks": (
        lambda: maps.Piecewise([FLOW] * 3, [1.0, 0.0]),
        ValueError,
        "breaks must increase strictly",
    ),
    "piecewise: breaks as text": (
        lambda: maps.Piecewise([FLOW] * 2, ["a"]),
        TypeError,
        "breaks must be a list of numbers",
    ),
    "piecewise: a function": (
        lambda: maps.Piecewise([LEARNED, shift], [1.0]),
        TypeError,
        "'NeuralFlowMap', 'function'",
    ),
    "piecewise: one map": (
        lambda: maps.Piecewise(LEARNED, [1.0]),
        TypeError,
        "needs a list of FlowMaps",
    ),
    "piecewise: a map elsewhere": (
        lambda: maps.Piecewise([FLOW, UNIT], [2.0]),
        ValueError,
        "meets another at 2.0",
    ),
    "through: falling": (lambda: FLOW.through([1.0, 0.0]), ValueError, "grid must increase"),
    "through: resting": (lambda: FLOW.through([0.0, 0.0]), ValueError, "grid must increase"),
    "through: empty": (lambda: FLOW.through([]), ValueError, "at least one time"),
    "through: a matrix": (lambda: FLOW.through(X), TypeError, r"tensor of shape \(3, 2\)"),
    "between: text": (lambda: FLOW.between("0", 1.0), TypeError, "s must be a number"),
    "between: NaN": (lambda: FLOW.between(0.0, NAN), ValueError, "t must be a finite time"),
    "between: a matrix": (lambda: FLOW.between(X, 1.0), ValueError, r"\(\) or \(batch,\)"),
    "between: untrained": (
        lambda: UNIT.between(0.0, 2.0),
        ValueError,
        "not for s = 0.0",
        errors.UntrainedTimes,
    ),
    "compose: times that do not meet": (
        lambda: STEP @ FLOW.between(0.0, 0.5),
        ValueError,
        "ends at 0.5, the later one starts at 0.0",
    ),
    "compose: a tensor": (lambda: STEP @ X, TypeError, "only transition maps compose"),
    "compose: a flow map": (lambda: STEP @ FLOW, TypeError, r"use flow_map.between\(s, t\)"),
    "chain: nothing": (lambda: maps.Chain([]), ValueError, "at least one transition map"),
    "chain: no list": (lambda: maps.Chain(3), TypeError, "list of transition maps"),
    "chain: a flow map": (lambda: maps.Chain([FLOW]), TypeError, "list of transition maps"),
    "inverse: method": (lambda: STEP.inverse("magic"), ValueError, '"map" or "newton"'),
    "inverse: of a chain": (
        lambda: (STEP @ FLOW.between(-1.0, 0.0)).inverse("magic"),
        ValueError,
        '"map" or "newton"',
    ),
    "inverse: untrained": (
        lambda: UNIT.between(0.0, 1.0).inverse(),
        ValueError,
        "s <= t",
        errors.UntrainedTimes,
    ),
    "newton: a flow map": (lambda: maps.NewtonInverse(LEARNED), TypeError, "between"),
    "newton: no iterations": (
        lambda: maps.NewtonInverse(STEP, 0),
        ValueError,
        "max_iterations must be a whole number of at least 1",
    ),
    "along: no times": (lambda: FLOW.along(0.0, [], X), ValueError, "at least one time"),
    "along: text": (lambda: FLOW.along(0.0, ["a"], X), TypeError, "must be a number"),
    "along: truth values": (lambda: FLOW.along(0.0, [True], X), TypeError, "must be a number"),
    "along: another batch": (
        lambda: FLOW.along(0.0, torch.ones(2, 4), X),
        ValueError,
        r"\(n_times, 3\)",
    ),
    "along: NaN": (lambda: FLOW.along(0.0, [0.5, NAN], X), ValueError, "finite time"),
    "along: untrained": (
        lambda: UNIT.along(0.0, [0.5, 1.5], X),
        ValueError,
        r"\[0, 1\]",
        errors.UntrainedTimes,
    ),
    "field: captures samples, in a map": (
        lambda: maps.SolverFlowMap(lambda t, x: -RATES * x)(0.0, 1.0, X),
        ValueError,
        CURE,
    ),
    "field: captures samples, in a parametrisation": (
        lambda: maps.NeuralFlowMap(Network(lambda x: x), maps.SecondOrder(lambda t, x: -RATES * x))(
            0.0, 1.0, X
        ),
        ValueError,
        CURE,
    ),
    "field: broadcasts t, batch = dim, in a map": (
        lambda: maps.SolverFlowMap(lambda t, x: t * x)(0.0, 1.0, X[:2]),
        ValueError,
        r"t\[:, None\]",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])

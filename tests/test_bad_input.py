"""What cannot be meant is refused at every door, in one clear sentence or two."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm

maps, solvers, calculus, residuals = fm.maps, fm.solvers, fm.calculus, fm.residuals
fields, domains, problems, errors = fm.fields, fm.domains, fm.problems, fm.errors

NAN, INF = float("nan"), float("inf")
WRONG: Any = None  # stands where a type checker would object
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
META = torch.ones(3, 2, dtype=torch.float64, device="meta")
RATES = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
LONG = [0.0] * 1000


class Case(NamedTuple):
    act: Callable[[], object]
    error: type[Exception]
    message: str
    named: type[Exception] = Exception
    """The class of fm.errors, where it has one."""


def field(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    return -x


def shift(s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
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
BOX = domains.Box([0.0, 0.0], [1.0, 1.0])
OSCILLATOR = problems.HarmonicOscillator()


def w(value: Any) -> Any:
    """A value of a type that the argument is not for."""
    return value


def full(act: Callable[[], object]) -> Callable[[], object]:
    def checked() -> object:
        with fm.checking("full"):
            return act()

    return checked


def under_inference_mode() -> object:
    with torch.inference_mode():
        return calculus.time_derivative(FLOW, 0.0, 1.0, X)


def solve(field: Any, x: Any = X, **options: Any) -> Any:
    return solvers.solve(field, 0.0, 1.0, x, **options)


# ---------------------------------------------------------------------------- states and times

CALLS = {
    "state: a list": Case(lambda: FLOW(0.0, 1.0, w([[1.0]])), TypeError, "torch.as_tensor"),
    "state: integers": Case(lambda: FLOW(0.0, 1.0, X.long()), TypeError, "real floating-point"),
    "state: complex": Case(lambda: FLOW(0.0, 1.0, X + 0j), TypeError, "real floating-point"),
    "state: 0-d": Case(lambda: FLOW(0.0, 1.0, X[0, 0]), ValueError, r"sample is x\[None\]"),
    "state: NaN": Case(full(lambda: FLOW(0.0, 1.0, X * NAN)), ValueError, r"in samples \[0, 1, 2"),
    "state: NaN, of many": Case(
        full(lambda: FLOW(0.0, 1.0, torch.full((99, 1), NAN))), ValueError, r"7, \.\.\. 99 in all"
    ),
    "time: text": Case(lambda: FLOW(w("0"), 1.0, X), TypeError, "s must be a number or a tensor"),
    "time: a truth value": Case(
        lambda: FLOW(0.0, True, X), TypeError, "t must be a number .* True"
    ),
    "time: None": Case(lambda: FLOW(WRONG, 1.0, X), TypeError, "s must be a number"),
    "time: complex": Case(lambda: FLOW(0.0, w(1j), X), TypeError, "t must be a number"),
    "time: a long list": Case(
        lambda: FLOW(0.0, w(LONG), X), TypeError, r"got list \[0.0, .* \.\.\.$"
    ),
    "time: NaN": Case(lambda: FLOW(NAN, 1.0, X), ValueError, "s must be a finite time, got nan"),
    "time: infinite": Case(
        lambda: FLOW(0.0, INF, X), ValueError, "t must be a finite time, got inf"
    ),
    "time: truth values": Case(lambda: FLOW(X[:, 0] > 0, 1.0, X), TypeError, "s must be real"),
    "time: a column": Case(lambda: FLOW(X[:, :1], 1.0, X), ValueError, r"got \(3, 1\)"),
    "time: another batch": Case(lambda: FLOW(0.0, torch.ones(4), X), ValueError, r"\(3,\).*\(4,\)"),
    "time: another device": Case(lambda: FLOW(META[:, 0], 1.0, X), ValueError, "on meta.*on cpu"),
    "time: NaN in a tensor": Case(
        full(lambda: FLOW(torch.tensor([0.0, NAN, 0.0]), 1.0, X)), ValueError, r"samples \[1\]"
    ),
    "state: another device": Case(lambda: FLOW(X[:, 0], 1.0, META), ValueError, "on cpu.*on meta"),
    "condition: another batch": Case(
        lambda: FLOW(0.0, 1.0, X, torch.ones(4, 1)),
        ValueError,
        r"expand it with condition.expand\(3",
    ),
    "condition: 0-d": Case(
        lambda: FLOW(0.0, 1.0, X, {"a": torch.tensor(1.0)}), ValueError, "one row for each"
    ),
    "condition: no tensor": Case(
        lambda: FLOW(0.0, 1.0, X, {"a": 1.0}), TypeError, "a leaf of type float"
    ),
    "condition: another device": Case(
        lambda: FLOW(0.0, 1.0, X, META), ValueError, "condition is on meta"
    ),
    "condition: NaN": Case(
        full(lambda: FLOW(0.0, 1.0, X, X * NAN)), ValueError, "condition holds values"
    ),
    "checking: level": Case(lambda: fm.checking("loud"), ValueError, '"full" or "static"'),
}

# ---------------------------------------------------------------------------- maps

MAPS = {
    "exact: no callable": Case(
        lambda: maps.ExactFlowMap(w(3)), TypeError, r"callable X\(s, t, x\)"
    ),
    "exact: velocity": Case(lambda: maps.ExactFlowMap(shift, velocity=w(X)), TypeError, "velocity"),
    "exact: times": Case(lambda: maps.ExactFlowMap(shift, w((0, 1))), TypeError, "be a TimeSet"),
    "exact: gives another shape": Case(
        lambda: maps.ExactFlowMap(lambda s, t, x: x[:, :1])(0.0, 1.0, X), ValueError, r"\(3, 2\)"
    ),
    "exact: gives another dtype": Case(
        lambda: maps.ExactFlowMap(lambda s, t, x: x.float())(0.0, 1.0, X),
        TypeError,
        "state's dtype",
    ),
    "neural: no module": Case(lambda: maps.NeuralFlowMap(w(shift)), TypeError, "an nn.Module"),
    "neural: parametrisation as text": Case(
        lambda: maps.NeuralFlowMap(Network(abs), w("mean")),
        TypeError,
        r"MeanVelocity\(\), got 'mean",
    ),
    "neural: parametrisation not made": Case(
        lambda: maps.NeuralFlowMap(Network(abs), w(maps.MeanVelocity)), TypeError, "such as Mean"
    ),
    "neural: gives nothing": Case(
        lambda: maps.NeuralFlowMap(Network(lambda x: None))(0.0, 1.0, X), TypeError, "the network"
    ),
    "neural: gives another shape": Case(
        lambda: maps.NeuralFlowMap(Network(lambda x: x[:1]))(0.0, 1.0, X), ValueError, "the network"
    ),
    "neural: untrained numbers": Case(
        lambda: LEARNED(1.0, 0.0, X), ValueError, "s <= t only", errors.UntrainedTimes
    ),
    "neural: untrained tensors": Case(
        full(lambda: LEARNED(0.0, torch.tensor([1.0, 2.0, 1.0]), X)),
        ValueError,
        r"not for the times of samples \[1\]",
        errors.UntrainedTimes,
    ),
    "neural: velocity elsewhere": Case(
        lambda: LEARNED.velocity(3.0, X), ValueError, r"\[0, 1\]", errors.UntrainedTimes
    ),
    "endpoint: NaN": Case(lambda: maps.Endpoint(NAN), ValueError, "end time must be finite"),
    "endpoint: text": Case(lambda: maps.Endpoint(w("1")), TypeError, "end time must be a number"),
    "second order": Case(lambda: maps.SecondOrder(WRONG), TypeError, r"callable b\(t, x\)"),
    "times: empty": Case(lambda: maps.TimeSet(1.0, 1.0), ValueError, "lower < upper"),
    "times: NaN": Case(lambda: maps.TimeSet(NAN, 1.0), ValueError, "lower < upper"),
    "times: no span": Case(lambda: maps.TimeSet(max_span=0.0), ValueError, "max_span > 0"),
    "times: no direction": Case(
        lambda: maps.TimeSet(forward=False, backward=False), ValueError, "needs a direction"
    ),
    "times: text": Case(lambda: maps.TimeSet(w("0"), 1.0), TypeError, "lower of a TimeSet"),
    "times: direction as text": Case(
        lambda: maps.TimeSet(backward=w("no")), TypeError, "backward .* must be True or False"
    ),
    "solver: field": Case(lambda: maps.SolverFlowMap(w(X)), TypeError, "got a tensor of shape"),
    "solver: method as text": Case(
        lambda: maps.SolverFlowMap(field, w("tsit5")), TypeError, r"Tsit5\(\), got 'tsit5'"
    ),
    "solver: method not made": Case(
        lambda: maps.SolverFlowMap(field, w(solvers.RK4)), TypeError, "must be a method object"
    ),
    "solver: derivatives": Case(
        lambda: maps.SolverFlowMap(field, derivatives="no"), ValueError, '"by relation" or'
    ),
    "autonomous: span": Case(
        lambda: maps.Autonomous(UNIT, 2.0), ValueError, r"\[0, span\] allowed by the map"
    ),
    "autonomous: negative span": Case(
        lambda: maps.Autonomous(FLOW, -1.0), ValueError, "span must be positive"
    ),
    "autonomous: span as text": Case(
        lambda: maps.Autonomous(FLOW, w("1")), TypeError, "a number for span"
    ),
    "autonomous: a function": Case(
        lambda: maps.Autonomous(w(shift), 1.0), TypeError, "needs a FlowMap"
    ),
    "conjugated: a function": Case(
        lambda: maps.Conjugated(FLOW, w(torch.exp)), TypeError, "Affine or FromFunctions"
    ),
    "affine: scale zero": Case(lambda: maps.Affine(0.0, [1.0, 0.0]), ValueError, "scale not zero"),
    "affine: NaN": Case(lambda: maps.Affine([NAN], 1.0), ValueError, "shift must be finite"),
    "affine: text": Case(
        lambda: maps.Affine(w("a"), 1.0), TypeError, "shift must be a real number"
    ),
    "affine: another event": Case(
        lambda: maps.Affine([0.0] * 3, 1.0)(X), ValueError, r"sample's shape \(2,\)"
    ),
    "affine: along the batch": Case(
        lambda: maps.Affine(RATES, 1.0)(X), ValueError, r"shift has shape \(3, 1\)"
    ),
    "from functions": Case(
        lambda: maps.FromFunctions(torch.exp, WRONG), TypeError, "needs two callables"
    ),
    "piecewise: breaks too few": Case(
        lambda: maps.Piecewise([FLOW] * 3, [1.0]), ValueError, "3 maps meet at 2 breaks, got 1"
    ),
    "piecewise: no breaks": Case(
        lambda: maps.Piecewise([FLOW], []), ValueError, "breaks must hold at least one time"
    ),
    "piecewise: falling breaks": Case(
        lambda: maps.Piecewise([FLOW] * 3, [1.0, 0.0]), ValueError, "breaks must increase strictly"
    ),
    "piecewise: breaks as text": Case(
        lambda: maps.Piecewise([FLOW] * 2, w(["a"])), TypeError, "breaks must be a list of numbers"
    ),
    "piecewise: a function": Case(
        lambda: maps.Piecewise([LEARNED, w(shift)], [1.0]), TypeError, "'NeuralFlowMap', 'function'"
    ),
    "piecewise: one map": Case(
        lambda: maps.Piecewise(w(LEARNED), [1.0]), TypeError, "needs a list of FlowMaps"
    ),
    "piecewise: a map elsewhere": Case(
        lambda: maps.Piecewise([FLOW, UNIT], [2.0]), ValueError, "meets another at 2.0"
    ),
    "through: falling": Case(lambda: FLOW.through([1.0, 0.0]), ValueError, "grid must increase"),
    "through: resting": Case(lambda: FLOW.through([0.0, 0.0]), ValueError, "grid must increase"),
    "through: empty": Case(lambda: FLOW.through([]), ValueError, "at least one time"),
    "through: a matrix": Case(lambda: FLOW.through(X), TypeError, r"tensor of shape \(3, 2\)"),
    "between: text": Case(lambda: FLOW.between(w("0"), 1.0), TypeError, "s must be a number"),
    "between: NaN": Case(lambda: FLOW.between(0.0, NAN), ValueError, "t must be a finite time"),
    "between: a matrix": Case(lambda: FLOW.between(X, 1.0), ValueError, r"\(\) or \(batch,\)"),
    "between: untrained": Case(
        lambda: UNIT.between(0.0, 2.0), ValueError, "not for s = 0.0", errors.UntrainedTimes
    ),
    "compose: times that do not meet": Case(
        lambda: STEP @ FLOW.between(0.0, 0.5),
        ValueError,
        "ends at 0.5, the later one starts at 0.0",
    ),
    "compose: a tensor": Case(lambda: STEP @ w(X), TypeError, "only transition maps compose"),
    "compose: a flow map": Case(lambda: STEP @ w(FLOW), TypeError, r"use flow_map.between\(s, t\)"),
    "chain: nothing": Case(lambda: maps.Chain([]), ValueError, "at least one transition map"),
    "chain: no list": Case(lambda: maps.Chain(w(3)), TypeError, "list of transition maps"),
    "chain: a flow map": Case(lambda: maps.Chain([w(FLOW)]), TypeError, "list of transition maps"),
    "inverse: method": Case(lambda: STEP.inverse("magic"), ValueError, '"map" or "newton"'),
    "inverse: of a chain": Case(
        lambda: (STEP @ FLOW.between(-1.0, 0.0)).inverse("magic"), ValueError, '"map" or "newton"'
    ),
    "inverse: untrained": Case(
        lambda: UNIT.between(0.0, 1.0).inverse(), ValueError, "s <= t", errors.UntrainedTimes
    ),
    "newton: a flow map": Case(lambda: maps.NewtonInverse(w(LEARNED)), TypeError, "between"),
    "newton: no iterations": Case(
        lambda: maps.NewtonInverse(STEP, 0), ValueError, "max_iterations must be a positive"
    ),
    "along: no times": Case(lambda: FLOW.along(0.0, [], X), ValueError, "at least one time"),
    "along: text": Case(lambda: FLOW.along(0.0, w(["a"]), X), TypeError, "a list of numbers"),
    "along: truth values": Case(lambda: FLOW.along(0.0, [True], X), TypeError, "must be real"),
    "along: another batch": Case(
        lambda: FLOW.along(0.0, torch.ones(2, 4), X), ValueError, r"\(n_times, 3\)"
    ),
    "along: NaN": Case(
        lambda: FLOW.along(0.0, [0.5, NAN], X), ValueError, "not for", errors.UntrainedTimes
    ),
    "along: untrained": Case(
        lambda: UNIT.along(0.0, [0.5, 1.5], X), ValueError, r"\[0, 1\]", errors.UntrainedTimes
    ),
}

# ---------------------------------------------------------------------------- derivatives

DERIVATIVES = {
    "jvp: no callable": Case(
        lambda: calculus.jvp(WRONG, 0.0, 1.0, X, dt=1.0), TypeError, r"callable X\(s, t, x\)"
    ),
    "jvp: state": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, w(3.0)), TypeError, "x must be a torch"
    ),
    "jvp: tangent of another shape": Case(
        lambda: calculus.directional(FLOW, 0.0, 1.0, X, X[:, :1]), ValueError, "dx must have its"
    ),
    "jvp: tangent as number": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=w(1.0)), TypeError, "dx must be a real tensor"
    ),
    "jvp: complex tangent": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=1j * X), TypeError, "got torch.complex128"
    ),
    "jvp: tangent elsewhere": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=META), ValueError, "on meta"
    ),
    "jvp: tangent of time": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dt=torch.ones(4)), ValueError, "dt must have shape"
    ),
    "jvp: dcondition's structure": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition={"a": X}, dcondition={"b": X}),
        ValueError,
        "condition's structure",
    ),
    "jvp: dcondition's shape": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition=X, dcondition=X[:, :1]),
        ValueError,
        "dcondition must have its primal's shape",
    ),
    "jvp: dcondition of labels": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition=X.long(), dcondition=X),
        ValueError,
        "torch.int64 has no tangent",
    ),
    "jvp: dcondition alone": Case(
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dcondition=X), ValueError, "None has no tangent"
    ),
    "jvp: a map that gives nothing": Case(
        lambda: calculus.time_derivative(lambda s, t, x: WRONG, 0.0, 1.0, X),
        TypeError,
        "the flow map must return a tensor",
    ),
    "jvp: inference mode": Case(
        under_inference_mode, RuntimeError, "use torch.no_grad", errors.UnsupportedTransform
    ),
    "jvp: untrained": Case(
        lambda: calculus.start_derivative(UNIT, 0.0, 2.0, X),
        ValueError,
        "t = 2.0",
        errors.UntrainedTimes,
    ),
    "jacobian: 0-d": Case(lambda: calculus.jacobian(FLOW, 0.0, 1.0, X[0, 0]), ValueError, "0-d"),
    "log-determinant: time": Case(
        lambda: calculus.log_det(FLOW, 0.0, w("1"), X), TypeError, "t must be a number"
    ),
    "divergence: method": Case(
        lambda: calculus.divergence(field, 0.0, X, "magic"), ValueError, '"exact" or "hutchinson"'
    ),
    "divergence: no probes": Case(
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes=0), ValueError, "at least 1"
    ),
    "divergence: probes as text": Case(
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes=w("9")),
        TypeError,
        "probes must be a whole number",
    ),
    "divergence: probes of another shape": Case(
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes=X),
        ValueError,
        r"\(n_probes, 3, 2\)",
    ),
    "divergence: no field": Case(
        lambda: calculus.divergence(w(3), 0.0, X), TypeError, "field must be a callable"
    ),
    "divergence: field of another shape": Case(
        lambda: calculus.divergence(lambda t, x: x[:, :1], 0.0, X), ValueError, "the field must"
    ),
    "logarithmic norm: norm": Case(
        lambda: calculus.logarithmic_norm(field, 0.0, X, norm="3"), ValueError, '"1", "2" or "inf"'
    ),
    "logarithmic norm: weight": Case(
        lambda: calculus.logarithmic_norm(field, 0.0, X, weight=X), ValueError, r"matrix \(2, 2\)"
    ),
    "logarithmic norm: weight as list": Case(
        lambda: calculus.logarithmic_norm(field, 0.0, X, weight=w([[1.0]])), TypeError, "got list"
    ),
    "identity: time": Case(lambda: residuals.identity(FLOW, w("a"), X), TypeError, "^t must be"),
    "tangent: field of another shape": Case(
        lambda: residuals.tangent(FLOW, lambda t, x: x[:1], 0.0, X), ValueError, "the field must"
    ),
    "lagrangian: no field": Case(
        lambda: residuals.lagrangian(FLOW, w(3), 0.0, 1.0, X), TypeError, "field must be a callable"
    ),
    "lagrangian: NaN as time": Case(
        lambda: residuals.lagrangian(FLOW, field, 0.0, NAN, X), ValueError, "t must be a finite"
    ),
    "eulerian: integers": Case(
        lambda: residuals.eulerian(FLOW, field, 0.0, 1.0, X.long()), TypeError, "floating-point"
    ),
    "semigroup: the time between": Case(
        lambda: residuals.semigroup(FLOW, 0.0, torch.ones(4), 1.0, X), ValueError, "^u must have"
    ),
    "inverse: untrained": Case(
        lambda: residuals.inverse(UNIT, 0.0, 1.0, X), ValueError, "s <= t", errors.UntrainedTimes
    ),
    "integral: no nodes": Case(
        lambda: residuals.integral_lagrangian(FLOW, field, 0.0, 1.0, X, nodes=0),
        ValueError,
        "nodes must be a whole number of at least 1",
    ),
    "liouville: half a node": Case(
        lambda: residuals.liouville(FLOW, field, 0.0, 1.0, X, nodes=w(0.5)), ValueError, "nodes"
    ),
}

# ---------------------------------------------------------------------------- solvers and fields

CURE = "Pass whatever differs between samples as condition="
SOLVES = {
    "solve: method as text": Case(
        lambda: solve(field, method="dopri5"), TypeError, "method object"
    ),
    "solve: rtol zero": Case(lambda: solve(field, rtol=0.0), ValueError, "rtol must be positive"),
    "solve: rtol negative": Case(lambda: solve(field, rtol=-1e-3), ValueError, "rtol must be pos"),
    "solve: rtol NaN": Case(lambda: solve(field, rtol=NAN), ValueError, "both finite"),
    "solve: rtol as text": Case(lambda: solve(field, rtol="1e-3"), TypeError, "rtol must be a num"),
    "solve: atol negative": Case(lambda: solve(field, atol=-1.0), ValueError, "atol not negative"),
    "solve: RK4 without steps": Case(
        lambda: solve(field, method=solvers.RK4()), ValueError, r"give steps=\.\.\. or choose Tsit5"
    ),
    "solve: no steps": Case(lambda: solve(field, steps=0), ValueError, "steps must be a whole"),
    "solve: half a step": Case(lambda: solve(field, steps=0.5), TypeError, "steps must be a whole"),
    "solve: max_steps": Case(lambda: solve(field, max_steps=0), ValueError, "max_steps must be"),
    "solve: controller": Case(lambda: solve(field, controller="pi"), TypeError, "PI"),
    "controller": Case(lambda: solvers.PI(safety=2.0), ValueError, "0 < safety < 1"),
    "tableau": Case(
        lambda: solvers.ButcherTableau.parse("0 1", ["", "1"], "1"), ValueError, "b needs 2 entries"
    ),
    "torchdiffeq: method": Case(
        lambda: solvers.TorchDiffEq("magic"), ValueError, "dopri5.*got 'magic'"
    ),
    "torchdiffeq: fixed steps": Case(
        lambda: solvers.TorchDiffEq("rk4"), ValueError, "give options=.*step_size"
    ),
    "torchdiffeq: steps": Case(
        lambda: solve(field, method=solvers.TorchDiffEq(), steps=3), ValueError, "not from steps="
    ),
    "torchdiffeq: dense": Case(
        lambda: solve(field, method=solvers.TorchDiffEq(), dense=True),
        ValueError,
        "no dense output",
    ),
    "dense: not asked for": Case(lambda: solve(field)(0.5), ValueError, "dense=True"),
    "dense: outside": Case(lambda: solve(field, dense=True)(2.0), ValueError, "t_eval must lie"),
    "save_at: outside": Case(lambda: solve(field, save_at=[2.0]), ValueError, "save_at must lie"),
    "save_at: text": Case(lambda: solve(field, save_at=["a"]), TypeError, r"save_at\[0\] must be"),
    "solve: half precision": Case(lambda: solve(field, X.half()), TypeError, r"x with .float\(\)"),
    "solve: no tensor": Case(lambda: solve(field, {"a": 1.0}), TypeError, "got float"),
    "solve: nothing": Case(lambda: solve(field, []), TypeError, "empty pytree"),
    "solve: two dtypes": Case(lambda: solve(field, [X, X.float()]), TypeError, "share one dtype"),
    "solve: two batches": Case(lambda: solve(field, [X, X[:1]]), ValueError, "share one batch"),
    "solve: two devices": Case(lambda: solve(field, [X, META]), ValueError, "share one device"),
    "solve: NaN": Case(full(lambda: solve(field, X * NAN)), ValueError, "not finite in samples"),
    "solve: fails": Case(
        lambda: solve(lambda t, x: x * x, 0.6 * X),
        RuntimeError,
        r"2 of 3 samples failed .*samples \[0, 2\]",
        errors.SolveError,
    ),
    "field: no callable": Case(lambda: solve(3), TypeError, "field must be a callable"),
    "field: takes no time": Case(lambda: solve(lambda x: x), TypeError, r"called as field\(t, x\)"),
    "field: takes no condition": Case(
        lambda: solve(lambda t, x: x, condition=X), TypeError, r"field\(t, x, condition\)"
    ),
    "field: gives another shape": Case(
        lambda: solve(lambda t, x: x[:, :1]), ValueError, r"the field gave shape \(3, 1\)"
    ),
    "field: gives another dtype": Case(
        lambda: solve(lambda t, x: x.float()), TypeError, "the field must return the state's dtype"
    ),
    "field: gives nothing": Case(
        lambda: solve(lambda t, x: None), TypeError, "must return a tensor, got NoneType"
    ),
    "field: gives another device": Case(
        lambda: solve(lambda t, x: x.to("meta")), ValueError, "on cpu, got meta"
    ),
    "field: captures samples": Case(lambda: solve(lambda t, x: -RATES * x), ValueError, CURE),
    "field: captures samples, in a map": Case(
        lambda: maps.SolverFlowMap(lambda t, x: -RATES * x)(0.0, 1.0, X), ValueError, CURE
    ),
    "field: captures samples, in a parametrisation": Case(
        lambda: maps.NeuralFlowMap(Network(lambda x: x), maps.SecondOrder(lambda t, x: -RATES * x))(
            0.0, 1.0, X
        ),
        ValueError,
        CURE,
    ),
    "field: broadcasts t, batch = dim": Case(
        lambda: solve(lambda t, x: t * x, X[:2]), ValueError, r"write t\[:, None\] \* x"
    ),
    "field: broadcasts t, batch = dim, in a map": Case(
        lambda: maps.SolverFlowMap(lambda t, x: t * x)(0.0, 1.0, X[:2]), ValueError, r"t\[:, None\]"
    ),
    "field: broadcasts t": Case(
        lambda: solve(lambda t, x: t * x), ValueError, r"t of shape \(3,\) and x of shape \(3, 2\)"
    ),
    "field: mixes samples": Case(lambda: solve(lambda t, x: x - x.mean(0)), ValueError, CURE),
    "field: noisy": Case(lambda: solve(lambda t, x: torch.randn_like(x)), ValueError, "noise off"),
    "field: writes": Case(
        lambda: solve(lambda t, x: x.mul_(2), X.clone()), ValueError, "wrote into"
    ),
    "field: fails at length": Case(
        lambda: solve(lambda t, x: fail("first\nsecond")), ValueError, "x of shape .*: first. Pass"
    ),
    "per sample": Case(lambda: fields.per_sample(w(3)), TypeError, "a field is a callable"),
    "scalar time": Case(lambda: fields.scalar_time(w("a")), TypeError, "a field is a callable"),
    "reversed time: field": Case(
        lambda: fields.reversed_time(WRONG), TypeError, "a field is a call"
    ),
    "reversed time: about": Case(
        lambda: fields.reversed_time(field, NAN), ValueError, "finite time"
    ),
    "scaled: field": Case(lambda: fields.scaled(w(3)), TypeError, "a field is a callable"),
    "scaled: state zero": Case(lambda: fields.scaled(field, 0.0), ValueError, "not zero"),
    "scaled: state NaN": Case(lambda: fields.scaled(field, X * NAN), ValueError, "must be finite"),
    "scaled: state as text": Case(lambda: fields.scaled(field, w("a")), TypeError, "a real number"),
    "scaled: complex state": Case(lambda: fields.scaled(field, 1j * X), TypeError, "a real number"),
    "scaled: along the batch": Case(
        lambda: fields.scaled(field, RATES)(X[:, 0], X), ValueError, r"one sample's shape \(2,\)"
    ),
    "scaled: time zero": Case(lambda: fields.scaled(field, time=0.0), ValueError, "unit of time"),
    "scaled: time as text": Case(lambda: fields.scaled(field, time=w("a")), ValueError, "positive"),
}


def fail(message: str) -> Tensor:
    raise RuntimeError(message)


# ---------------------------------------------------------------------------- domains and problems

SETS = {
    "box: lengths": Case(lambda: domains.Box([0.0], [1.0, 1.0]), ValueError, "the same length"),
    "box: upside down": Case(lambda: domains.Box(1.0, 0.0), ValueError, r"coordinates \[0\]"),
    "box: infinite": Case(lambda: domains.Box(0.0, INF), ValueError, "upper must be a finite"),
    "box: text": Case(lambda: domains.Box(w("a"), 1.0), TypeError, "lower must be a real number"),
    "box: no coordinates": Case(lambda: domains.Box([], []), ValueError, "at least one coordinate"),
    "box: negative number": Case(lambda: BOX.sample(-1), ValueError, "n must be at least 0"),
    "box: half a point": Case(lambda: BOX.sample(w(0.5)), TypeError, "n must be an integer"),
    "box: integers": Case(lambda: BOX.sample(1, dtype=torch.int64), TypeError, "floating-point"),
    "box: points elsewhere": Case(lambda: BOX.contains(X[:, :1]), ValueError, r"\(n, 2\)"),
    "box: points as list": Case(lambda: BOX.contains(w([1.0])), TypeError, "got list"),
    "ball: radius": Case(lambda: domains.Ball(0.0, 0.0), ValueError, "radius must be positive"),
    "ball: radius as text": Case(
        lambda: domains.Ball(0.0, w("1")), TypeError, "radius must be a n"
    ),
    "sublevel: box": Case(lambda: domains.SubLevel(abs, 1.0, w((0, 1))), TypeError, "domains.Box"),
    "sublevel: function": Case(lambda: domains.SubLevel(w(3), 1.0, BOX), TypeError, "a callable"),
    "sublevel: level": Case(lambda: domains.SubLevel(abs, NAN, BOX), ValueError, "level must be"),
    "sublevel: empty": Case(
        lambda: domains.SubLevel(lambda x: x.sum(1) + 9, 1.0, BOX).sample(1),
        ValueError,
        "tighter box",
    ),
    "sublevel: another shape": Case(
        lambda: domains.SubLevel(lambda x: x, 1.0, BOX).sample(1), ValueError, "one value a point"
    ),
    "points: none": Case(lambda: domains.Points(X[:0]), ValueError, "m >= 1"),
    "points: NaN": Case(lambda: domains.Points(X * NAN), ValueError, "remove rows with NaN"),
    "points: a list": Case(lambda: domains.Points(w([[1.0]])), TypeError, "got list"),
    "problem: name": Case(lambda: problems.get("magic"), ValueError, "known are linear_system,"),
    "problem: argument": Case(lambda: problems.get("lorenz63", magic=1), TypeError, "'magic'"),
    "problem: NaN": Case(
        lambda: problems.HarmonicOscillator(NAN), ValueError, r"at \['frequency'\]"
    ),
    "problem: text": Case(
        lambda: problems.HarmonicOscillator(w("a")), TypeError, "parameters .* must be numbers"
    ),
    "problem: matrix": Case(lambda: problems.LinearSystem([[1.0, 2.0]]), ValueError, "square"),
    "problem: covariance": Case(
        lambda: problems.GaussianInterpolant([1.0], [[-1.0]]), ValueError, "positive definite"
    ),
    "problem: state": Case(lambda: OSCILLATOR.field(0.0, X[:, :1]), ValueError, r"\(batch, 2\)"),
    "problem: state as list": Case(lambda: OSCILLATOR.field(0.0, w([1.0])), TypeError, "as_tensor"),
    "problem: time": Case(lambda: OSCILLATOR.field(torch.ones(4), X), ValueError, r"\(3,\)"),
    "problem: condition": Case(lambda: OSCILLATOR.field(0.0, X, X), ValueError, r"\(3, 1\)"),
    "problem: condition as number": Case(
        lambda: OSCILLATOR.field(0.0, X, w(1.0)), TypeError, "n_parameters"
    ),
    "problem: NaN in a reference": Case(
        lambda: OSCILLATOR.reference(0.0, 1.0, X * NAN), ValueError, "x holds values"
    ),
    "problem: reference beyond": Case(
        lambda: problems.LogisticGrowth().reference(0.0, 5.0, torch.tensor([[-3.0]])),
        RuntimeError,
        "Does the solution exist that long",
        errors.SolveError,
    ),
    "problem: times": Case(
        lambda: OSCILLATOR.reference_along(0.0, torch.ones(2, 2), X), ValueError, r"\(n_times, 3\)"
    ),
}

CASES = {**CALLS, **MAPS, **DERIVATIVES, **SOLVES, **SETS}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str) -> None:
    refused(CASES[name])


def refused(case: Case) -> None:
    with pytest.raises(case.error, match=case.message) as caught:
        case.act()
    assert isinstance(caught.value, case.named)
    assert isinstance(caught.value, errors.FlowMapError) == (case.named is not Exception)
    text = str(caught.value)
    assert "\n" not in text and 15 < len(text) < 550


# ---------------------------------------------------------------------------- saving


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = fm.networks.MLP(dim=2, width=4, depth=1)
    return fm.save(maps.NeuralFlowMap(network, maps.SecondOrder(field)), tmp_path / "run")


def weights(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "flowmap.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no structure": (lambda f: (f / "flowmap.json").unlink(), "flowmap.json is missing"),
    "not JSON": (lambda f: (f / "flowmap.json").write_text("{"), "is corrupt: "),
    "not text": (lambda f: (f / "flowmap.json").write_bytes(b"\xff\xfe\xfd"), "is corrupt: "),
    "other JSON": (lambda f: (f / "flowmap.json").write_text("[1]"), "not a map's description"),
    "a part is missing": (
        lambda f: (f / "flowmap.json").write_text('{"format": 1}'),
        "not a map's description",
    ),
    "newer format": (lambda f: edit(f, format=9), "format 9, .*install a newer flowmaps"),
    "older format": (lambda f: edit(f, format=0), "has format 0, this version reads 1$"),
    "format as text": (lambda f: edit(f, format="1"), "not a map's description"),
    "changed structure": (lambda f: edit(f, flow_map={}), "corrupt: its checksum differs"),
    "wrong checksum": (lambda f: edit(f, sha256="0" * 64), "corrupt: its checksum differs"),
    "no weights": (lambda f: weights(f).unlink(), "holds no whole map"),
    "truncated weights": (
        lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-1]),
        "corrupt or truncated",
    ),
    "changed weights": (
        lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-1] + b"\x55"),
        "corrupt or truncated",
    ),
    "weights elsewhere": (
        lambda f: edit(f, weights="../a.safetensors"),
        "names no file of weights",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused(name: str, saved: Path) -> None:
    damage, message = BROKEN[name]
    damage(saved)
    load = Case(lambda: fm.load(saved, field=field), ValueError, message, errors.LoadError)
    refused(load)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    refused(Case(lambda: fm.load(missing), ValueError, "there is no folder", errors.LoadError))
    missing.write_text("a file")
    refused(Case(lambda: fm.load(missing), ValueError, "there is no folder", errors.LoadError))
    missing.unlink()
    missing.mkdir()
    refused(Case(lambda: fm.load(missing), ValueError, "holds no saved map", errors.LoadError))


def test_what_is_supplied_must_fit(saved: Path) -> None:
    load, named = fm.load, errors.LoadError
    refused(Case(lambda: load(saved), ValueError, r"load\(folder, field=\.\.\.\)", named))
    refused(
        Case(lambda: load(saved, field=3), ValueError, "cannot rebuild maps:SecondOrder", named)
    )
    given = {"field": field, "net": field}
    refused(Case(lambda: load(saved, **given), ValueError, r"was also given \['net'\]", named))
    wide = nn.Linear(3, 3)
    refused(Case(lambda: load(saved, field=wide), ValueError, "do not fit the map", named))


def test_what_cannot_be_saved_is_refused(saved: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    refused(Case(lambda: fm.save(FLOW, saved), FileExistsError, "pass overwrite=True"))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    for thing, kind in ((nn.Linear(1, 1), "Linear"), (field, "function"), (BOX, "Box")):
        refused(Case(lambda thing=thing: fm.save(w(thing), tmp_path), TypeError, f"got {kind}$"))
    options = maps.SolverFlowMap(field, solvers.TorchDiffEq(options={"a": 1.0, w(1): 2.0}))
    refused(Case(lambda: fm.save(options, tmp_path / "new"), TypeError, "keys of options must be"))
    assert not (tmp_path / "new").exists()

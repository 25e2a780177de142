"""Every mistake has one clear sentence, of the right kind, before the first step."""

import math
import re

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

import flowmaps as fm
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers import (
    PI,
    RK4,
    ButcherTableau,
    Dopri5,
    Euler,
    I,
    Method,
    Midpoint,
    TorchDiffEq,
    Tsit5,
    solve,
)

X = torch.ones(3, 2, dtype=torch.float64)


def decay(t: Tensor, x: Tensor) -> Tensor:
    return -x


def of_nan() -> None:
    with fm.checking("full"):
        solve(decay, 0.0, 1.0, X * math.nan)


# ruff: noqa: E501  (a table reads best with one case a line)
SOLVES = [
    # times
    ({"s": "noon"}, TypeError, "s must be a number or a tensor of shape () or (batch,), got str 'noon'"),
    ({"t": None}, TypeError, "t must be a number or a tensor"),
    ({"t": True}, TypeError, "t must be a number or a tensor"),
    ({"t": math.nan}, ValueError, "t must be a finite time, got nan"),
    ({"s": -math.inf}, ValueError, "s must be a finite time, got -inf"),
    ({"t": torch.ones(2)}, ValueError, "t must have shape () or (3,)"),
    ({"t": torch.ones(3, 1)}, ValueError, "got (3, 1)"),
    ({"s": torch.ones(3, dtype=torch.complex64)}, TypeError, "s must be real"),
    ({"s": torch.ones(3, device="meta")}, ValueError, "s is on meta but the state is on cpu"),
    # states
    ({"x": [1.0, 2.0]}, TypeError, "a state must be a tensor or a pytree of tensors with a leading"),
    ({"x": 1.0}, TypeError, "a state must be a tensor or a pytree of tensors"),
    ({"x": None}, TypeError, "a state must be"),
    ({"x": {"a": 1.0}}, TypeError, "got float"),
    ({"x": []}, TypeError, "a state must hold at least one tensor, got an empty pytree"),
    ({"x": {}}, TypeError, "a state must hold at least one tensor"),
    ({"x": torch.tensor(1.0)}, ValueError, "a 0-d tensor; a single sample is x[None]"),
    ({"x": torch.ones(3, 2, dtype=torch.long)}, TypeError, "real floating-point dtype, got torch.int64"),
    ({"x": torch.ones(3, 2, dtype=torch.float8_e5m2)}, TypeError, "got torch.float8_e5m2; convert x with .float()"),
    ({"x": {"a": torch.ones(3, 2, dtype=torch.float8_e5m2)}}, TypeError, "solvers take float32, float64, complex64,"),
    ({"x": torch.ones(3, 2, dtype=torch.int32)}, TypeError, "dtype, got torch.int32; convert it with .to(torch.float32)"),
    ({"x": (X, X[:2])}, ValueError, "must share one batch, got [3, 2]"),
    ({"x": [X, X[:1]]}, ValueError, "must share one batch, got [3, 1]"),
    ({"x": (X, X.float())}, TypeError, "must share one dtype, got [torch.float64, torch.float32]"),
    ({"x": [X.float(), X]}, TypeError, "must share one dtype, got [torch.float32, torch.float64]"),
    ({"x": (X, torch.tensor(1.0))}, TypeError, "leading batch axis, got a 0-d tensor"),
    ({"x": (X, X.to("meta"))}, ValueError, "must share one device"),
    ({"x": [X.to("meta"), X]}, ValueError, "must share one device"),
    # conditions
    ({"condition": torch.ones(2, 1)}, ValueError, "one row for each of the 3 samples, got a leaf of shape (2, 1)"),
    ({"condition": torch.tensor(1.0)}, ValueError, "one row for each of the 3 samples"),
    ({"condition": 1.0}, TypeError, "condition must be a tensor or a pytree of tensors"),
    ({"condition": X.to("meta")}, ValueError, "condition is on meta"),
    # stops
    ({"steps": 3, "controller": PI(stops=(0.5,))}, ValueError, "stops are for adaptive solves"),
    ({"method": TorchDiffEq(), "controller": PI(stops=(0.5,))}, ValueError, "solve from stop to stop"),
    # options
    ({"method": "tsit5"}, TypeError, "method must be a method object such as flowmaps.solvers.Tsit5(), got 'tsit5'"),
    ({"method": "dopri5"}, TypeError, "method must be a method object such as flowmaps.solvers.Tsit5(), got 'dopri5'"),
    ({"method": Tsit5}, TypeError, "method must be a method object"),
    ({"method": Method()}, TypeError, "method must be a method object"),
    ({"method": RK4()}, ValueError, "RK4 has no error estimate to choose its steps by; give steps=... or choose Tsit5"),
    ({"method": Euler()}, ValueError, "Euler has no error estimate"),
    ({"method": Midpoint()}, ValueError, "Midpoint has no error estimate"),
    ({"method": Midpoint(), "dense": True}, ValueError, "give steps=... or choose Tsit5"),
    ({"rtol": 0.0}, ValueError, "rtol must be positive"),
    ({"rtol": 0}, ValueError, "rtol must be positive"),
    ({"rtol": -1e-6}, ValueError, "got rtol=-1e-06, atol=1e-06"),
    ({"rtol": -1e-3}, ValueError, "got rtol=-0.001, atol=1e-06"),
    ({"rtol": math.nan}, ValueError, "rtol must be positive, atol not negative and both finite, got rtol=nan"),
    ({"rtol": math.inf}, ValueError, "both finite"),
    ({"atol": math.nan}, ValueError, "both finite"),
    ({"rtol": "small"}, TypeError, "rtol must be a number, got 'small'"),
    ({"rtol": "1e-3"}, TypeError, "rtol must be a number, got '1e-3'"),
    ({"atol": -1.0}, ValueError, "atol not negative"),
    ({"atol": -1e-9}, ValueError, "atol not negative"),
    ({"atol": None}, TypeError, "atol must be a number, got None"),
    ({"rtol": True}, TypeError, "rtol must be a number, got True"),
    ({"steps": 0}, ValueError, "steps must be a whole number of at least 1, got 0"),
    ({"steps": -3}, ValueError, "steps must be a whole number of at least 1, got -3"),
    ({"steps": 0, "method": RK4()}, ValueError, "steps must be a whole number of at least 1, got 0"),
    ({"steps": 2.5}, TypeError, "steps must be a whole number of at least 1, got 2.5"),
    ({"steps": 0.5}, TypeError, "steps must be a whole number of at least 1, got 0.5"),
    ({"steps": True}, TypeError, "steps must be a whole number of at least 1, got True"),
    ({"max_steps": 0}, ValueError, "max_steps must be a whole number of at least 1, got 0"),
    ({"max_steps": -1}, ValueError, "max_steps must be a whole number of at least 1, got -1"),
    ({"max_steps": None}, TypeError, "max_steps must be a whole number"),
    ({"max_steps": 1e4}, TypeError, "max_steps must be a whole number"),
    ({"controller": "PI"}, TypeError, "controller must be a controller such as flowmaps.solvers.PI(), got 'PI'"),
    ({"controller": "pi"}, TypeError, "controller must be a controller such as flowmaps.solvers.PI(), got 'pi'"),
    ({"controller": PI}, TypeError, "controller must be a controller such as"),
    ({"method": TorchDiffEq(), "steps": 4}, ValueError, "TorchDiffEq takes its steps from options"),
    ({"method": TorchDiffEq(), "steps": 3}, ValueError, "not from steps="),
    ({"method": TorchDiffEq(), "dense": True}, ValueError, "has no dense output for save_at, dense or events"),
    ({"method": TorchDiffEq("dopri8"), "dense": True}, ValueError, "has no dense output for save_at, dense or events"),
    ({"method": TorchDiffEq(), "save_at": [0.5]}, ValueError, "has no dense output for save_at, dense or events"),
    ({"save_at": [0.5, 1.5]}, ValueError, "save_at must lie between each sample's start and end time, got 1.5"),
    ({"save_at": [2.0]}, ValueError, "save_at must lie between each sample's start and end time, got 2 for sample 0"),
    ({"save_at": "noon"}, TypeError, "save_at must be a number"),
    ({"save_at": ["noon"]}, TypeError, "save_at[0] must be a number"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "error", "message"),
    SOLVES,
    ids=[f"{i}-{m[:40]}" for i, (_, _, m) in enumerate(SOLVES)],
)
def test_solve_refuses(given, error, message, refused) -> None:
    given = {"field": decay, "s": 0.0, "t": 1.0, "x": X.clone(), **given}
    refused(lambda: solve(**given), error, re.escape(message))


OBJECTS = [
    (lambda: PI(safety=1.5), ValueError, "a controller needs 0 < safety < 1"),
    (lambda: PI(safety=2.0), ValueError, "0 < safety < 1"),
    (lambda: I(shortest=0.0), ValueError, "0 < shortest < 1 < longest, got 0.9, 0.0, 10.0"),
    (lambda: PI(longest=0.5), ValueError, "shortest < 1 < longest"),
    (lambda: PI(safety=math.nan), ValueError, "a controller needs"),
    (lambda: TorchDiffEq("dopri6"), ValueError, "TorchDiffEq takes one of adaptive_heun, bosh3"),
    (lambda: TorchDiffEq("scipy_solver"), ValueError, "got 'scipy_solver'"),
    (lambda: TorchDiffEq("magic"), ValueError, "got 'magic'"),
    (lambda: TorchDiffEq("rk4"), ValueError, "'rk4' takes fixed steps and would take a single one"),
    (lambda: TorchDiffEq("midpoint"), ValueError, "give options={'step_size'"),
    (lambda: TorchDiffEq("euler", options={"max_num_steps": 3}), ValueError, "'step_size'"),
    (lambda: ButcherTableau.parse(c="0 1", a=["", "1 1"], b="1 0"), ValueError, "rows of 0, 1, ..., 1 entries"),
    (lambda: ButcherTableau.parse(c="0 1", a=["", "1"], b="1"), ValueError, "b needs 2 entries, one a stage, got 1"),
    (lambda: ButcherTableau.parse("0 1", ["", "1"], "1 0 0"), ValueError, "b needs 2 entries"),
    (lambda: ButcherTableau.parse(c="0 x", a=["", "1"], b="1 0"), ValueError, "x"),
    (lambda: solve(decay, 0.0, 1.0, X)(0.5), ValueError, "dense=True"),
    (lambda: solve(decay, 0.0, 1.0, X, dense=True)(2.0), ValueError, "t_eval must lie"),
    (of_nan, ValueError, "not finite in samples [0, 1, 2]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "message"), OBJECTS, ids=[message[:40] for _, _, message in OBJECTS]
)
def test_objects_refuse(make, error, message, refused) -> None:
    refused(make, error, re.escape(message))


def test_values_are_checked_on_demand() -> None:
    x = torch.tensor([[1.0], [math.nan]])
    with fm.checking("full"), pytest.raises(ValueError, match=r"not finite in samples \[1\]"):
        solve(decay, 0.0, 1.0, x, throw=False)


@pytest.mark.parametrize("what", ["x", "s", "captured"])
@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 2}, {"method": TorchDiffEq()}])
def test_tangents_that_inference_mode_would_lose_are_refused(what, options) -> None:
    with forward_ad.dual_level():
        given = {"x": torch.ones(3, 2), "s": torch.zeros(3), "captured": torch.ones(1)}
        given[what] = forward_ad.make_dual(given[what], torch.ones_like(given[what]))
        with torch.inference_mode(), pytest.raises(UnsupportedTransform, match="no_grad instead"):
            solve(lambda t, x: -x * given["captured"], given["s"], 1.0, given["x"], **options)


def test_nothing_is_refused_that_is_meant() -> None:
    solve(decay, 0, 1, X, rtol=1, atol=0)
    solve(decay, 0.0, 1.0, X, method=Dopri5(), controller=I(), steps=3, max_steps=1)
    solve(decay, torch.tensor(0), torch.tensor([1, 2, 3]), X, save_at=[])

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
    ({"x": {}}, TypeError, "a state must hold at least one tensor"),
    ({"x": torch.tensor(1.0)}, ValueError, "a 0-d tensor; a single sample is x[None]"),
    ({"x": torch.ones(3, 2, dtype=torch.long)}, TypeError, "real floating-point dtype, got torch.int64"),
    ({"x": torch.ones(3, 2, dtype=torch.cfloat)}, TypeError, "dtype, got torch.complex64"),
    ({"x": torch.ones(3, 2, dtype=torch.bfloat16)}, TypeError, "got torch.bfloat16; convert x with .float()"),
    ({"x": torch.ones(3, 2, dtype=torch.float16)}, TypeError, "float32 or float64, got torch.float16"),
    ({"x": (X, X[:2])}, ValueError, "must share one batch, got [3, 2]"),
    ({"x": (X, X.float())}, TypeError, "must share one dtype, got [torch.float64, torch.float32]"),
    ({"x": (X, torch.tensor(1.0))}, TypeError, "leading batch axis, got a 0-d tensor"),
    ({"x": (X, X.to("meta"))}, ValueError, "must share one device"),
    # conditions
    ({"condition": torch.ones(2, 1)}, ValueError, "one row for each of the 3 samples, got a leaf of shape (2, 1)"),
    ({"condition": torch.tensor(1.0)}, ValueError, "one row for each of the 3 samples"),
    ({"condition": 1.0}, TypeError, "condition must be a tensor or a pytree of tensors"),
    ({"condition": X.to("meta")}, ValueError, "condition is on meta"),
    # options
    ({"method": "tsit5"}, TypeError, "method must be a method object such as flowmaps.solvers.Tsit5(), got 'tsit5'"),
    ({"method": Tsit5}, TypeError, "method must be a method object"),
    ({"method": Method()}, TypeError, "method must be a method object"),
    ({"method": RK4()}, ValueError, "RK4 has no error estimate to choose its steps by; give steps=..."),
    ({"method": Euler()}, ValueError, "Euler has no error estimate"),
    ({"method": Midpoint()}, ValueError, "Midpoint has no error estimate"),
    ({"rtol": 0.0}, ValueError, "rtol must be positive"),
    ({"rtol": -1e-6}, ValueError, "got rtol=-1e-06, atol=1e-06"),
    ({"rtol": math.nan}, ValueError, "rtol must be positive"),
    ({"rtol": math.inf}, ValueError, "both finite"),
    ({"rtol": "small"}, TypeError, "rtol must be a number, got 'small'"),
    ({"atol": -1.0}, ValueError, "atol not negative"),
    ({"atol": None}, TypeError, "atol must be a number, got None"),
    ({"rtol": True}, TypeError, "rtol must be a number, got True"),
    ({"steps": 0}, ValueError, "steps must be a whole number of at least 1, got 0"),
    ({"steps": -3}, ValueError, "steps must be a whole number of at least 1, got -3"),
    ({"steps": 2.5}, TypeError, "steps must be a whole number of at least 1, got 2.5"),
    ({"steps": True}, TypeError, "steps must be a whole number of at least 1, got True"),
    ({"max_steps": 0}, ValueError, "max_steps must be a whole number of at least 1, got 0"),
    ({"max_steps": None}, TypeError, "max_steps must be a whole number"),
    ({"max_steps": 1e4}, TypeError, "max_steps must be a whole number"),
    ({"controller": "PI"}, TypeError, "controller must be a controller such as flowmaps.solvers.PI(), got 'PI'"),
    ({"controller": PI}, TypeError, "controller must be a controller such as"),
    ({"method": TorchDiffEq(), "steps": 4}, ValueError, "TorchDiffEq takes its steps from options"),
    ({"method": TorchDiffEq(), "dense": True}, ValueError, "has no dense output for save_at or dense"),
    ({"method": TorchDiffEq(), "save_at": [0.5]}, ValueError, "has no dense output for save_at or dense"),
    ({"save_at": [0.5, 1.5]}, ValueError, "save_at must lie between each sample's start and end time, got 1.5"),
    ({"save_at": "noon"}, TypeError, "save_at must be a number"),
    # fields
    ({"field": lambda t: t}, TypeError, "the field is called as field(t, x), but: "),
    ({"field": lambda t, x, c: x}, TypeError, "the field is called as field(t, x), but: "),
    ({"condition": X}, TypeError, "the field is called as field(t, x, condition), but: "),
    ({"field": lambda t, x: None}, TypeError, "the field must return a tensor, got NoneType"),
    ({"field": lambda t, x: 0.0}, TypeError, "the field must return a tensor, got float"),
    ({"field": lambda t, x: x.float()}, TypeError, "the field must return the state's dtype torch.float64"),
    ({"field": lambda t, x: x[:, :1]}, ValueError, "the field gave shape (3, 1) for t of shape (3,) and x of shape"),
    ({"field": lambda t, x: t * x}, ValueError, "the field failed with t of shape (3,) and x of shape (3, 2)"),
    ({"field": lambda t, x: x.mul_(2)}, ValueError, "the field wrote into x"),
    ({"field": "decay"}, TypeError, "field must be a callable b(t, x), got 'decay'"),
    ({"x": {"a": X}, "field": lambda t, z: z["a"]}, TypeError, "the field must return the state's structure"),
    ({"x": {"a": X}, "field": lambda t, z: {"b": z["a"]}}, TypeError, "return the state's structure"),
    ({"x": {"a": X}, "field": lambda t, z: {"a": z["a"][:, 0]}}, ValueError, "in leaf 0, must return the state's shape"),
    ({"x": (X, X[:, :1]), "field": lambda t, z: z[::-1]}, ValueError, "in leaf 0, must return the state's shape"),
    ({"x": (X, X), "field": lambda t, z: (z[0], 0.0)}, TypeError, "in leaf 1, must return a tensor"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "error", "message"),
    SOLVES,
    ids=[f"{i}-{m[:40]}" for i, (_, _, m) in enumerate(SOLVES)],
)
def test_solve_refuses(given, error, message) -> None:
    given = {"field": decay, "s": 0.0, "t": 1.0, "x": X.clone(), **given}
    with pytest.raises(error, match=re.escape(message)) as caught:
        solve(given.pop("field"), given.pop("s"), given.pop("t"), given.pop("x"), **given)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


OBJECTS = [
    (lambda: PI(safety=1.5), ValueError, "a controller needs 0 < safety < 1"),
    (lambda: I(shortest=0.0), ValueError, "0 < shortest < 1 < longest, got 0.9, 0.0, 10.0"),
    (lambda: PI(longest=0.5), ValueError, "shortest < 1 < longest"),
    (lambda: PI(safety=math.nan), ValueError, "a controller needs"),
    (lambda: TorchDiffEq("dopri6"), ValueError, "TorchDiffEq takes one of adaptive_heun, bosh3"),
    (lambda: TorchDiffEq("scipy_solver"), ValueError, "got 'scipy_solver'"),
    (lambda: TorchDiffEq("rk4"), ValueError, "'rk4' takes fixed steps and would take a single one"),
    (lambda: TorchDiffEq("euler", options={"max_num_steps": 3}), ValueError, "'step_size'"),
    (lambda: ButcherTableau.parse(c="0 1", a=["", "1 1"], b="1 0"), ValueError, "rows of 0, 1, ..., 1 entries"),
    (lambda: ButcherTableau.parse(c="0 1", a=["", "1"], b="1"), ValueError, "b needs 2 entries, one a stage, got 1"),
    (lambda: ButcherTableau.parse(c="0 x", a=["", "1"], b="1 0"), ValueError, "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "message"), OBJECTS, ids=[message[:40] for _, _, message in OBJECTS]
)
def test_objects_refuse(make, error, message) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


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

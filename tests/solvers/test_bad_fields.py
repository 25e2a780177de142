"""Fields that cannot be meant are refused before the first step."""

import re

import pytest
import torch
from torch import Tensor

from flowmaps.solvers import Solution, solve

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
RATES = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
CURE = "Pass whatever differs between samples as condition="
CALLED = "the field is called as field(t, x), but: "


def fail(message: str) -> Tensor:
    raise RuntimeError(message)


def over(x: object, field: object, condition: Tensor | None = None) -> Solution:
    return solve(field, 0.0, 1.0, x, condition)


# ruff: noqa: E501  (a table reads best with one case a line)
CASES = {
    # what it is and takes
    "a number": (lambda: over(X, 3), TypeError, "field must be a callable b(t, x), got 3"),
    "text": (lambda: over(X, "decay"), TypeError, "field must be a callable b(t, x), got 'decay'"),
    "takes no state": (lambda: over(X, lambda t: t), TypeError, CALLED),
    "takes no time": (lambda: over(X, lambda x: x), TypeError, CALLED),
    "takes a condition": (lambda: over(X, lambda t, x, c: x), TypeError, CALLED),
    "takes no condition": (lambda: over(X, lambda t, x: x, X), TypeError, "the field is called as field(t, x, condition), but: "),
    "takes no condition of one component": (lambda: over(X, lambda t, x: -x, RATES), TypeError, "field(t, x, condition)"),
    # what it gives
    "gives nothing": (lambda: over(X, lambda t, x: None), TypeError, "the field must return a tensor, got NoneType"),
    "gives nothing for one sample": (lambda: over(X[:1], lambda t, x: None), TypeError, "the field must return a tensor, got NoneType"),
    "gives a number": (lambda: over(X, lambda t, x: 0.0), TypeError, "the field must return a tensor, got float"),
    "gives another dtype": (lambda: over(X, lambda t, x: x.float()), TypeError, "the field must return the state's dtype torch.float64"),
    "gives a wider dtype": (lambda: over(X.float(), lambda t, x: x.double()), TypeError, "the field must return the state's dtype torch.float32"),
    "gives another device": (lambda: over(X, lambda t, x: x.to("meta")), ValueError, "on cpu, got meta"),
    "gives one component": (lambda: over(X, lambda t, x: x[:, :1]), ValueError, "the field gave shape (3, 1) for t of shape (3,) and x of shape"),
    "gives one sample": (lambda: over(X, lambda t, x: x[:1]), ValueError, "the field gave shape (1, 2) for t of shape (3,) and x of shape"),
    "no structure": (lambda: over({"a": X}, lambda t, z: z["a"]), TypeError, "the field must return the state's structure"),
    "another structure": (lambda: over({"a": X}, lambda t, z: {"b": z["a"]}), TypeError, "return the state's structure"),
    "another shape in a structure": (lambda: over({"a": X}, lambda t, z: {"a": z["a"][:, 0]}), ValueError, "in leaf 0, must return the state's shape"),
    "another order in a structure": (lambda: over((X, X[:, :1]), lambda t, z: z[::-1]), ValueError, "in leaf 0, must return the state's shape"),
    "a number in a structure": (lambda: over((X, X), lambda t, z: (z[0], 0.0)), TypeError, "in leaf 1, must return a tensor"),
    # what it does
    "captures samples": (lambda: over(X, lambda t, x: -RATES * x), ValueError, CURE),
    "mixes samples": (lambda: over(X, lambda t, x: x - x.mean(0)), ValueError, CURE),
    "broadcasts t": (lambda: over(X, lambda t, x: t * x), ValueError, "the field failed with t of shape (3,) and x of shape (3, 2)"),
    "broadcasts t to another sum": (lambda: over(X, lambda t, x: x + t), ValueError, "t of shape (3,) and x of shape (3, 2)"),
    "broadcasts t, batch = dim": (lambda: over(X[:2], lambda t, x: t * x), ValueError, "write t[:, None] * x"),
    "noisy": (lambda: over(X, lambda t, x: torch.randn_like(x)), ValueError, "noise off"),
    "writes into x": (lambda: over(X.clone(), lambda t, x: x.mul_(2)), ValueError, "the field wrote into x"),
    "writes into one component": (lambda: over(X.clone(), lambda t, x: x[:, 0].zero_()[:, None] + x), ValueError, "wrote into"),
    "fails at length": (lambda: over(X, lambda t, x: fail("first\nsecond")), ValueError, "x of shape (3, 2): first. Pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_field_is_refused(name, refused) -> None:
    act, error, message = CASES[name]
    refused(act, error, re.escape(message))

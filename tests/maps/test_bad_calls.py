"""A flow map refuses states, times and conditions that cannot be meant."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flowmaps as fm

NAN, INF = float("nan"), float("inf")
X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
META = torch.ones(3, 2, dtype=torch.float64, device="meta")
LONG = [0.0] * 1000


def shift(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    return x + (t - s)[:, None]


FLOW = fm.maps.ExactFlowMap(shift)


def full(act: Callable[[], object]) -> Callable[[], object]:
    def checked() -> object:
        with fm.checking("full"):
            return act()

    return checked


CASES = {
    "state: a list": (lambda: FLOW(0.0, 1.0, [[1.0]]), TypeError, "torch.as_tensor"),
    "state: integers": (lambda: FLOW(0.0, 1.0, X.long()), TypeError, "real floating-point"),
    "state: complex": (lambda: FLOW(0.0, 1.0, X + 0j), TypeError, "real floating-point"),
    "state: 0-d": (lambda: FLOW(0.0, 1.0, X[0, 0]), ValueError, r"sample is x\[None\]"),
    "state: NaN": (full(lambda: FLOW(0.0, 1.0, X * NAN)), ValueError, r"in samples \[0, 1, 2"),
    "state: NaN, of many": (
        full(lambda: FLOW(0.0, 1.0, torch.full((99, 1), NAN))),
        ValueError,
        r"7, \.\.\. 99 in all",
    ),
    "time: text": (lambda: FLOW("0", 1.0, X), TypeError, "s must be a number or a tensor"),
    "time: a truth value": (lambda: FLOW(0.0, True, X), TypeError, "t must be a number .* True"),
    "time: None": (lambda: FLOW(None, 1.0, X), TypeError, "s must be a number"),
    "time: complex": (lambda: FLOW(0.0, 1j, X), TypeError, "t must be a number"),
    "time: a long list": (lambda: FLOW(0.0, LONG, X), TypeError, r"got list \[0.0, .* \.\.\.$"),
    "time: NaN": (lambda: FLOW(NAN, 1.0, X), ValueError, "s must be a finite time, got nan"),
    "time: infinite": (lambda: FLOW(0.0, INF, X), ValueError, "t must be a finite time, got inf"),
    "time: truth values": (lambda: FLOW(X[:, 0] > 0, 1.0, X), TypeError, "s must be real"),
    "time: a column": (lambda: FLOW(X[:, :1], 1.0, X), ValueError, r"got \(3, 1\)"),
    "time: another batch": (lambda: FLOW(0.0, torch.ones(4), X), ValueError, r"\(3,\).*\(4,\)"),
    "time: another device": (lambda: FLOW(META[:, 0], 1.0, X), ValueError, "on meta.*on cpu"),
    "time: NaN in a tensor": (
        full(lambda: FLOW(torch.tensor([0.0, NAN, 0.0]), 1.0, X)),
        ValueError,
        r"samples \[1\]",
    ),
    "state: another device": (lambda: FLOW(X[:, 0], 1.0, META), ValueError, "on cpu.*on meta"),
    "condition: another batch": (
        lambda: FLOW(0.0, 1.0, X, torch.ones(4, 1)),
        ValueError,
        r"expand it with condition.expand\(3",
    ),
    "condition: 0-d": (
        lambda: FLOW(0.0, 1.0, X, {"a": torch.tensor(1.0)}),
        ValueError,
        "one row for each",
    ),
    "condition: no tensor": (
        lambda: FLOW(0.0, 1.0, X, {"a": 1.0}),
        TypeError,
        "a leaf of type float",
    ),
    "condition: another device": (
        lambda: FLOW(0.0, 1.0, X, META),
        ValueError,
        "condition is on meta",
    ),
    "condition: NaN": (
        full(lambda: FLOW(0.0, 1.0, X, X * NAN)),
        ValueError,
        "condition holds values",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])

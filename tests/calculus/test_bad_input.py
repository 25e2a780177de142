"""Derivatives and what is made of them refuse what cannot be meant."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flowmaps as fm

calculus, maps, errors = fm.calculus, fm.maps, fm.errors

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
META = torch.ones(3, 2, dtype=torch.float64, device="meta")


def field(t: Tensor, x: Tensor) -> Tensor:
    return -x


def shift(s: Tensor, t: Tensor, x: Tensor, condition: Tensor | None = None) -> Tensor:
    return x + (t - s)[:, None]


FLOW = maps.ExactFlowMap(shift)
UNIT = maps.ExactFlowMap(shift, maps.TimeSet(0.0, 1.0, backward=False))


def under_inference_mode() -> Tensor:
    with torch.inference_mode():
        return calculus.time_derivative(FLOW, 0.0, 1.0, X)


CASES = {
    "jvp: no callable": (
        lambda: calculus.jvp(None, 0.0, 1.0, X, dt=1.0),
        TypeError,
        r"callable X\(s, t, x\)",
    ),
    "jvp: state": (lambda: calculus.jvp(FLOW, 0.0, 1.0, 3.0), TypeError, "x must be a torch"),
    "jvp: tangent of another shape": (
        lambda: calculus.directional(FLOW, 0.0, 1.0, X, X[:, :1]),
        ValueError,
        "dx must have its",
    ),
    "jvp: tangent as number": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=1.0),
        TypeError,
        "dx must be a real tensor",
    ),
    "jvp: complex tangent": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=1j * X),
        TypeError,
        "got torch.complex128",
    ),
    "jvp: tangent elsewhere": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dx=META),
        ValueError,
        "on meta",
    ),
    "jvp: tangent of time": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dt=torch.ones(4)),
        ValueError,
        "dt must have shape",
    ),
    "jvp: dcondition's structure": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition={"a": X}, dcondition={"b": X}),
        ValueError,
        "condition's structure",
    ),
    "jvp: dcondition's shape": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition=X, dcondition=X[:, :1]),
        ValueError,
        "dcondition must have its primal's shape",
    ),
    "jvp: dcondition of labels": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, condition=X.long(), dcondition=X),
        ValueError,
        "torch.int64 has no tangent",
    ),
    "jvp: dcondition alone": (
        lambda: calculus.jvp(FLOW, 0.0, 1.0, X, dcondition=X),
        ValueError,
        "None has no tangent",
    ),
    "jvp: a map that gives nothing": (
        lambda: calculus.time_derivative(lambda s, t, x: None, 0.0, 1.0, X),
        TypeError,
        "the flow map must return a tensor",
    ),
    "jvp: inference mode": (
        under_inference_mode,
        RuntimeError,
        "use torch.no_grad",
        errors.UnsupportedTransform,
    ),
    "jvp: untrained": (
        lambda: calculus.start_derivative(UNIT, 0.0, 2.0, X),
        ValueError,
        "t = 2.0",
        errors.UntrainedTimes,
    ),
    "jacobian: 0-d": (lambda: calculus.jacobian(FLOW, 0.0, 1.0, X[0, 0]), ValueError, "0-d"),
    "log-determinant: time": (
        lambda: calculus.log_det(FLOW, 0.0, "1", X),
        TypeError,
        "t must be a number",
    ),
    "divergence: method": (
        lambda: calculus.divergence(field, 0.0, X, "magic"),
        ValueError,
        '"exact" or "hutchinson"',
    ),
    "divergence: no probes": (
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes=0),
        ValueError,
        "at least 1",
    ),
    "divergence: probes as text": (
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes="9"),
        TypeError,
        "probes must be a whole number",
    ),
    "divergence: probes of another shape": (
        lambda: calculus.divergence(field, 0.0, X, "hutchinson", probes=X),
        ValueError,
        r"\(n_probes, 3, 2\)",
    ),
    "divergence: no field": (
        lambda: calculus.divergence(3, 0.0, X),
        TypeError,
        "field must be a callable",
    ),
    "divergence: field of another shape": (
        lambda: calculus.divergence(lambda t, x: x[:, :1], 0.0, X),
        ValueError,
        "the field gave shape",
    ),
    "logarithmic norm: norm": (
        lambda: calculus.logarithmic_norm(field, 0.0, X, norm="3"),
        ValueError,
        '"1", "2" or "inf"',
    ),
    "logarithmic norm: weight": (
        lambda: calculus.logarithmic_norm(field, 0.0, X, weight=X),
        ValueError,
        r"matrix \(2, 2\)",
    ),
    "logarithmic norm: weight as list": (
        lambda: calculus.logarithmic_norm(field, 0.0, X, weight=[[1.0]]),
        TypeError,
        "got list",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*CASES[name])

"""What a multilayer perceptron refuses, and what it says."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm

VECTOR: dict[str, Any] = {"condition_dim": 2}
LABEL: dict[str, Any] = {"classes": 4}
WHOLE = "must be a whole number of at least"
POSITIVE = "must be a positive, finite number"
BUILDS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no coordinates": ({"dim": 0}, ValueError, f"dim {WHOLE} 1, got 0"),
    "no width": ({"width": 0}, ValueError, f"width {WHOLE} 1, got 0"),
    "no depth": ({"depth": -1}, ValueError, f"depth {WHOLE} 1, got -1"),
    "activation": ({"activation": "relu"}, ValueError, "activation must be one of"),
    "both conditions": ({"condition_dim": 2, "classes": 3}, ValueError, "not both"),
    "no classes": ({"classes": 0}, ValueError, f"classes {WHOLE} 1, got 0"),
    "classes by name": ({"classes": True}, TypeError, f"classes {WHOLE} 1, got True"),
    "half a condition": ({"condition_dim": 1.5}, TypeError, f"condition_dim {WHOLE} 0, got 1.5"),
    "no embedding": ({"embedding": 0}, ValueError, f"embedding {WHOLE} 1"),
    "half an embedding": ({"embedding": 2.5}, TypeError, f"embedding {WHOLE} 1"),
    "angle outside": ({"angles": (3,)}, ValueError, "indices in 0..2"),
    "angle twice": ({"angles": (1, 1)}, ValueError, "different indices"),
    "half an angle": ({"angles": (0.5,)}, TypeError, rf"angles\[0\] {WHOLE} 0, got 0.5"),
    "a number for angles": ({"angles": 0}, TypeError, "angles must be indices"),
    "time scale": ({"time_scale": 0.0}, ValueError, f"time_scale {POSITIVE}"),
    "endless time scale": ({"time_scale": math.inf}, ValueError, f"time_scale {POSITIVE}"),
    "anchor": ({"anchor": "middle"}, ValueError, 'anchor must be "start" or "end"'),
    "gain": ({"span_gain": -1.0}, ValueError, f"span_gain {POSITIVE}"),
    "frequency": ({"frequencies": (1.0, math.nan)}, ValueError, rf"frequencies\[1\] {POSITIVE}"),
    "scale of another size": ({"input_scale": [1.0]}, ValueError, "must have 3 entries, got 1"),
    "scale": ({"input_scale": [1.0, 0.0, 1.0]}, ValueError, rf"input_scale\[1\] {POSITIVE}"),
    "shift": ({"input_shift": [1.0, math.inf, 1.0]}, ValueError, "must be a finite number"),
    "output": ({"output_scale": [1.0, 1.0, math.nan]}, ValueError, POSITIVE),
}


@pytest.mark.parametrize("case", BUILDS)
def test_a_network_that_cannot_be_is_refused(case: str) -> None:
    settings, error, message = BUILDS[case]
    with pytest.raises(error, match=message):
        fm.networks.MLP(**{"dim": 3, "width": 8, "depth": 1, **settings})


CALLS: dict[
    str, tuple[dict[str, Any], Callable[[Tensor, Tensor, Tensor], tuple], type[Exception], str]
] = {
    "dim": ({}, lambda s, t, x: (s, t, x[:, :2], None), ValueError, "3 coordinates a sample"),
    "number as time": ({}, lambda s, t, x: (0.0, t, x), TypeError, "fm.maps.NeuralFlowMap"),
    "time's shape": ({}, lambda s, t, x: (s, t[:2], x), ValueError, "t must have shape"),
    "double on single": ({}, lambda s, t, x: (s, t, x.double()), TypeError, "network.double"),
    "whole numbers": ({}, lambda s, t, x: (s, t, x.long()), TypeError, "floating-point"),
    "superfluous": ({}, lambda s, t, x: (s, t, x, x), ValueError, "takes no condition"),
    "missing": (VECTOR, lambda s, t, x: (s, t, x), ValueError, r"\(5, 2\)"),
    "condition's size": (VECTOR, lambda s, t, x: (s, t, x, x), ValueError, r"\(5, 2\)"),
    "missing label": (LABEL, lambda s, t, x: (s, t, x), ValueError, "-1 for no class"),
    "real label": (LABEL, lambda s, t, x: (s, t, x, s), TypeError, "must be integers"),
    "label's shape": (
        LABEL,
        lambda s, t, x: (s, t, x, x.long()),
        ValueError,
        "labels must have shape",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_bad_call_says_what_to_do(case: str) -> None:
    settings, change, error, message = CALLS[case]
    network = fm.networks.MLP(dim=3, width=8, depth=1, **settings).float()
    s, t, x = torch.zeros(5), torch.ones(5), torch.randn(5, 3)
    with pytest.raises(error, match=message):
        network(*change(s.float(), t.float(), x.float()))

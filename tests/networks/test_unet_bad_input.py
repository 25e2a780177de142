"""What the U-Net refuses, and what it says."""

from typing import Any

import pytest
import torch

import flowmaps as fm

BUILDS: dict[str, tuple[dict[str, Any], str]] = {
    "a number as shape": ({"shape": 8}, "shape must be a sequence of integers"),
    "two sizes": ({"shape": (8, 8)}, r"shape must be \(channels, height, width\), got \(8, 8\)"),
    "no channels": (
        {"shape": (0, 8, 8)},
        r"shape\[0\] must be a whole number of at least 1, got 0",
    ),
    "half a pixel": (
        {"shape": (1, 7.5, 8)},
        r"shape\[1\] must be a whole number of at least 1, got 7.5",
    ),
    "odd height": (
        {"shape": (1, 7, 8)},
        "height and width must be multiples of 2, got 7 and 8; pad",
    ),
    "odd width at the second level": (
        {"shape": (1, 8, 6), "multipliers": (1, 1, 1)},
        "3 multipliers halve images 2 times: .* multiples of 4, got 8 and 6",
    ),
    "no levels": ({"multipliers": ()}, "a number for every level, got none"),
    "a number as multipliers": ({"multipliers": 2}, "multipliers must be a sequence"),
    "multiplier": (
        {"multipliers": (1, 0)},
        r"multipliers\[1\] must be a whole number of at least 1",
    ),
    "no width": ({"width": 0}, "width must be a whole number of at least 1"),
    "no blocks": ({"blocks": 0}, "blocks must be a whole number of at least 1"),
    "half an embedding": ({"embedding": 2.5}, "embedding must be a whole number of at least 1"),
    "a number as attention": ({"attention": 8}, "attention must be a sequence"),
    "attention elsewhere": ({"attention": (8, 2)}, r"among \[8, 4\], got \(8, 2\)"),
    "heads": ({"attention": (4,), "heads": 3}, "got 3 heads, 8 channels"),
    "both conditions": ({"condition_dim": 2, "classes": 3}, "not both"),
    "no classes": ({"classes": 0}, "classes must be a whole number of at least 1"),
    "time scale": ({"time_scale": 0.0}, "time_scale must be a positive, finite number"),
}


def build(**settings: Any) -> fm.networks.UNet:
    return fm.networks.UNet(**{"shape": (1, 8, 8), "width": 4, "blocks": 1, **settings})


@pytest.mark.parametrize("case", BUILDS)
def test_a_network_that_cannot_be_is_refused(case: str) -> None:
    settings, message = BUILDS[case]
    with pytest.raises((TypeError, ValueError), match=message):
        build(**settings)


def test_heads_matter_only_where_there_is_attention() -> None:
    assert build(heads=3).config()["heads"] == 3


X = torch.zeros(5, 1, 8, 8, dtype=torch.float32)
TIMES = torch.zeros(5, dtype=torch.float32)
LABELS = torch.zeros(5, dtype=torch.long)
VECTORS = torch.zeros(5, 2, dtype=torch.float32)

CALLS: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "flattened": ({}, {"x": X.flatten(1)}, ValueError, r"x\.reshape\(-1, 1, 8, 8\)"),
    "another size": (
        {},
        {"x": X[..., :4]},
        ValueError,
        r"images \(batch, 1, 8, 8\), got shape \(5, 1, 8, 4\)",
    ),
    "one image": ({}, {"x": X[0]}, ValueError, r"got shape \(1, 8, 8\)"),
    "channels last": ({}, {"x": X.movedim(1, -1)}, ValueError, r"got shape \(5, 8, 8, 1\)"),
    "no tensor": ({}, {"x": X.tolist()}, TypeError, "x must be a torch tensor"),
    "whole numbers": ({}, {"x": X.long()}, TypeError, "floating-point"),
    "double on single": ({}, {"x": X.double()}, TypeError, "network.double"),
    "number as time": ({}, {"s": 0.0}, TypeError, "fm.maps.NeuralFlowMap"),
    "time's shape": ({}, {"t": TIMES[:2]}, ValueError, "t must have shape"),
    "superfluous": ({}, {"condition": LABELS}, ValueError, "takes no condition"),
    "missing vector": ({"condition_dim": 2}, {}, ValueError, r"\(5, 2\), got NoneType"),
    "vector's size": (
        {"condition_dim": 2},
        {"condition": VECTORS[:, :1]},
        ValueError,
        r"shape \(5, 2\)",
    ),
    "missing label": ({"classes": 3}, {}, ValueError, "-1 for no class"),
    "real label": ({"classes": 3}, {"condition": TIMES}, TypeError, "must be integers"),
    "label's shape": (
        {"classes": 3},
        {"condition": VECTORS.long()},
        ValueError,
        "labels must have shape",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_bad_call_says_what_to_do(case: str) -> None:
    settings, change, error, message = CALLS[case]
    network = build(**settings).float()
    with pytest.raises(error, match=message):
        network(**{"s": TIMES, "t": TIMES, "x": X, **change})

"""Every method of the family, as the benchmarks train and sample it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import flowmaps as fm

o = fm.objectives

EXACT = {"one": 1e-2, "four": 2e-3}
"""Transport errors asked of a method whose minimiser is the flow map."""


@dataclass(frozen=True)
class Method:
    """How a method is trained.

    Args:
        make: ``make(path, field) -> objective``; the field is the exact one.
        asked: largest transport error in one and in four steps; without "four" for maps that are
            only defined from every time to the data. Written down before the run.
        options: of ``fit_together``.
        anchor: the time that the network sees beside the span.
        backward: whether the map is for both directions of time.
        path: the interpolant; None for the linear one.
        to_end: whether it learns X_{s,1} alone, and is sampled by new noise between steps.
        stages: numbers of steps, for methods that are trained one after another.
        teacher: whether it distils a field.
    """

    make: Callable[[Any, Any], fm.objectives.Objective]
    asked: dict[str, float]
    options: dict[str, Any]
    anchor: str = "start"
    backward: bool = False
    path: Any = None
    to_end: bool = False
    stages: tuple[int, ...] = ()
    teacher: bool = False

    def learned(
        self, seed: int, width: int, depth: int, path: Any, device: str, residual: bool = True
    ) -> fm.maps.NeuralFlowMap:
        """Return a new map of the seed."""
        torch.manual_seed(seed)
        network = fm.networks.MLP(
            dim=2, width=width, depth=depth, residual=residual, span_gain=1.0, anchor=self.anchor
        )
        times = fm.maps.TimeSet(*path.times, backward=self.backward)
        return fm.maps.NeuralFlowMap(network, times=times).to(device)


def _known(make: Callable[..., Any], **given: Any) -> Callable[[Any, Any], Any]:
    return lambda path, field: make(path, field, **given)


def _self(make: Callable[..., Any], **given: Any) -> Callable[[Any, Any], Any]:
    return lambda path, field: make(path, **given)


ONE = {"one": 1e-2}
METHODS: dict[str, Method] = {
    "lmd": Method(_known(o.lmd), EXACT, {}),
    "lmd_published": Method(_known(o.lmd, routing="full", metric=o.Squared()), EXACT, {}),
    "emd": Method(_known(o.emd), EXACT, {}, "end"),
    "emd_stopped": Method(_known(o.emd, routing="target"), EXACT, {}, "end"),
    "fmm": Method(_self(o.fmm), EXACT, {}, backward=True),
    # a graph of 32 evaluations of the field takes minutes to compile
    "pfmm": Method(_known(o.pfmm), EXACT, {"compile": False}),
    "lsd": Method(_self(o.lsd), EXACT, {}),
    "lsd_huber": Method(_self(o.lsd, metric=o.PseudoHuber(0.1)), EXACT, {}),
    "esd": Method(_self(o.esd), EXACT, {}, "end"),
    "psd_u": Method(_self(o.psd_u), EXACT, {}),
    "psd_m": Method(_self(o.psd_m), EXACT, {}),
    "mean_flow": Method(_self(o.mean_flow), EXACT, {}, "end"),
    "improved_mean_flow": Method(_self(o.improved_mean_flow), EXACT, {}, "end"),
    "ayf_emd": Method(_known(o.ayf_emd), EXACT, {}, "end"),
    "ayf_lmd": Method(_known(o.ayf_lmd), EXACT, {}),
    "consistency_distillation": Method(
        _known(o.consistency_distillation), ONE, {}, "start", to_end=True
    ),
    "consistency_training": Method(
        _self(o.consistency_training), {"one": 5e-2}, {}, "start", to_end=True
    ),
    "ict": Method(_self(o.ict), {"one": 3e-2}, {}, "start", to_end=True),
    "ect": Method(_self(o.ect), {"one": 3e-2}, {}, "start", to_end=True),
    "scd": Method(
        _known(o.scm), ONE, {}, "start", path=fm.interpolants.Trigonometric(), to_end=True
    ),
    "sct": Method(
        _self(o.scm), ONE, {}, "start", path=fm.interpolants.Trigonometric(), to_end=True
    ),
    "ctm": Method(_known(o.ctm), {"one": 3e-2, "four": 6e-3}, {"target": 0.99}),
    "progressive_distillation": Method(
        _known(o.progressive_distillation),
        {"one": 3e-2, "four": 1e-2},
        {},
        stages=(64, 32, 16, 8, 4, 2, 1),
    ),
    "shortcut": Method(_self(o.shortcut), {"one": 2e-2, "four": 5e-3}, {"target": 0.99}),
}

METHODS |= {
    name: replace(METHODS[name], teacher=True)
    for name in (
        "lmd",
        "lmd_published",
        "emd",
        "emd_stopped",
        "pfmm",
        "ayf_emd",
        "ayf_lmd",
        "consistency_distillation",
        "scd",
        "ctm",
        "progressive_distillation",
    )
}

"""What may be trained: a flow map none of whose parts torch compiles by itself."""

import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._checks import brief
from flowmaps.errors import UntrainedTimes
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw

__all__ = [
    "check_learned",
    "require_both_directions",
    "require_teacher_times",
    "require_times",
    "warn_of_lost_digits",
]

_CHECKED: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""Maps whose parts were looked through."""

_CURE = (
    "a derivative of compiled code compiles nothing, or fails; give the module as it was and "
    "compile the whole loss, by fm.training.fit(compile=True)"
)


def check_learned(learned: Any) -> None:
    """Raise TypeError for what an objective cannot train; a map's parts are looked at once.

    Raises:
        TypeError: if it is no FlowMap, or it or a part of it is compiled.
    """
    if _is_compiled(learned):
        raise TypeError(f"the map is compiled: {_CURE}")
    if not isinstance(learned, FlowMap):
        kind = type(learned).__name__ if isinstance(learned, nn.Module) else brief(learned)
        raise TypeError(
            f"an objective trains a flow map, got {kind}; wrap a network in fm.maps.NeuralFlowMap"
        )
    if torch.compiler.is_compiling() or learned in _CHECKED:
        return
    for name, part in learned.named_modules():
        if _is_compiled(part):
            raise TypeError(f"the map's part {name} is compiled: {_CURE}")
    _CHECKED.add(learned)


def _is_compiled(part: Any) -> bool:
    # what torch.compile(module) returns holds the module so; module.compile() keeps the call
    held = isinstance(part, nn.Module) and "_orig_mod" in part._modules
    return held or getattr(part, "_compiled_call_impl", None) is not None


def require_times(learned: FlowMap, draw: Draw) -> None:
    """Raise UntrainedTimes if the map would answer NaN at the times of a draw."""
    try:
        learned.times.require(draw.s, draw.t)
        if draw.path_times is not None:
            rows = draw.path_times.T
            learned.times.require(draw.s.expand(rows.shape), rows)
    except UntrainedTimes as error:
        ranges = [f"{time.min().item():g} to {time.max().item():g}" for time in (draw.s, draw.t)]
        raise UntrainedTimes(
            f"{error} of the draw; give the map times=TimeSet(...) that hold those of the "
            f"objective and its source, here s from {ranges[0]} and t from {ranges[1]}, or limit "
            "the objective's times"
        ) from None


def require_both_directions(learned: FlowMap, term: str) -> None:
    """Raise UntrainedTimes if the map is not for both s < t and s > t."""
    if not (learned.times.forward and learned.times.backward):
        lower, upper = learned.times.lower, learned.times.upper
        raise UntrainedTimes(
            f"this flow map is for {learned.times}, but the term {term!r} goes from s to t and "
            f"back again; give the map times=TimeSet({lower:g}, {upper:g}), both directions"
        )


def require_teacher_times(teacher: FlowMap, s: Tensor, t: Tensor, term: str) -> None:
    """Raise UntrainedTimes if a teacher would answer NaN at the times that a term asks it at."""
    try:
        teacher.times.require(s, t)
    except UntrainedTimes as error:
        ranges = [f"{time.min().item():g} to {time.max().item():g}" for time in (s, t)]
        raise UntrainedTimes(
            f"the teacher of the term {term!r}: {error}, which ask it from {ranges[0]} on to "
            f"{ranges[1]}; give a teacher for these times, or limit the objective's"
        ) from None


def warn_of_lost_digits(learned: FlowMap, draw: Draw) -> None:
    """Warn if states are drawn in fewer digits than all the weights that they are to teach have."""
    kinds = {weight.dtype for weight in learned.parameters() if weight.is_floating_point()}
    if kinds == {torch.float64} and draw.points.dtype != torch.float64:
        warnings.warn(
            f"the map is in float64 but learns from states in {draw.points.dtype}; give the source "
            "data in float64, a Domain dtype=torch.float64",
            stacklevel=3,
        )

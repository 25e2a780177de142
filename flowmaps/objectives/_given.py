"""What may be given as a teacher: an instance that can be called as a field, or a flow map."""

import inspect
from typing import Any

from torch import nn

from flowmaps._checks import brief
from flowmaps.interpolants import Interpolant
from flowmaps.maps import FlowMap

__all__ = ["check_given"]


def check_given(given: Any) -> None:
    """Refuse what is neither a field nor a flow map; how it is called is read off its signature.

    Raises:
        TypeError: says what was got, and what to give.
    """
    if isinstance(given, type):
        raise TypeError(
            f"the teacher must be an instance, got the class {given.__name__}; call it with its "
            f"arguments, as {given.__name__}(...)"
        )
    if isinstance(given, Interpolant):
        raise TypeError(
            "the teacher must be a field or a flow map, got the interpolant "
            f"{type(given).__name__}, a path between samples; to learn from data along it use "
            "fm.objectives.lsd(interpolant) or mean_flow(interpolant)"
        )
    if not callable(given):
        raise TypeError(
            "the teacher must be a field, callable as (t, x) or (t, x, condition), or a flow "
            f"map, got {brief(given)}"
        )
    if not isinstance(given, FlowMap):
        _check_signature(given)


def _check_signature(given: Any) -> None:
    """Raise TypeError if a callable tells by its arguments that it is no field."""
    try:
        signature = inspect.signature(given.forward if isinstance(given, nn.Module) else given)
    except (TypeError, ValueError):  # of built-in functions it cannot be had
        return
    if list(signature.parameters)[:2] == ["s", "t"]:
        raise TypeError(
            "the teacher is called as a field, (t, x) or (t, x, condition), and takes two times, "
            f"{signature}; make a flow map of it: of a network fm.maps.NeuralFlowMap(network), of "
            "a formula fm.maps.ExactFlowMap(function)"
        )
    if not (_binds(signature, 2) or _binds(signature, 3)):
        raise TypeError(
            "the teacher is called as a field, (t, x) or (t, x, condition), and takes "
            f"{signature}; wrap it, as in lambda t, x: other(x), or see fm.fields for adapters"
        )


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True

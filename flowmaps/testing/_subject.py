"""The map under test, called with care: what it must not do becomes a finding with a name."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import as_clock, first_line, time_like
from flowmaps._typing import Clock, Condition, State, Transport
from flowmaps.errors import FlowMapError
from flowmaps.maps import FlowMap, SolverFlowMap, TimeSet

__all__ = [
    "Misbehaviour",
    "Subject",
    "WrongClaim",
    "described",
    "misbehaviour_of",
    "per_sample",
]


class Misbehaviour(Exception):
    """The map did what no flow map does: it raised, or returned what is not like its argument.

    Args:
        kind: "raises", "type", "shape", "dtype" or "device".
        message: what was got and what was expected.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class WrongClaim(ValueError):
    """What the user says of a flow is no function of states as it should be."""


def per_sample(
    function: Callable[..., Any], what: str, t: Tensor, x: State, condition: Condition
) -> Tensor:
    """Return a user's function of time and state, (batch,).

    Args:
        function: ``(t, x)`` or ``(t, x, condition)``.
        what: messages call it.
        t, x, condition: clocks (batch,), states, conditions.

    Raises:
        WrongClaim: if it raises, or returns another shape.
    """
    extra = () if condition is None else (condition,)
    try:
        value = torch.as_tensor(function(time_like(t, x), x, *extra))
    except Exception as error:
        raise WrongClaim(f"{what} raised {type(error).__name__}: {first_line(error)}") from error
    if value.shape not in {(len(x),), (len(x), 1)}:
        raise WrongClaim(
            f"{what} must return one number for each of {len(x)} states, shape ({len(x)},), got "
            f"{tuple(value.shape)}"
        )
    return value.reshape(len(x))


def described(error: Exception) -> str:
    """Return an error in a line, with the name of its type if that says anything."""
    own = isinstance(error, Misbehaviour)
    return str(error) if own else f"{type(error).__name__}: {first_line(error)}"


def misbehaviour_of(value: object, x: Tensor) -> Misbehaviour | None:
    """Return what is wrong with a map's value for the state x, if anything is."""
    if not isinstance(value, Tensor):
        got = type(value).__name__
        return Misbehaviour("type", f"the map must return a torch.Tensor, got {got}")
    for kind, got, wanted in (
        ("shape", tuple(value.shape), tuple(x.shape)),
        ("dtype", value.dtype, x.dtype),
        ("device", value.device, x.device),
    ):
        if got != wanted:
            text = f"the map must return the state's {kind} {wanted}, got {got}"
            return Misbehaviour(kind, text)
    return None


@final
class Subject(FlowMap):
    """A map as the properties call it: its argument copied, its value checked.

    Args:
        function: a flow map or any callable ``(s, t, x[, condition])``.
        times: the pairs of times that it is asked for.
    """

    def __init__(self, function: Transport, times: TimeSet):
        super().__init__(times)
        self.function = _without_throw(function)

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        """Call the map with copies, so that what is written into them spoils nothing else."""
        clocks = as_clock(s, x, "s").clone(), as_clock(t, x, "t").clone()
        kept = pytree.tree_map(lambda leaf: None if leaf is None else leaf.clone(), condition)
        value = self._called(*clocks, x.clone(), kept)
        wrong = misbehaviour_of(value, x)
        if wrong is not None:
            raise wrong
        return value

    def given(self, s: Clock, t: Clock, x: State, condition: Condition) -> Any:
        """Call the map with the very tensors that are given, which it may write into."""
        return self._called(s, t, x, condition)

    def _called(self, s: Clock, t: Clock, x: State, condition: Condition) -> Any:
        if not isinstance(self.function, FlowMap):
            s, t = time_like(s, x), time_like(t, x)
        try:
            return self.function(s, t, x, *(() if condition is None else (condition,)))
        except (FlowMapError, Misbehaviour):
            raise
        except (Exception, SystemExit) as error:
            what = f"the map raised {type(error).__name__}: {first_line(error)}"
            raise Misbehaviour("raises", what) from error

    def _path(self, s: Clock, rows: Tensor, x: State, condition: Condition) -> Tensor:
        if isinstance(self.function, FlowMap):
            return self.function.along(s, rows, x, condition)
        return super()._path(s, rows, x, condition)


def _without_throw(function: Transport) -> Transport:
    """Return a solver map whose failures are NaN, and so findings at their points."""
    if not isinstance(function, SolverFlowMap):
        return function
    options = {**function.config(), "throw": False}
    return SolverFlowMap(**options)

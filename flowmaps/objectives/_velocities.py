"""Where an objective's velocity comes from: the data, a known field, or the learned map itself.

A velocity source is called with the learned map and the draw and returns a field ``(t, x[,
condition])``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw

__all__ = ["VelocitySource", "data", "known", "own", "stopped"]

VelocitySource = Callable[[FlowMap, Draw], Field]


def stopped(field: Field) -> Field:
    """Return the field with the gradient stopped, of its evaluation and of its input."""

    def constant(t: Tensor, x: Tensor, *condition: Tensor) -> Tensor:
        # no_grad saves the graph, detach drops forward-mode tangents too
        with torch.no_grad():
            value = field(t.detach(), x.detach(), *condition)
        return value.detach()

    return constant


def data(learned: FlowMap, draw: Draw) -> Field:
    """Return the velocity drawn with the points, valid at them alone: the field plus noise."""
    velocity = draw.velocity
    if velocity is None:
        raise ValueError("the draw carries no velocity; draw it from Pairs with an interpolant")
    return lambda t, x, *condition: velocity


def own(learned: FlowMap, draw: Draw) -> Field:
    """Return the learned map's own velocity v_{t,t}, gradient stopped."""
    return stopped(learned.velocity)


def known(field: Field | FlowMap, stop: bool = False) -> VelocitySource:
    """Return the source of a field given from outside; a flow map serves through its velocity.

    Raises:
        TypeError: if the field cannot be called.
    """
    if not callable(field):
        raise TypeError(
            "field must be a callable (t, x) or (t, x, condition), or a flow map, "
            f"got {type(field).__name__}"
        )
    given = field.velocity if isinstance(field, FlowMap) else field
    chosen = stopped(given) if stop else given
    return lambda learned, draw: chosen

"""The relations that characterise a flow map, as residuals of a learned map on a draw."""

from collections.abc import Callable

from torch import Tensor

from flowmaps import residuals
from flowmaps._checks import time_like
from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw

__all__ = ["Principle", "lagrangian", "tangent"]

Principle = Callable[[FlowMap, Field, Draw], Tensor]
"""``principle(learned, field, draw)``: an unreduced residual (rows, *event)."""


def tangent(learned: FlowMap, field: Field, draw: Draw) -> Tensor:
    """v_{s,s}(x) - b(s, x): the map's velocity against the field, no derivative taken."""
    condition = () if draw.condition is None else (draw.condition,)
    known = field(time_like(draw.s, draw.points), draw.points, *condition)
    return learned.velocity(draw.s, draw.points, *condition) - known


def lagrangian(learned: FlowMap, field: Field, draw: Draw) -> Tensor:
    """d/dt X_{s,t}(x) - b(t, X_{s,t}(x)), one jvp in t."""
    return residuals.lagrangian(
        learned, field, draw.s, draw.t, draw.points, condition=draw.condition
    )

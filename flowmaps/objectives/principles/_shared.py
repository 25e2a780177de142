"""What the principles share: how a teacher is asked, and what carries the gradient."""

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Condition, Field
from flowmaps.maps import FlowMap, NeuralFlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._routing import stopped
from flowmaps.objectives.teachers import as_field

__all__ = ["at", "extra", "field_at", "mean_velocity", "span"]


def field_at(teacher: Field | FlowMap, clock: Tensor, routing: str = "full") -> Field:
    """Return the teacher as a field asked at given times; the gradient stopped unless "full".

    A flow map gets the clocks themselves: in float32 a time just before its last one would be that.
    """

    def exactly(t: Tensor, x: Tensor, *condition: Condition) -> Tensor:
        return as_field(teacher)(clock, x, *condition)

    field = exactly if isinstance(teacher, FlowMap) else teacher
    return field if routing == "full" else stopped(field)


def at(draw: Draw) -> tuple[Tensor, Tensor, Tensor, Condition]:
    """Return times, points and condition of a draw."""
    return draw.s, draw.t, draw.points, draw.condition


def extra(condition: Condition) -> tuple[Condition, ...]:
    """Return a condition as arguments: none, or itself."""
    return () if condition is None else (condition,)


def span(draw: Draw) -> Tensor:
    """Return t - s like the points; 1 where s = t, where every difference of states is zero."""
    length = draw.t - draw.s
    return per_sample(torch.where(length == 0, 1.0, length), draw.points)


def mean_velocity(learned: FlowMap, draw: Draw) -> Tensor:
    """v_{s,t}(x); on the diagonal's rows, the first ones, v_{s,s}(x)."""
    if isinstance(learned, NeuralFlowMap):
        return learned.mean_velocity(*at(draw))
    equal, apart = draw[: draw.diagonal], draw[draw.diagonal :]
    parts = []
    if len(equal):
        parts.append(learned.velocity(equal.s, equal.points, *extra(equal.condition)))
    if len(apart):
        end = learned(apart.s, apart.t, apart.points, *extra(apart.condition))
        parts.append((end - apart.points) / span(apart))
    return torch.cat(parts)

"""The principles of direct flow map matching: there and back again."""

from torch import Tensor

from flowmaps._checks import time_like
from flowmaps._typing import Field
from flowmaps.calculus import jvp
from flowmaps.calculus._derivative import Derivative
from flowmaps.maps import FlowMap, independent_derivatives
from flowmaps.objectives._draw import Draw
from flowmaps.objectives.principles._shared import at, extra, field_at

__all__ = ["inversion", "returning"]


def returning(
    learned: FlowMap,
    teacher: Field | FlowMap,
    draw: Draw,
    routing: str,
    derivative: Derivative = jvp,
) -> Tensor:
    """d/ds X_{t,s}(y) - b(s, x) at y = X_{s,t}(x), held fixed: Lagrangian, on the way back to x.

    Where X_{t,s} undoes X_{s,t} the derivative is a function of x alone, so a drawn velocity may
    stand for the field: the only principle off the diagonal that needs neither a teacher nor a
    stop-gradient. Its only routing is "full".

    Args:
        learned: the map that is trained, in both directions of time.
        teacher: ``data``, a field or a flow map.
        draw: points and times.
        routing: "full".
        derivative: takes the derivative of the map, called as ``fm.calculus.jvp`` is.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 3.11, first term;
        the paper's t is our s.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.returning(drift, lambda t, x: 0 * x, draw, "full").item()
        1.0
    """
    s, t, x, condition = at(draw)
    there = learned(s, t, x, *extra(condition))
    with independent_derivatives():
        slope = derivative(learned, t, s, there, dt=1.0, condition=condition)[1]
    return slope - field_at(teacher, s)(time_like(s, x), x, *extra(condition))


def inversion(learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str) -> Tensor:
    """X_{t,s}(X_{s,t}(x)) - x: what goes there comes back. Its only routing is "full".

    Args:
        learned: the map that is trained, in both directions of time.
        teacher: not asked.
        draw: points and times.
        routing: "full".

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 3.11, second term.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.inversion(drift, drift, draw, "full").item()
        0.0
    """
    s, t, x, condition = at(draw)
    there = learned(s, t, x, *extra(condition))
    return learned(t, s, there, *extra(condition)) - x


returning.routings = inversion.routings = ("full",)  # type: ignore[attr-defined]
returning.asks = lambda draw: [(draw.s, draw.s)]  # type: ignore[attr-defined]
returning.takes_derivative = True  # type: ignore[attr-defined]
returning.goes_back = inversion.goes_back = True  # type: ignore[attr-defined]

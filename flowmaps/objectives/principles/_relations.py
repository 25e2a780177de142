"""The relations that characterise a flow map, as residuals of a learned map on a draw.

Lagrangian, Eulerian and, of black boxes, semigroup evaluate ``fm.residuals`` against a teacher and
route the gradient. The tangent takes the map's velocity as it is, with no derivative; ``recorded``
compares with states that the draw brings. In terms of the mean velocity v, with X = x + (t - s) v
and D_s = d_s + b . grad along the characteristic:

- Lagrangian: d_t X - b(t, X), where d_t X = v + (t - s) d_t v;
- Eulerian: d_s X + DX b = b + (t - s) D_s v - v;
- semigroup: (X_{u,t} o X_{s,u} - X_{s,t}) / (t - s), where X_{s,t} / (t - s) brings v.

The routing ``"target"`` stops b(t, X), DX b and X_{u,t} o X_{s,u}; ``"value"`` leaves the gradient
to the v written out above, ``"state"``, of the Lagrangian alone, to X_{s,t}(x).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps import residuals
from flowmaps._checks import per_sample, shaped_like, time_like
from flowmaps._typing import Field
from flowmaps.calculus import jvp
from flowmaps.calculus._derivative import Derivative
from flowmaps.maps import FlowMap, NeuralFlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._routing import constant, routed, stopped
from flowmaps.objectives.principles._shared import at, extra, field_at, mean_velocity, span
from flowmaps.objectives.teachers import DrawnVelocity, as_map

__all__ = ["Principle", "eulerian", "lagrangian", "recorded", "semigroup", "tangent"]

Principle = Callable[[FlowMap, Field | FlowMap, Draw, str], Tensor]
"""``principle(learned, teacher, draw, routing)``: an unreduced residual (rows, *event)."""


def tangent(learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str) -> Tensor:
    """v_{s,s}(x) - b(s, x): the map's velocity against the field, no derivative taken.

    Args:
        learned: the map that is trained.
        teacher: b, a field, or a flow map, which serves through its velocity.
        draw: points and times.
        routing: what carries gradient, as ``Term`` says.

    Source:
        Lipman et al. (2022), arXiv:2210.02747, equation 9.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.tangent(drift, lambda t, x: 0 * x, draw, "full").item()
        1.0
    """
    field = field_at(teacher, draw.s, routing)
    condition = extra(draw.condition)
    known = field(time_like(draw.s, draw.points), draw.points, *condition)
    return learned.velocity(draw.s, draw.points, *condition) - known


def lagrangian(
    learned: FlowMap,
    teacher: Field | FlowMap,
    draw: Draw,
    routing: str,
    derivative: Derivative = jvp,
) -> Tensor:
    """d/dt X_{s,t}(x) - b(t, X_{s,t}(x)), one derivative in t.

    Args:
        learned: the map that is trained.
        teacher: b, a field, or a flow map, which serves through its velocity.
        draw: points and times.
        routing: what carries gradient, as ``Term`` says.
        derivative: takes the derivative of the map, called as ``fm.calculus.jvp`` is.

    Raises:
        TypeError: for a drawn velocity, which holds at the points alone.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 2.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.lagrangian(drift, lambda t, x: x, draw, "full").item()
        0.0
    """
    if isinstance(teacher, DrawnVelocity):
        raise TypeError(
            "the Lagrangian principle asks for the field at X_{s,t}(x), and a drawn velocity holds "
            "at x alone; take teachers.own or teachers.Known(field)"
        )
    field = field_at(teacher, draw.t, routing)

    def residual() -> Tensor:
        return residuals.lagrangian(learned, field, *at(draw), check_field=False, by=derivative)

    if routing == "value":
        return routed(constant(residual), mean_velocity(learned, draw))
    if routing == "state":
        moving = learned(draw.s, draw.t, draw.points, *extra(draw.condition))
        return routed(constant(residual), moving)
    return residual()


def eulerian(
    learned: FlowMap,
    teacher: Field | FlowMap,
    draw: Draw,
    routing: str,
    derivative: Derivative = jvp,
) -> Tensor:
    """d/ds X_{s,t}(x) + DX_{s,t}(x) b(s, x), one derivative along (1, b); to stop DX b takes two.

    Args:
        learned: the map that is trained.
        teacher: b, a field, a flow map, or a drawn velocity.
        draw: points and times.
        routing: what carries gradient, as ``Term`` says.
        derivative: takes the derivative of the map, called as ``fm.calculus.jvp`` is.

    Raises:
        TypeError: for a drawn velocity under the routing "full", which noise would bias.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 2.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.eulerian(drift, lambda t, x: 1 + x, draw, "full").item()
        0.0
    """
    if isinstance(teacher, DrawnVelocity) and routing == "full":
        raise TypeError(
            "a drawn velocity is the field plus noise, which with gradient through DX b moves the "
            'minimum by the variance of DX b; take the routing "value" (MeanFlow) or "target"'
        )
    field = field_at(teacher, draw.s)

    def residual() -> Tensor:
        return residuals.eulerian(learned, field, *at(draw), check_field=False, by=derivative)

    if routing == "full":
        return residual()
    if routing == "value":
        return routed(constant(residual), -mean_velocity(learned, draw))
    # where the field is zero the residual is d/ds X
    resting = lambda t, x, *_: torch.zeros_like(x)  # noqa: E731
    moving = residuals.eulerian(learned, resting, *at(draw), check_field=False, by=derivative)
    return routed(constant(residual), moving)


def semigroup(learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str) -> Tensor:
    """(X_{u,t}(X_{s,u}(x)) - X_{s,t}(x)) / (t - s), by way of u with the teacher's map.

    Between learned maps it is composed of mean velocities; elsewhere of states, whose difference
    over a short span takes float64 or spans that are not short.

    Args:
        learned: the map that is trained.
        teacher: Y, a flow map; not a field.
        draw: points and times, with middle times u.
        routing: what carries gradient, as ``Term`` says.

    Raises:
        TypeError: for a field.
        ValueError: for a draw without middle times.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> s, t, x = torch.zeros(1), torch.ones(1), torch.zeros(1, 1)
        >>> draw = fm.objectives.Draw(s, t, x, u=torch.ones(1) / 2)
        >>> fm.objectives.principles.semigroup(drift, drift, draw, "full").item()
        0.0
    """
    if draw.u is None:
        raise ValueError("the draw carries no middle times u; give the objective a law of them")
    by = as_map(teacher)
    if isinstance(learned, NeuralFlowMap) and isinstance(by, NeuralFlowMap):
        return _semigroup_of_means(learned, by, draw, draw.u, routing)
    by = by if routing == "full" else stopped(by)
    s, t, x, condition = at(draw)
    return residuals.semigroup(learned, s, draw.u, t, x, condition, by=by) / span(draw)


def _semigroup_of_means(
    learned: NeuralFlowMap, by: NeuralFlowMap, draw: Draw, u: Tensor, routing: str
) -> Tensor:
    """Return g v_{s,u}(x) + (1 - g) v_{u,t}(X_{s,u}(x)) - v_{s,t}(x), where g = (u - s) / (t - s).

    The same residual without a difference of states, which divided by a short span is mostly
    rounding in float32 and all of it in bfloat16.
    """
    s, t, x, condition = at(draw)
    meet = s == t
    share = per_sample((u - s) / torch.where(meet, 1.0, t - s), x)

    def through() -> Tensor:
        first = by.mean_velocity(s, u, x, condition)
        middle = x + per_sample(u - s, x) * first
        return share * first + (1 - share) * by.mean_velocity(u, t, middle, condition)

    known = through() if routing == "full" else constant(through)
    residual = known - learned.mean_velocity(s, t, x, condition)
    # there the relation says nothing, whatever the two velocities are
    return torch.where(shaped_like(meet, x), 0.0, residual)


def recorded(learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str) -> Tensor:
    """X_{s,t}(x) minus the recorded state at t.

    Args:
        learned: the map that is trained.
        teacher: not asked.
        draw: points and times, with images at the end times.
        routing: what carries gradient, as ``Term`` says.

    Raises:
        ValueError: for a draw without images.

    Source:
        Zheng et al. (2022), arXiv:2211.13449.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> s, t, x = torch.zeros(1), torch.ones(1), torch.zeros(1, 1)
        >>> draw = fm.objectives.Draw(s, t, x, images=torch.zeros(1, 1))
        >>> fm.objectives.principles.recorded(drift, drift, draw, "full").item()
        1.0
    """
    reached, known = _recorded_sides(learned, teacher, draw, routing)
    return reached - known


def _recorded_sides(
    learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str
) -> tuple[Tensor, Tensor]:
    """Return the learned state and the recorded one."""
    if draw.images is None:
        raise ValueError("the draw carries no recorded states; draw it from Trajectories")
    return learned(draw.s, draw.t, draw.points, *extra(draw.condition)), draw.images


tangent.asks = eulerian.asks = lambda draw: [(draw.s, draw.s)]  # type: ignore[attr-defined]
lagrangian.asks = lambda draw: [(draw.t, draw.t)]  # type: ignore[attr-defined]
semigroup.asks = lambda draw: [(draw.s, draw.u), (draw.u, draw.t)]  # type: ignore[attr-defined]
lagrangian.takes_derivative = eulerian.takes_derivative = True  # type: ignore[attr-defined]
semigroup.needs = ("u",)  # type: ignore[attr-defined]
recorded.needs = ("images",)  # type: ignore[attr-defined]
recorded.sides = _recorded_sides  # type: ignore[attr-defined]

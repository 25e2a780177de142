"""Principles that compare states: consistency along a path, and chains of a teacher's steps."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call

from flowmaps._checks import as_count, brief, is_number, time_like
from flowmaps._typing import Condition, Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._routing import constant
from flowmaps.objectives.principles._shared import at, extra
from flowmaps.objectives.teachers import DrawnVelocity, as_map

__all__ = ["Chained", "Consistency"]


@final
class Consistency:
    """X_{s,t}(x) - sg X_{u,t}(x_u), where x_u is the state at u on the way that starts at x.

    The Eulerian principle as a finite difference. The state x_u comes from the teacher: of a field
    by one step of Heun's method, of a flow map as it is, of ``data`` as the draw's state on the
    interpolant's same path, which makes it consistency training. With ``by`` both states are
    carried on to that time by the map itself, frozen, and compared there. Its only routing is
    "target".

    The exact map is the minimum up to the step's error: the teacher's local error; for ``data``,
    a bias of the order of u - s.

    Args:
        by: time at which to compare; None for the end times t.

    Raises:
        TypeError: if ``by`` is no number.

    Source:
        Song et al. (2023), arXiv:2303.01469, definitions 1 and 2; Kim et al. (2023),
        arXiv:2310.02279, equations 8 and 9, for ``by``.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> zero = torch.zeros(1)
        >>> draw = fm.objectives.Draw(zero, zero + 1, torch.zeros(1, 1), u=zero + 0.5)
        >>> consistency = fm.objectives.principles.Consistency()
        >>> consistency(drift, lambda t, x: torch.ones_like(x), draw, "target").item()
        0.0
    """

    routings = ("target",)
    needs = ("u",)
    takes_target = True

    def __init__(self, by: float | None = None):
        if by is not None and not is_number(by):
            raise TypeError(f"by must be a time or None, got {brief(by)}")
        self.by = by

    def asks(self, draw: Draw) -> list[tuple[Tensor, Tensor]]:
        """Return the times of the teacher's step."""
        return [] if draw.u is None else [(draw.s, draw.u)]

    def sides(
        self,
        learned: FlowMap,
        teacher: Field | FlowMap,
        draw: Draw,
        routing: str,
        target: FlowMap | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the learned state and the one it is to be, (rows, *event) each."""
        s, t, x, condition = at(draw)
        if draw.u is None:
            raise ValueError("the draw carries no middle times u; give the objective a law of them")
        u, other, more = draw.u, learned if target is None else target, extra(condition)

        def known() -> Tensor:
            end = other(u, t, _stepped(teacher, draw, u), *more)
            return end if self.by is None else other(t, torch.full_like(t, self.by), end, *more)

        reached = learned(s, t, x, *more)
        if self.by is not None:
            reached = _frozen(other)(t, torch.full_like(t, self.by), reached, condition)
        return reached, constant(known)

    def __call__(
        self,
        learned: FlowMap,
        teacher: Field | FlowMap,
        draw: Draw,
        routing: str,
        target: FlowMap | None = None,
    ) -> Tensor:
        """Return the difference of the sides (rows, *event)."""
        reached, known = self.sides(learned, teacher, draw, routing, target)
        return reached - known


@final
class Chained:
    """X_{s,t}(x) - sg Y_{t_{K-1},t}(...(Y_{s,t_1}(x))), K equal steps of a teacher's map.

    The teacher need only be valid on spans of length (t - s) / K. Its only routing is "target".

    Args:
        count: K.

    Raises:
        TypeError, ValueError: for a count that is none; at a call, TypeError for a field.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, progressive flow map matching;
        Salimans and Ho (2022), arXiv:2202.00512, K = 2.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> fm.objectives.principles.Chained(4)(drift, drift, draw, "target").item()
        0.0
    """

    routings = ("target",)

    def __init__(self, count: int = 2):
        self.count = as_count(count, "count")

    def asks(self, draw: Draw) -> list[tuple[Tensor, Tensor]]:
        """Return the times of the teacher's steps."""
        nodes = [torch.lerp(draw.s, draw.t, k / self.count) for k in range(self.count + 1)]
        return list(zip(nodes[:-1], nodes[1:], strict=True))

    def sides(
        self, learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str
    ) -> tuple[Tensor, Tensor]:
        """Return the learned state and the one it is to be, (rows, *event) each."""
        s, t, x, condition = at(draw)
        by, more = as_map(teacher), extra(condition)

        def known() -> Tensor:
            state, before = x, s
            for k in range(1, self.count + 1):
                after = torch.lerp(s, t, k / self.count)
                state, before = by(before, after, state, *more), after
            return state

        return learned(s, t, x, *more), constant(known)

    def __call__(
        self, learned: FlowMap, teacher: Field | FlowMap, draw: Draw, routing: str
    ) -> Tensor:
        """Return the difference of the sides (rows, *event)."""
        reached, known = self.sides(learned, teacher, draw, routing)
        return reached - known


def _stepped(teacher: Field | FlowMap, draw: Draw, u: Tensor) -> Tensor:
    """Return the state at u of the way that starts at the points."""
    s, x, more = draw.s, draw.points, extra(draw.condition)
    if isinstance(teacher, FlowMap):
        return teacher(s, u, x, *more)
    if isinstance(teacher, DrawnVelocity):
        if draw.middle is None:
            raise ValueError(
                "the draw carries no states at its middle times; draw its points by "
                "OnInterpolant(interpolant, middle=True)"
            )
        return draw.middle
    step = (u - s).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    first = teacher(time_like(s, x), x, *more)
    second = teacher(time_like(u, x), x + step * first, *more)
    return x + step * (first + second) / 2


def _frozen(flow_map: FlowMap) -> Callable[[Tensor, Tensor, Tensor, Condition], Tensor]:
    """Return a map whose weights carry no gradient; its state does."""
    weights = {name: weight.detach() for name, weight in flow_map.named_parameters()}

    def call(s: Tensor, t: Tensor, x: Tensor, condition: Condition) -> Tensor:
        return functional_call(flow_map, weights, (s, t, x, *extra(condition)))

    return call

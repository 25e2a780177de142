"""The Eulerian principle with a warm-up, and with data for the velocity but not for the tangent."""

from typing import final

import torch
from torch import Tensor

from flowmaps._checks import brief, is_number, per_sample, time_like
from flowmaps._typing import Field
from flowmaps.calculus import jvp
from flowmaps.calculus._derivative import Derivative
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._routing import constant, routed
from flowmaps.objectives.principles._relations import eulerian
from flowmaps.objectives.principles._shared import extra, field_at, mean_velocity
from flowmaps.objectives.teachers import DrawnVelocity

__all__ = ["WarmedEulerian", "improved_mean_flow"]


@final
class WarmedEulerian:
    """b + r (t - s) D_s v - v, with r rising from 0 to 1 in the first part of training.

    At r = 0 it asks the mean velocity over every span to be the field, at r = 1 it is the Eulerian
    residual; the derivative of a network that knows nothing yet is kept out at first. Its only
    routing is "value".

    Args:
        until: progress of training, in [0, 1], at which r has its last value; 0 for no warm-up.
        last: the last r, in (0, 1]. AYF ends at 0.99, with which the exact map is no stationary
            point: its distance from one is of the order of 1 - r.

    Raises:
        TypeError, ValueError: for numbers outside.

    Source:
        Sabour, Fidler and Kreis (2025), arXiv:2506.14603; Lu and Song (2024), arXiv:2410.11081,
        section 4.1, tangent warm-up.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.zeros(1, 1))
        >>> warmed = fm.objectives.principles.WarmedEulerian(until=0.5)
        >>> warmed(drift, lambda t, x: 1 + x, draw, "value").item()
        0.0
    """

    routings = ("value",)
    needs_progress = True
    takes_derivative = True

    def __init__(self, until: float = 0.25, last: float = 1.0):
        for name, number in (("until", until), ("last", last)):
            if not is_number(number):
                raise TypeError(f"{name} must be a number, got {brief(number)}")
        if not 0 <= until <= 1:
            raise ValueError(f"until must be a fraction of training in [0, 1], got {until}")
        if not 0 < last <= 1:
            raise ValueError(f"last must be in (0, 1], got {last}")
        self.until, self.last = float(until), float(last)

    def asks(self, draw: Draw) -> list[tuple[Tensor, Tensor]]:
        """Return the times at which the teacher is asked."""
        return [(draw.s, draw.s)]

    def __call__(
        self,
        learned: FlowMap,
        teacher: Field | FlowMap,
        draw: Draw,
        routing: str,
        derivative: Derivative = jvp,
    ) -> Tensor:
        """Return the residual (rows, *event); without a draw's progress r has its last value."""

        def residual() -> Tensor:
            whole = eulerian(learned, teacher, draw, "value", derivative)
            if draw.progress is None or self.until == 0:
                share = torch.full_like(draw.s, self.last)
            else:
                share = self.last * (draw.progress / self.until).clamp(max=1.0)
            field = field_at(teacher, draw.s)
            known = field(time_like(draw.s, draw.points), draw.points, *extra(draw.condition))
            straight = known - mean_velocity(learned, draw)
            return torch.lerp(straight, whole, per_sample(share, straight))

        return routed(constant(residual), -mean_velocity(learned, draw))


def improved_mean_flow(
    learned: FlowMap,
    teacher: Field | FlowMap,
    draw: Draw,
    routing: str,
    derivative: Derivative = jvp,
) -> Tensor:
    """I'_s + (t - s) D_s v - v, where the derivative is along the map's own field, not along I'_s.

    What multiplies the spatial derivative is then no noise of the data; the residual's conditional
    mean is the Eulerian residual where the map's own field is the field. Its only routing is
    "value".

    Args:
        learned: the map that is trained.
        teacher: supplies the map with the field of the tangent: ``own``.
        draw: points and times, with the velocity drawn.
        routing: "value".
        derivative: takes the derivative of the map, called as ``fm.calculus.jvp`` is.

    Raises:
        ValueError: for a draw without a velocity.

    Source:
        Geng et al. (2025), arXiv:2512.02012, the objective on the velocity.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> one = torch.ones(1, 1)
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), one, velocity=3 * one)
        >>> fm.objectives.principles.improved_mean_flow(drift, drift, draw, "value").item()
        2.0
    """
    if isinstance(teacher, DrawnVelocity):
        raise TypeError(
            "improved mean flow takes the tangent along the map's own field: its teacher is own"
        )
    if draw.velocity is None:
        raise ValueError("the draw carries no velocity; draw it from Pairs with an interpolant")
    velocity, s, x = draw.velocity, draw.s, draw.points

    def residual() -> Tensor:
        along = field_at(teacher, s)(time_like(s, x), x, *extra(draw.condition))
        return eulerian(learned, teacher, draw, "value", derivative) + (velocity - along)

    return routed(constant(residual), -mean_velocity(learned, draw))


improved_mean_flow.routings = ("value",)  # type: ignore[attr-defined]
improved_mean_flow.takes_derivative = True  # type: ignore[attr-defined]
improved_mean_flow.needs = ("velocity",)  # type: ignore[attr-defined]

"""A nonlinear scalar equation with separable variables."""

from collections.abc import Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations

__all__ = ["ScalarSeparable"]


@final
class ScalarSeparable(ExactProblem):
    """dx/dt = rate cos(frequency t) (1 + x^2): arctan x moves by rate / frequency sin(frequency t).

    A solution from x exists for all times if |arctan x| + 2 |rate / frequency| < pi / 2: from the
    whole domain [-1, 1], that is, for all parameters in ``parameter_domain``.

    Args:
        rate: strength.
        frequency: of the forcing, not zero.

    Source:
        Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, section I.3.

    Example:
        >>> import math, torch, flowmaps as fm
        >>> problem = fm.problems.ScalarSeparable(frequency=2.0)
        >>> period = problem.exact(0.0, math.pi, torch.tensor([[0.5]]))
        >>> round(period.item(), 5)
        0.5
    """

    name = "scalar_separable"
    autonomous = False
    divisors = ("frequency",)

    def __init__(self, rate: float = 0.25, frequency: float = 1.0):
        super().__init__(
            parameters={"rate": rate, "frequency": frequency},
            parameter_domain=Box([0.05, 1.0], [0.3, 2.0]),
            domain=Box(-1.0, 1.0),
            times=(0.0, 6.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return rate cos(frequency t) (1 + x^2)."""
        return (p.rate * m.cos(p.frequency * t) * (1 + x[0] ** 2),)

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return tan(arctan x + shift), by the addition theorem of the tangent."""
        shift = p.rate / p.frequency * (m.sin(p.frequency * t) - m.sin(p.frequency * s))
        cos, sin = m.cos(shift), m.sin(shift)
        return ((x[0] * cos + sin) / (cos - x[0] * sin),)

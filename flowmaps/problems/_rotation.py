"""Rotation of the plane at a rate that varies with time."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Ball, Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations

__all__ = ["Rotation"]


@final
class Rotation(ExactProblem):
    """dx/dt = w(t) (-x_2, x_1) with w(t) = rate + amplitude cos(frequency t); not autonomous.

    Args:
        rate: mean angular rate.
        amplitude: of its variation; 0 makes the rotation uniform.
        frequency: of its variation, not zero.

    Source:
        Coddington and Levinson (1955), Theory of Ordinary Differential Equations, chapter 3: linear
            systems whose matrices commute at all times.

    Example:
        >>> import math, torch, flowmaps as fm
        >>> uniform = fm.problems.Rotation(rate=1.0, amplitude=0.0)
        >>> turned = uniform.exact(0.0, math.pi / 2, torch.tensor([[1.0, 0.0]]))
        >>> torch.allclose(turned, torch.tensor([[0.0, 1.0]]), atol=1e-6)
        True
    """

    name = "rotation"
    autonomous = False
    divisors = ("frequency",)

    def __init__(self, rate: float = 1.0, amplitude: float = 0.5, frequency: float = 2.0):
        super().__init__(
            parameters={"rate": rate, "amplitude": amplitude, "frequency": frequency},
            parameter_domain=Box([-2.0, -1.0, 0.5], [2.0, 1.0, 3.0]),
            domain=Ball([0.0, 0.0], 2.0),
            times=(0.0, 5.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return w(t) (-x_2, x_1)."""
        rate = p.rate + p.amplitude * m.cos(p.frequency * t)
        return -rate * x[1], rate * x[0]

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return x turned by the integral of w from s to t."""
        swing = m.sin(p.frequency * t) - m.sin(p.frequency * s)
        angle = p.rate * (t - s) + p.amplitude / p.frequency * swing
        cos, sin = m.cos(angle), m.sin(angle)
        return cos * x[0] - sin * x[1], sin * x[0] + cos * x[1]

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return the squared radius."""
        return {"squared radius": x[0] ** 2 + x[1] ** 2}

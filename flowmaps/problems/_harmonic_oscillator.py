"""The harmonic oscillator."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations

__all__ = ["HarmonicOscillator"]


@final
class HarmonicOscillator(ExactProblem):
    """Position q and velocity v with dq/dt = v, dv/dt = -frequency^2 q; conserves energy.

    Args:
        frequency: angular frequency, not zero.

    Source:
        Arnold (1989), Mathematical Methods of Classical Mechanics, section 5.

    Example:
        >>> import math, torch, flowmaps as fm
        >>> oscillator = fm.problems.HarmonicOscillator()
        >>> half_turn = oscillator.exact(0.0, math.pi, torch.tensor([[1.0, 2.0]]))
        >>> torch.allclose(half_turn, torch.tensor([[-1.0, -2.0]]))
        True
    """

    name = "harmonic_oscillator"
    components = ("position", "velocity")
    divisors = ("frequency",)

    def __init__(self, frequency: float = 1.0):
        super().__init__(
            parameters={"frequency": frequency},
            parameter_domain=Box(0.5, 2.0),
            domain=Box([-2.0, -2.0], [2.0, 2.0]),
            times=(0.0, 10.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (v, -frequency^2 q)."""
        position, velocity = x
        return velocity, -(p.frequency**2) * position

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return the state turned by the phase frequency (t - s)."""
        position, velocity = x
        cos, sin = m.cos(p.frequency * (t - s)), m.sin(p.frequency * (t - s))
        return (
            position * cos + velocity / p.frequency * sin,
            velocity * cos - p.frequency * position * sin,
        )

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return the energy of a unit mass."""
        position, velocity = x
        return {"energy": (velocity**2 + (p.frequency * position) ** 2) / 2}

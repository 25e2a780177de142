"""A separable Hamiltonian system that is not linear and has polynomial solutions."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems import ExactProblem, Operations

__all__ = ["Falling"]


@final
class Falling(ExactProblem):
    """Position q and momentum p of H = mobility p^2 / 2 + stiffening p^4 / 4 - force q.

    The momentum grows by force (t - s); the position, by the integral of mobility p + stiffening
    p^3 along it. With force 0 a shear, whose Jacobian is not normal.

    Args:
        mobility: one over the mass.
        stiffening: of the kinetic energy.
        force: constant.

    Source:
        Hairer, Lubich and Wanner (2006), Geometric Numerical Integration, section I.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> stone = fm.testing.strategies.Falling(mobility=1.0, stiffening=0.0, force=-10.0)
        >>> stone.exact(0.0, 1.0, torch.tensor([[0.0, 0.0]])).tolist()
        [[-5.0, -10.0]]
    """

    name = "falling"
    components = ("position", "momentum")

    def __init__(self, mobility: float = 1.0, stiffening: float = 0.5, force: float = -1.0):
        super().__init__(
            parameters={"mobility": mobility, "stiffening": stiffening, "force": force},
            parameter_domain=Box([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
            domain=Box([-2.0, -2.0], [2.0, 2.0]),
            times=(0.0, 1.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (mobility p + stiffening p^3, force)."""
        momentum = x[1]
        return p.mobility * momentum + p.stiffening * momentum**3, p.force + 0 * momentum

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return the states on the parabola and the quartic from x."""
        position, first = x
        last = first + p.force * (t - s)
        # of a quantity that moves evenly from one value to another
        mean = (first + last) / 2
        mean_cube = (first + last) * (first**2 + last**2) / 4
        return position + (t - s) * (p.mobility * mean + p.stiffening * mean_cube), last

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return the energy."""
        position, momentum = x
        kinetic = p.mobility * momentum**2 / 2 + p.stiffening * momentum**4 / 4
        return {"energy": kinetic - p.force * position}

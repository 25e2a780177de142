"""Arenstorf's periodic orbit of the restricted three-body problem."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._operations import Operations
from flowmaps.problems._problem import Problem

__all__ = ["ArenstorfOrbit"]


@final
class ArenstorfOrbit(Problem):
    """A light body near earth and moon, in the frame that turns with both.

    For its position (x, y) and velocity (u, v): dx/dt = u, dy/dt = v,
    du/dt = x + 2 v - (1 - mu) (x + mu) / r1^3 - mu (x - 1 + mu) / r2^3,
    dv/dt = y - 2 u - (1 - mu) y / r1^3 - mu y / r2^3,
    with r1 the distance to the earth at (-mu, 0), r2 to the moon at (1 - mu, 0). From
    ``initial_state`` the orbit closes after ``period``. Jacobi's constant is conserved.

    Args:
        mass_ratio: mu, the moon's share of the mass; the periodic orbit belongs to the default.

    Source:
        Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I, section II.0,
            equations (0.1) and (0.2); Arenstorf (1963), Amer. J. Math. 85, 27-35.

    Example:
        >>> import torch, flowmaps as fm
        >>> orbit = fm.problems.ArenstorfOrbit()
        >>> u, v = orbit.field(0.0, torch.tensor([orbit.initial_state]))[0, :2].tolist()
        >>> u, round(v, 4)
        (0.0, -2.0016)
    """

    name = "arenstorf_orbit"
    components = ("x", "y", "u", "v")
    initial_state = (0.994, 0.0, 0.0, -2.00158510637908252240537862224)
    """Start of the periodic orbit."""
    period = 17.0652165601579625588917206249
    """Time after which it closes."""

    def __init__(self, mass_ratio: float = 0.012277471):
        super().__init__(
            parameters={"mass_ratio": mass_ratio},
            parameter_domain=Box(0.01, 0.015),
            domain=Box(
                [value - 1e-3 for value in self.initial_state],
                [value + 1e-3 for value in self.initial_state],
            ),
            times=(0.0, self.period),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return velocities and accelerations."""
        x1, y, u, v = x
        mu, rest = p.mass_ratio, 1 - p.mass_ratio
        earth, moon = (r**3 for r in _distances(m, x, mu))
        return (
            u,
            v,
            x1 + 2 * v - rest * (x1 + mu) / earth - mu * (x1 - rest) / moon,
            y - 2 * u - rest * y / earth - mu * y / moon,
        )

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return Jacobi's constant x^2 + y^2 + 2 (1 - mu) / r1 + 2 mu / r2 - u^2 - v^2."""
        x1, y, u, v = x
        earth, moon = _distances(m, x, p.mass_ratio)
        potential = 2 * (1 - p.mass_ratio) / earth + 2 * p.mass_ratio / moon
        return {"Jacobi constant": x1**2 + y**2 + potential - u**2 - v**2}


def _distances(m: Operations, x: Sequence[Any], mu: Any) -> tuple[Any, Any]:
    earth = m.sqrt((x[0] + mu) ** 2 + x[1] ** 2)
    moon = m.sqrt((x[0] - 1 + mu) ** 2 + x[1] ** 2)
    return earth, moon

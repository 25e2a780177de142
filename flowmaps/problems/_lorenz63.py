"""Lorenz's model of convection."""

from collections.abc import Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._operations import Operations
from flowmaps.problems._problem import Problem

__all__ = ["Lorenz63"]


@final
class Lorenz63(Problem):
    """dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z; chaotic.

    Volumes shrink at the constant rate sigma + 1 + beta, yet errors grow by a factor e in about 1.1
    units of time: single trajectories can be compared over a few units only.

    Args:
        sigma: Prandtl number.
        rho: Rayleigh number over its critical value.
        beta: geometric factor.

    Source:
        Lorenz (1963), Deterministic nonperiodic flow, J. Atmos. Sci. 20, 130-141.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.problems.Lorenz63().field(0.0, torch.tensor([[0.0, 1.0, 3.0]])).tolist()
        [[10.0, -1.0, -8.0]]
    """

    name = "lorenz63"
    components = ("x", "y", "z")

    def __init__(self, sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3):
        super().__init__(
            parameters={"sigma": sigma, "rho": rho, "beta": beta},
            parameter_domain=Box([8.0, 20.0, 2.0], [12.0, 35.0, 3.0]),
            domain=Box([-15.0, -20.0, 10.0], [15.0, 20.0, 40.0]),
            times=(0.0, 2.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (sigma (y - x), x (rho - z) - y, x y - beta z)."""
        x1, y, z = x
        return p.sigma * (y - x1), x1 * (p.rho - z) - y, x1 * y - p.beta * z

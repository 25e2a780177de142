"""The Van der Pol oscillator."""

from collections.abc import Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._operations import Operations
from flowmaps.problems._problem import Problem

__all__ = ["VanDerPol"]


@final
class VanDerPol(Problem):
    """dx/dt = v, dv/dt = stiffness (1 - x^2) v - x; all trajectories but 0 tend to one limit cycle.

    Args:
        stiffness: strength of the nonlinear damping, often called mu; large values are stiff.

    Source:
        Van der Pol (1926), On relaxation-oscillations, Phil. Mag. 2, 978-992.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.problems.VanDerPol().field(0.0, torch.tensor([[2.0, 1.0]])).tolist()
        [[1.0, -5.0]]
    """

    name = "van_der_pol"
    components = ("position", "velocity")

    def __init__(self, stiffness: float = 1.0):
        super().__init__(
            parameters={"stiffness": stiffness},
            parameter_domain=Box(0.1, 10.0),
            domain=Box([-2.0, -2.0], [2.0, 2.0]),
            times=(0.0, 10.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (v, stiffness (1 - x^2) v - x)."""
        position, velocity = x
        return velocity, p.stiffness * (1 - position**2) * velocity - position

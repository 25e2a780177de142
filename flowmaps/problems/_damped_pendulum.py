"""The damped pendulum."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._typing import PerSample, State
from flowmaps.domains import Box, SubLevel
from flowmaps.problems._operations import Operations, operations
from flowmaps.problems._problem import Problem

__all__ = ["DampedPendulum"]


@final
class DampedPendulum(Problem):
    """Angle q and velocity v with dq/dt = v, dv/dt = -damping v - gravity sin q.

    Length and mass are one; q = 0 hangs down. Energy never grows while damping >= 0.

    Args:
        damping: friction over mass.
        gravity: gravity over length.

    Source:
        Wang and Perdikaris (2021), arXiv:2106.05384: initial states in [-3, 3]^2, and the benchmark
            trajectory from (1, 1) to time 100.

    Example:
        >>> import torch, flowmaps as fm
        >>> pendulum = fm.problems.DampedPendulum(damping=0.0)
        >>> pendulum.field(0.0, torch.tensor([[0.0, 2.0]])).tolist()
        [[2.0, -0.0]]
    """

    name = "damped_pendulum"
    components = ("angle", "velocity")
    initial_state = (1.0, 1.0)
    """Start of the benchmark trajectory."""

    def __init__(self, damping: float = 0.05, gravity: float = 9.81):
        super().__init__(
            parameters={"damping": damping, "gravity": gravity},
            parameter_domain=Box([0.0, 5.0], [0.5, 15.0]),
            domain=Box([-3.0, -3.0], [3.0, 3.0]),
            times=(0.0, 10.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (velocity, -damping velocity - gravity sin(angle))."""
        angle, velocity = x
        return velocity, -p.damping * velocity - p.gravity * m.sin(angle)

    def wrapped(self, x: State) -> State:
        """Return states (batch, 2) without the full turns: the angle lies in [-pi, pi].

        Example:
            >>> import math, torch, flowmaps as fm
            >>> turned = torch.tensor([[2 * math.pi + 1, 0.5]])
            >>> round(fm.problems.DampedPendulum().wrapped(turned)[0, 0].item(), 5)
            1.0
        """
        turns = torch.round(x[:, 0].detach() / (2 * math.pi))
        return torch.stack([x[:, 0] - 2 * math.pi * turns, x[:, 1]], dim=1)

    def energy(self, x: State, condition: Tensor | None = None) -> PerSample:
        """Return the energy velocity^2 / 2 + gravity (1 - cos(angle)) of states (batch, 2).

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.problems.DampedPendulum().energy(torch.tensor([[0.0, 2.0]])).item()
            2.0
        """
        p = self._parameters(x, condition)
        angle, velocity = x.unbind(1)
        return velocity**2 / 2 + p.gravity * (1 - operations("torch").cos(angle))

    def energy_set(self, level: float | None = None) -> SubLevel:
        """Return the states with angle in [-pi, pi] and energy at most a level.

        Because energy never grows, trajectories stay in the set: below 2 gravity (the top of the
        circle) as it stands; above, once angles are ``wrapped``.

        Args:
            level: largest energy; when None, the largest on the problem's domain, so that the set
                holds the domain.

        Raises:
            ValueError: if the level is not positive, or damping is negative.

        Example:
            >>> import torch, flowmaps as fm
            >>> pendulum = fm.problems.DampedPendulum()
            >>> bool(pendulum.energy_set().contains(pendulum.domain.sample(100)).all())
            True
        """
        damping, gravity = self.parameters["damping"], self.parameters["gravity"]
        if level is None:
            level = 3.0**2 / 2 + gravity * (1 - math.cos(3.0))
        if not level > 0 or damping < 0:
            raise ValueError(
                f"the set of energy at most {level} is forward invariant only for a positive level "
                f"and damping >= 0, got damping = {damping}"
            )
        speed = math.sqrt(2 * level)
        angle = math.acos(max(-1.0, 1 - level / gravity)) if gravity > 0 else math.pi
        return SubLevel(self.energy, level, Box([-angle, -speed], [angle, speed]))

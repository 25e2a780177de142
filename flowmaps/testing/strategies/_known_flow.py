"""A vector field together with its flow map, in closed form."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from torch import Tensor

from flowmaps._typing import State, Time
from flowmaps.domains import Domain
from flowmaps.maps import Conjugated, Diffeomorphism, FlowMap
from flowmaps.problems import ExactProblem
from flowmaps.testing.strategies._coordinates import Image, described

__all__ = ["KnownFlow"]


@final
@dataclass(frozen=True, repr=False)
class KnownFlow:
    """A field and its flow map, where they are known, and for which times; prints its numbers.

    Args:
        problem: with a closed form.
        times: earliest and latest time of interest.
        coordinates: changes of coordinates in which the problem is seen, the first one first.

    Example:
        >>> import torch, flowmaps as fm
        >>> decay = fm.testing.strategies.KnownFlow(fm.problems.LinearSystem([[-1.0]]), (0.0, 1.0))
        >>> decay
        KnownFlow(LinearSystem(matrix=[[-1.0]]), times=(0.0, 1.0))
        >>> round(decay.flow_map(0.0, 1.0, torch.ones(1, 1)).item(), 4)
        0.3679
    """

    problem: ExactProblem
    times: tuple[float, float]
    coordinates: tuple[Diffeomorphism, ...] = ()

    @property
    def dim(self) -> int:
        """Number of coordinates of a state."""
        return self.problem.dim

    @cached_property
    def flow_map(self) -> FlowMap:
        """The flow map, exact up to rounding."""
        flow_map: FlowMap = self.problem.flow_map()
        for phi in self.coordinates:
            flow_map = Conjugated(flow_map, phi)
        return flow_map

    @cached_property
    def domain(self) -> Domain:
        """Where states may lie, at any time."""
        domain = self.problem.domain
        for phi in self.coordinates:
            domain = Image(domain, phi)
        return domain

    def field(self, t: Time, x: State) -> Tensor:
        """Return b(t, x).

        Args:
            t: time, a number or a tensor of shape () or (batch,).
            x: states (batch, dim).
        """
        return self.flow_map.velocity(t, x)

    def seen_by(self, diffeomorphism: Diffeomorphism) -> "KnownFlow":
        """Return the same flow in further coordinates.

        Args:
            diffeomorphism: y = phi(x) of today's states x.

        Example:
            >>> import flowmaps as fm
            >>> strategies = fm.testing.strategies
            >>> decay = strategies.KnownFlow(fm.problems.LinearSystem([[-1.0]]), (0.0, 1.0))
            >>> decay.seen_by(strategies.Squeeze(1.0)).dim
            1
        """
        return replace(self, coordinates=(*self.coordinates, diffeomorphism))

    def __repr__(self) -> str:
        told = [described(self.problem), f"times={self.times}"]
        if self.coordinates:
            told.append(f"coordinates=({', '.join(map(described, self.coordinates))},)")
        return f"KnownFlow({', '.join(told)})"

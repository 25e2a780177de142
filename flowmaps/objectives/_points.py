"""Laws of the points at which an objective compares: on an interpolant, or in a domain."""

from abc import ABC, abstractmethod
from typing import Any, final

import torch

from flowmaps.interpolants import Interpolant
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._sources import Domain, Pairs
from flowmaps.objectives._times import TimeLaw

__all__ = ["InDomain", "OnInterpolant", "PointLaw"]


class PointLaw(ABC):
    """Turns a source and a law of times into a draw."""

    @abstractmethod
    def draw(
        self,
        source: Any,
        times: TimeLaw,
        batch: int | None,
        generator: torch.Generator | None,
        progress: float,
    ) -> Draw:
        """Return a draw of ``batch`` rows; arguments as in Objective.draw."""


@final
class OnInterpolant(PointLaw):
    """Points I_s of an interpolant between pairs, with its velocity and the base sample.

    Example:
        >>> import torch, flowmaps as fm
        >>> law = fm.objectives.OnInterpolant(fm.interpolants.Linear())
        >>> pairs = fm.objectives.Pairs(torch.zeros(4, 2), torch.ones(4, 2))
        >>> law.draw(pairs, fm.objectives.Diagonal(), None, None, 0.0).velocity[0].tolist()
        [1.0, 1.0]
    """

    def __init__(self, interpolant: Interpolant):
        if not isinstance(interpolant, Interpolant):
            raise TypeError(
                "interpolant must be an fm.interpolants.Interpolant such as Linear(), "
                f"got {type(interpolant).__name__}"
            )
        self.interpolant = interpolant

    def draw(
        self,
        source: Any,
        times: TimeLaw,
        batch: int | None,
        generator: torch.Generator | None,
        progress: float,
    ) -> Draw:
        """Return a draw from Pairs."""
        if not isinstance(source, Pairs):
            raise TypeError(
                "this objective draws points from fm.objectives.Pairs(x0, x1), "
                f"got {type(source).__name__}"
            )
        x0, x1, condition = source.sample(batch, generator)
        s, t = times.sample(len(x1), self.interpolant.times, generator, progress)
        s, t = s.to(x1.device), t.to(x1.device)
        return Draw(
            s=s,
            t=t,
            points=self.interpolant.interpolate(s, x0, x1),
            velocity=self.interpolant.velocity(s, x0, x1),
            noise=x0,
            condition=condition,
            diagonal=times.diagonal(len(x1)),
        )


@final
class InDomain(PointLaw):
    """Points of a set, at the start times, over the domain's interval.

    Example:
        >>> import flowmaps as fm
        >>> source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 2.0))
        >>> draw = fm.objectives.InDomain().draw(source, fm.objectives.FromStart(), 6, None, 0.0)
        >>> draw.points.shape, draw.velocity is None
        (torch.Size([6, 1]), True)
    """

    def draw(
        self,
        source: Any,
        times: TimeLaw,
        batch: int | None,
        generator: torch.Generator | None,
        progress: float,
    ) -> Draw:
        """Return a draw from a Domain."""
        if not isinstance(source, Domain):
            raise TypeError(
                "this objective draws points from fm.objectives.Domain(domain, times), "
                f"got {type(source).__name__}"
            )
        points, condition = source.sample(batch, generator)
        s, t = times.sample(len(points), source.times, generator, progress)
        return Draw(s, t, points, condition=condition, diagonal=times.diagonal(len(points)))

"""What a flow map has to satisfy: an equation with its residual, in the units of its scale."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from flowmaps._typing import PerSample
from flowmaps.testing._draws import Draw
from flowmaps.testing._view import View, condition_of

__all__ = ["Property"]


class Property(ABC):
    """One equation that the flow map of a field, or any flow, satisfies.

    To add one, give ``name``, ``kind``, ``requires`` and ``residual``; tolerances, statistics and
    counterexamples follow from these.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Odd(fm.testing.Property):
        ...     \"\"\"X_{s,t}(-x) = -X_{s,t}(x).\"\"\"
        ...     name = "odd"
        ...     def residual(self, view, draw):
        ...         there = view.map(draw.s, draw.t, draw.x, draw.condition)
        ...         return there + view.map(draw.s, draw.t, -draw.x, draw.condition)
        >>> decay = lambda s, t, x: x * torch.exp(s - t)[:, None]
        >>> box = fm.testing.Box(-1.0, 1.0)
        >>> report = fm.testing.verify(decay, domain=box, times=(0.0, 1.0), properties=[Odd()])
        >>> report["odd"].status
        'passed'
    """

    name: ClassVar[str]
    """As it is called in reports and in ``expected_failures``."""
    kind: ClassVar[str] = "structure"
    """"algebra", "field", "conduct", "derivatives" or "structure": what a failure says."""
    requires: ClassVar[frozenset[str]] = frozenset()
    """What must be known or possible: "field", "condition", "backward" (both directions of time),
    "derivatives" (of any kind) or "forward derivatives"."""
    units: ClassVar[str] = "state"
    """"state", "velocity" or "number": what the residual is compared with."""
    approximate: ClassVar[bool] = False
    """Whether the residual is computed by a quadrature or by differences at all times."""
    alone: ClassVar[bool] = True
    """Whether a single point can show a failure, so that it can be made simpler."""
    cost: ClassVar[int] = 1
    """The part of the points, one in so many, at which it is measured."""
    conditioned: ClassVar[bool] = True
    """Whether rounding in what enters the residual, amplified, is allowed for."""

    @abstractmethod
    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return what is zero for a flow map, (batch, ...).

        Args:
            view: the map, the field and how derivatives are taken.
            draw: times, states, directions, conditions.
        """

    def scale(self, view: View, draw: Draw) -> PerSample:
        """Return the size of the quantities whose difference the residual is, (batch,)."""
        if self.units == "number":
            return torch.ones_like(draw.s)
        return view.state_scale(draw) if self.units == "state" else view.velocity_scale(draw)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return by how much relative errors of all that enters it move the residual, (batch,)."""
        return condition_of(lambda each: self.residual(each, draw), view, self.dtype(draw))

    def dtype(self, draw: Draw) -> torch.dtype:
        """Return the precision that rounding is measured in."""
        return draw.x.dtype

    def resolution(self, draw: Draw) -> float:
        """Return what cannot be told from zero, relative to the scale, whatever the map."""
        return 0.0

    def missing(self, view: View) -> str | None:
        """Return why the property makes no sense here, or None; asked once it has what it requires.

        Args:
            view: the map, the field, the space.
        """
        return None

    def excused(self, error: Exception) -> str | None:
        """Return why an error in measuring it is no failure of the map, or None if it is one."""
        return None

    def code(self, arguments: str) -> str:
        """Return Python that shows the failure; see ``Counterexample.code``.

        Args:
            arguments: "s, t, x" with the condition if there is one.
        """
        return f"flow_map({arguments})"

    def __repr__(self) -> str:
        return f"<property {self.name}>"

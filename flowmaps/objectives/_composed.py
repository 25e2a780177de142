"""An objective composed of a law of times, a law of points, and terms."""

from collections.abc import Iterable, Sequence
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._loss import REDUCTIONS, Loss
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._points import PointLaw
from flowmaps.objectives._principles import Principle
from flowmaps.objectives._times import TimeLaw
from flowmaps.objectives._velocities import VelocitySource

__all__ = ["Composed", "Term"]

ROWS = ("all", "diagonal", "off diagonal")


@final
class Term(nn.Module):
    """One square in an objective: a principle, the velocity in it, its rows and its weight.

    Args:
        name: of the part in ``Loss.parts``.
        principle: ``principle(learned, field, draw) -> residual (rows, *event)``.
        velocity: ``velocity(learned, draw) -> field``; gradient routing is decided here.
        rows: the rows it applies to: ``"all"``, ``"diagonal"`` or ``"off diagonal"``.
        weight: constant factor in the total.
        scale: units of the residual's coordinates, divided out; shape of an event, None for one.

    Raises:
        ValueError: for other rows, a negative weight or a scale that is not positive; at a call,
            if the scale has not the shape of an event.
    """

    scale: Tensor | None

    def __init__(
        self,
        name: str,
        principle: Principle,
        velocity: VelocitySource,
        rows: str = "all",
        weight: float = 1.0,
        scale: Tensor | Sequence[float] | None = None,
    ):
        super().__init__()
        if rows not in ROWS:
            raise ValueError(f"rows must be one of {ROWS}, got {rows!r}")
        if not weight >= 0:
            raise ValueError(f"weight must not be negative, got {weight}")
        self.name, self.principle, self.velocity, self.rows, self.weight = (
            name,
            principle,
            velocity,
            rows,
            weight,
        )
        units = None if scale is None else torch.as_tensor(scale)
        if units is not None and not bool((units > 0).all()):
            raise ValueError(f"scale must be positive, got {units.tolist()}")
        self.register_buffer("scale", units, persistent=False)

    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Tensor:
        """Return the residual (rows, *event) on a draw of this term's rows."""
        field = self.velocity(learned if target is None else target, draw)
        residual = self.principle(learned, field, draw)
        if self.scale is None:
            return residual
        if self.scale.shape != residual.shape[1:]:
            raise ValueError(
                f"scale must have the shape of an event, {tuple(residual.shape[1:])}, "
                f"got {tuple(self.scale.shape)}"
            )
        return residual / self.scale.to(residual.dtype)

    def span(self, draw: Draw) -> tuple[int, int]:
        """Return the first of this term's rows and the one after its last."""
        first = draw.diagonal if self.rows == "off diagonal" else 0
        return first, draw.diagonal if self.rows == "diagonal" else len(draw)


@final
class Composed(Objective):
    """The mean over a draw's rows of the weighted squares of its terms.

    Args:
        times: law of the pairs of times.
        points: law of the points.
        terms: the squares; a row counts in every term that applies to it.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` of squares over a sample's coordinates.

    Raises:
        ValueError: for another reduction, no terms or two of one name.

    Example:
        >>> import flowmaps as fm
        >>> objective = fm.objectives.lsd()
        >>> [(term.name, term.rows) for term in objective.terms]
        [('flow matching', 'diagonal'), ('lagrangian', 'off diagonal')]
    """

    def __init__(
        self, times: TimeLaw, points: PointLaw, terms: Sequence[Term], reduction: str = "sum"
    ):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {sorted(REDUCTIONS)}, got {reduction!r}")
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"an objective needs terms of different names, got {names}")
        self.times, self.points, self.reduction = times, points, reduction
        self.terms = nn.ModuleList(terms)

    def draw(
        self,
        source: Any,
        *,
        batch: int | None = None,
        generator: torch.Generator | None = None,
        progress: float = 0.0,
    ) -> Draw:
        """Return a batch of times, points and data; see Objective."""
        if batch is not None and batch < 1:
            raise ValueError(f"batch must be a positive number of rows, got {batch}")
        return self.points.draw(source, self.times, batch, generator, progress)

    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Loss:
        """Return the loss on a draw; see Objective. A term without rows has no part."""
        square = REDUCTIONS[self.reduction]
        wide = torch.promote_types(draw.points.dtype, torch.float32)
        per_sample, parts = draw.points.new_zeros(len(draw), dtype=wide), {}
        for term in cast(Iterable[Term], self.terms):
            first, stop = term.span(draw)
            if first < stop:
                values = square(term(learned, draw[first:stop], target))
                parts[term.name] = values.detach().mean()
                per_sample = per_sample + F.pad(term.weight * values, (first, len(draw) - stop))
        return Loss(per_sample.mean(), parts, per_sample)

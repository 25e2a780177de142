"""An objective composed of a law of times, a law of points, and terms."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowmaps._checks import as_count, brief, is_number
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._learned import check_learned
from flowmaps.objectives._loss import REDUCTIONS, Loss
from flowmaps.objectives._middles import MiddleLaw
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._points import PointLaw
from flowmaps.objectives._routing import check_routing
from flowmaps.objectives._spelling import spelled
from flowmaps.objectives._times import TimeLaw
from flowmaps.objectives.principles import Principle, recorded
from flowmaps.objectives.teachers import Teacher

__all__ = ["Composed", "Term"]

ROWS = ("all", "diagonal", "off diagonal")


Weight = float | Callable[[Tensor, Tensor], Tensor]
"""A number, or ``weight(s, t) -> (rows,)`` of the times (rows,), float64."""


@final
class Term(nn.Module):
    """One square in an objective: a principle, its teacher, the routing, its rows and weight.

    Args:
        name: of the part in ``Loss.parts``.
        principle: ``principle(learned, teacher, draw, routing) -> residual (rows, *event)``.
        teacher: ``teacher(learned, draw)`` returns the field or flow map to compare with, from
            ``fm.objectives.teachers``: ``data``, ``own`` or ``Known(field)``.
        routing: what carries gradient: ``"full"``, both sides of the relation; ``"target"``, all
            but the teacher's side; ``"value"``, the mean velocity alone.
        rows: the rows it applies to: ``"all"``, ``"diagonal"`` or ``"off diagonal"``.
        weight: factor in the total: a number, or a function of s and t (rows,) each.
        scale: units of the residual's coordinates, divided out; shape of an event, None for one.

    Raises:
        TypeError: for a weight that is neither; at a call, if it returns no tensor, or the teacher
            is not one that the principle can be asked of: ``data`` with ``lagrangian``, and with
            ``eulerian`` unless the routing is "value" or "target".
        ValueError: for another routing or other rows, a negative weight or a scale that is not
            positive; at a call, if weight or scale have another shape.

    Example:
        >>> import flowmaps as fm
        >>> o = fm.objectives
        >>> term = o.Term("mean flow", o.principles.eulerian, o.teachers.data, "value")
        >>> term  # doctest: +NORMALIZE_WHITESPACE
        Term('mean flow', eulerian, teacher=data, routing='value', rows='all', weight=1.0,
             scale=None)
        >>> mean_flow = o.Composed(o.Mixed(0.25), o.OnInterpolant(fm.interpolants.Linear()), [term])
    """

    scale: Tensor | None

    def __init__(
        self,
        name: str,
        principle: Principle,
        teacher: Teacher,
        routing: str = "full",
        rows: str = "all",
        weight: Weight = 1.0,
        scale: Tensor | Sequence[float] | None = None,
    ):
        super().__init__()
        if rows not in ROWS:
            raise ValueError(f"rows must be one of {ROWS}, got {rows!r}")
        if not callable(weight) and not is_number(weight):
            raise TypeError(f"weight must be a number or weight(s, t), got {brief(weight)}")
        if not callable(weight) and not 0 <= weight < float("inf"):
            raise ValueError(f"weight must be finite and not negative, got {weight}")
        if principle is recorded and routing == "value":
            raise ValueError(
                'the principle recorded has nothing to stop: its routing is "full", got "value"'
            )
        self.name, self.principle, self.teacher = name, principle, teacher
        self.routing, self.rows, self.weight = check_routing(routing), rows, weight
        units = None if scale is None else torch.as_tensor(scale)
        if units is not None and not bool(((units > 0) & units.isfinite()).all()):
            raise ValueError(f"scale must be positive and finite, got {units.tolist()}")
        self.register_buffer("scale", units, persistent=False)

    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Tensor:
        """Return the residual (rows, *event) on a draw of this term's rows."""
        teacher = self.teacher(learned if target is None else target, draw)
        residual = self.principle(learned, teacher, draw, self.routing)
        if self.scale is None:
            return residual
        if self.scale.shape != residual.shape[1:]:
            raise ValueError(
                f"scale must have the shape of an event, {tuple(residual.shape[1:])}, "
                f"got {tuple(self.scale.shape)}"
            )
        return residual / self.scale.to(residual.dtype)

    def extra_repr(self) -> str:
        """Return the term's choices, for whoever reads a printed objective or a run's folder."""
        scale = None if self.scale is None else self.scale.tolist()
        teacher = (
            "" if isinstance(self.teacher, nn.Module) else f"teacher={spelled(self.teacher)}, "
        )
        return (
            f"{self.name!r}, {spelled(self.principle)}, {teacher}routing={self.routing!r}, "
            f"rows={self.rows!r}, weight={spelled(self.weight)}, scale={scale}"
        )

    def span(self, draw: Draw) -> tuple[int, int]:
        """Return the first of this term's rows and the one after its last."""
        first = draw.diagonal if self.rows == "off diagonal" else 0
        return first, draw.diagonal if self.rows == "diagonal" else len(draw)

    def check(self, draw: Draw) -> None:
        """Refuse a weight that is negative at the times of a draw, which no call looks at.

        Raises:
            ValueError: if it is, or is not a number.
        """
        first, stop = self.span(draw)
        if callable(self.weight) and first < stop:
            rows = draw[first:stop]
            with torch.no_grad():
                weights = self.weighted(torch.ones_like(rows.s), rows)
            if not bool((weights >= 0).all()):
                raise ValueError(f"weight(s, t) must not be negative, got {weights.min().item():g}")

    def weighted(self, values: Tensor, draw: Draw) -> Tensor:
        """Return values (rows,) times the weight at each row's times."""
        if not callable(self.weight):
            return self.weight * values
        weight = self.weight(draw.s, draw.t)
        if not isinstance(weight, Tensor):
            raise TypeError(
                f"weight(s, t) must return a tensor of shape {tuple(values.shape)}, "
                f"got {brief(weight)}; for a constant give the number itself"
            )
        if weight.shape != values.shape:
            raise ValueError(
                f"weight(s, t) must have the shape of s, {tuple(values.shape)}, "
                f"got {tuple(weight.shape)}"
            )
        return weight.to(values) * values


@final
class Composed(Objective):
    """The mean over a draw's rows of the weighted squares of its terms.

    Args:
        times: law of the pairs of times.
        points: law of the points.
        terms: the squares; a row counts in every term that applies to it.
        middles: law of the middle times u, for a semigroup term; None for none.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` of squares over a sample's coordinates.

    Raises:
        ValueError: for another reduction, no terms or two of one name.

    Example:
        >>> import flowmaps as fm
        >>> objective = fm.objectives.lsd()
        >>> [(term.name, term.rows, term.routing) for term in objective.terms]
        [('flow matching', 'diagonal', 'full'), ('lagrangian', 'off diagonal', 'target')]
    """

    def __init__(
        self,
        times: TimeLaw,
        points: PointLaw,
        terms: Sequence[Term],
        middles: MiddleLaw | None = None,
        reduction: str = "sum",
    ):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {sorted(REDUCTIONS)}, got {reduction!r}")
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"an objective needs terms of different names, got {names}")
        self.times, self.points, self.middles = times, points, middles
        self.reduction = reduction
        self.terms = nn.ModuleList(terms)

    def extra_repr(self) -> str:
        """Return the laws and the reduction."""
        return (
            f"times={spelled(self.times)}, points={spelled(self.points)}, "
            f"middles={spelled(self.middles)}, reduction={self.reduction!r}"
        )

    def draw(
        self,
        source: Any,
        *,
        batch: int | None = None,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Draw:
        """Return a batch of times, points and data; see Objective."""
        batch = None if batch is None else as_count(batch, "batch")
        if not is_number(progress) or not 0 <= progress <= 1:
            raise ValueError(
                f"progress must be a fraction of training in [0, 1], got {brief(progress)}"
            )
        draw = self.points.draw(source, self.times, batch, generator, progress)
        if self.middles is None:
            return draw
        return replace(draw, u=self.middles.sample(draw.s, draw.t, generator))

    def check(self, draw: Draw, learned: FlowMap | None = None) -> None:
        """Refuse what a compiled loss could not, weights among it; see Objective."""
        super().check(draw, learned)
        for term in cast(Iterable[Term], self.terms):
            term.check(draw)

    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Loss:
        """Return the loss on a draw; see Objective. A term without rows has no part.

        Raises:
            TypeError: if learned is no flow map, or a compiled one, or has compiled parts.
            ValueError: for a draw without rows, or one that lacks what a term needs.
        """
        check_learned(learned)
        if len(draw) == 0:
            raise ValueError("the draw has no rows to compare at; draw one at least")
        square = REDUCTIONS[self.reduction]
        wide = torch.promote_types(draw.points.dtype, torch.float32)
        per_sample, parts = draw.points.new_zeros(len(draw), dtype=wide), {}
        for term in cast(Iterable[Term], self.terms):
            first, stop = term.span(draw)
            if first < stop:
                rows = draw[first:stop]
                values = square(term(learned, rows, target))
                parts[term.name] = values.detach().mean()
                weighted = term.weighted(values, rows)
                per_sample = per_sample + F.pad(weighted, (first, len(draw) - stop))
        return Loss(per_sample.mean(), parts, per_sample)

"""An objective composed of a law of times, a law of points, and terms."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import nn

from flowmaps._checks import as_count, brief, is_number
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._forgetting import Forgetting
from flowmaps.objectives._learned import check_learned
from flowmaps.objectives._loss import REDUCTIONS, Loss
from flowmaps.objectives._middles import MiddleLaw
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._points import PointLaw
from flowmaps.objectives._spelling import spelled
from flowmaps.objectives._term import Term
from flowmaps.objectives._times import TimeLaw
from flowmaps.objectives._weights import LearnedWeight

__all__ = ["Composed"]


@final
class Composed(Objective):
    """The mean over a draw's rows of the weighted metrics of its terms.

    Args:
        times: law of the pairs of times.
        points: law of the points.
        terms: the squares; a row counts in every term that applies to it.
        middles: law of the middle times u, for a semigroup term; None for none.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` of squares over a sample's coordinates.
        learned_weight: w_{s,t}, with which what a row adds becomes e^{-w} L + w; None for none.
        forgetting: of conditions, for guidance; None for none.

    Raises:
        TypeError: for parts of another kind.
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
        learned_weight: LearnedWeight | None = None,
        forgetting: Forgetting | None = None,
    ):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {sorted(REDUCTIONS)}, got {reduction!r}")
        _check_kinds(times, points, terms, middles)
        names = [term.name for term in terms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"an objective needs terms of different names, got {names}")
        self.times, self.points, self.middles = times, points, middles
        self.reduction, self.forgetting = reduction, forgetting
        self.terms = nn.ModuleList(terms)
        self.learned_weight = learned_weight
        self._progresses = any(getattr(t.principle, "needs_progress", False) for t in terms)

    def extra_repr(self) -> str:
        """Return the laws and the reduction."""
        return (
            f"times={spelled(self.times)}, points={spelled(self.points)}, "
            f"middles={spelled(self.middles)}, reduction={self.reduction!r}"
            + ("" if self.forgetting is None else f", forgetting={spelled(self.forgetting)}")
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
        draw = self.points.draw(source, self.times, batch, generator, progress, self.middles)
        if self.forgetting is not None:
            draw = self.forgetting(draw, generator)
        if self._progresses:
            draw = replace(draw, progress=torch.full_like(draw.s, progress))
        return draw

    def check(self, draw: Draw, learned: FlowMap | None = None) -> None:
        """Refuse what a compiled loss could not, weights among it; see Objective."""
        for term in cast(Iterable[Term], self.terms):
            term.check(draw, learned)
        super().check(draw, learned)

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
                values = term.values(learned, rows, square, target)
                parts[term.name] = values.detach().mean()
                weighted = term.weighted(values, rows)
                per_sample = per_sample + F.pad(weighted, (first, len(draw) - stop))
        if self.learned_weight is not None:
            log_scale = self.learned_weight(draw.s, draw.t).to(per_sample)
            per_sample = per_sample * torch.exp(-log_scale) + log_scale
        return Loss(per_sample.mean(), parts, per_sample)


def _check_kinds(times: Any, points: Any, terms: Any, middles: Any) -> None:
    """Raise TypeError for a part of an objective that is of another kind."""
    parts = [("times", times, TimeLaw), ("points", points, PointLaw)]
    parts += [("terms", term, Term) for term in terms]
    parts += [] if middles is None else [("middles", middles, MiddleLaw)]
    for name, part, kind in parts:
        if not isinstance(part, kind):
            raise TypeError(f"{name} must be of fm.objectives.{kind.__name__}, got {brief(part)}")

"""The relations that characterise a flow map, as residuals of a learned map on a draw.

Each is called as ``principle(learned, teacher, draw, routing)`` and returns an unreduced residual
(rows, *event). Derivatives are those of ``fm.residuals``; what a principle adds is whom it compares
with and what carries the gradient. One that knows not every routing lists its own as ``routings``;
one that compares two states gives them as ``sides``; one
whose relation has a derivative takes what computes it as ``derivative`` and says
``takes_derivative``; one that takes parts of a draw that not every
law brings lists them as ``needs``; one that asks the map for both directions of time ``goes_back``.
"""

from flowmaps.objectives.principles._consistency import Chained, Consistency
from flowmaps.objectives.principles._dyadic import Shortcut
from flowmaps.objectives.principles._eulerian_variants import WarmedEulerian, improved_mean_flow
from flowmaps.objectives.principles._inversion import inversion, returning
from flowmaps.objectives.principles._relations import (
    Principle,
    eulerian,
    lagrangian,
    recorded,
    semigroup,
    tangent,
)

__all__ = [
    "Chained",
    "Consistency",
    "Principle",
    "Shortcut",
    "WarmedEulerian",
    "eulerian",
    "improved_mean_flow",
    "inversion",
    "lagrangian",
    "recorded",
    "returning",
    "semigroup",
    "tangent",
]

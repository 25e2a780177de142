"""The relations that characterise a flow map, as residuals of a learned map on a draw.

Each is called as ``principle(learned, teacher, draw, routing)`` and returns an unreduced residual
(rows, *event). Derivatives are those of ``fm.residuals``; what a principle adds is whom it compares
with and what carries the gradient. The rest its attributes say: ``routings``, where it knows not
every one; ``sides(...)``, where it compares two states; ``takes_derivative``, where its relation
has a derivative, and what computes it is given as ``derivative=``; ``needs``, the parts of a draw
that not every law brings; ``asks(draw)``, the times at which a flow map that teaches is asked;
``goes_back``, where the learned map is asked in both directions of time.
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
from flowmaps.objectives.principles._whole_path import whole_path

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
    "whole_path",
]

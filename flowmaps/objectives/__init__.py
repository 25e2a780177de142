"""Objectives: what a learned map is trained to satisfy.

Every objective is a law of times x a law of points x terms, and a term is a principle x a source of
velocity (with its gradient routing) x a weight. A method is a few lines that name its choices.
"""

from flowmaps.objectives._composed import Composed, Term
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._flow_matching import flow_matching
from flowmaps.objectives._lagrangian_residual import lagrangian_residual
from flowmaps.objectives._loss import Loss
from flowmaps.objectives._lsd import lsd
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._points import InDomain, OnInterpolant, PointLaw
from flowmaps.objectives._sources import Domain, Pairs
from flowmaps.objectives._times import Diagonal, FromStart, GrowingSpan, Mixed, SortedPair, TimeLaw

__all__ = [
    "Composed",
    "Diagonal",
    "Domain",
    "Draw",
    "FromStart",
    "GrowingSpan",
    "InDomain",
    "Loss",
    "Mixed",
    "Objective",
    "OnInterpolant",
    "Pairs",
    "PointLaw",
    "SortedPair",
    "Term",
    "TimeLaw",
    "flow_matching",
    "lagrangian_residual",
    "lsd",
]

"""Objectives: what a learned map is trained to satisfy.

Every objective is a law of times x a law of points x terms, and a term is a principle x a teacher
x a gradient routing x a weight. A method is a few lines that name its choices; the principles stand
in ``fm.objectives.principles``, the teachers in ``fm.objectives.teachers``.
"""

from flowmaps.objectives import principles, teachers
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._distillation import emd, lmd
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._flow_matching import flow_matching
from flowmaps.objectives._invariance import InvariantSet, forward_invariant
from flowmaps.objectives._loss import Loss
from flowmaps.objectives._middles import MiddleLaw, Midpoint, UniformMiddle
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._points import (
    AtStates,
    OnInterpolant,
    OnTrajectories,
    Picked,
    PointLaw,
)
from flowmaps.objectives._residual_objectives import eulerian_residual, lagrangian_residual
from flowmaps.objectives._self_distillation import esd, lsd, psd_m, psd_u
from flowmaps.objectives._sources import Domain, Pairs
from flowmaps.objectives._term import Term
from flowmaps.objectives._times import Diagonal, FromStart, GrowingSpan, Mixed, SortedPair, TimeLaw
from flowmaps.objectives._trajectories import Trajectories
from flowmaps.objectives._trajectory_matching import trajectory_matching

__all__ = [
    "AtStates",
    "Composed",
    "Diagonal",
    "Domain",
    "Draw",
    "FromStart",
    "GrowingSpan",
    "InvariantSet",
    "Loss",
    "MiddleLaw",
    "Midpoint",
    "Mixed",
    "Objective",
    "OnInterpolant",
    "OnTrajectories",
    "Pairs",
    "Picked",
    "PointLaw",
    "SortedPair",
    "Term",
    "TimeLaw",
    "Trajectories",
    "UniformMiddle",
    "emd",
    "esd",
    "eulerian_residual",
    "flow_matching",
    "forward_invariant",
    "lagrangian_residual",
    "lmd",
    "lsd",
    "principles",
    "psd_m",
    "psd_u",
    "teachers",
    "trajectory_matching",
]

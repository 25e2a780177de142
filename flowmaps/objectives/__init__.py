"""Objectives: what a learned map is trained to satisfy.

Every objective is a law of times x a law of points x terms, and a term is a principle x a teacher
x a gradient routing x a weight. A method is a few lines that name its choices; the principles stand
in ``fm.objectives.principles``, the teachers in ``fm.objectives.teachers``.
"""

from flowmaps.objectives import principles, teachers
from flowmaps.objectives._align_your_flow import ayf_emd, ayf_lmd
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._consistency import (
    consistency_distillation,
    consistency_training,
    ctm,
    ect,
    ict,
)
from flowmaps.objectives._continuous_consistency import scm
from flowmaps.objectives._distillation import emd, lmd
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._drawn_times import SortedDraws, Square, ToEnd
from flowmaps.objectives._dsno import dsno
from flowmaps.objectives._flow_map_matching import fmm, pfmm
from flowmaps.objectives._flow_matching import flow_matching
from flowmaps.objectives._forgetting import Forgetting
from flowmaps.objectives._grids import Doubling, Dyadic, NextNode, Nodes, OnNodes, Shrinking
from flowmaps.objectives._invariance import InvariantSet, forward_invariant
from flowmaps.objectives._loss import Loss
from flowmaps.objectives._marginals import LogitNormal, Marginal, NoiseLevel, UniformTime
from flowmaps.objectives._mean_flow import improved_mean_flow, mean_flow
from flowmaps.objectives._metrics import (
    Absolute,
    Adaptive,
    Between,
    InHighDimension,
    Metric,
    Normalised,
    PseudoHuber,
    Squared,
)
from flowmaps.objectives._middles import MiddleLaw, Midpoint, UniformMiddle
from flowmaps.objectives._objective import Objective
from flowmaps.objectives._over_times import OverTimes
from flowmaps.objectives._points import (
    AtStates,
    OnInterpolant,
    OnTrajectories,
    Picked,
    PointLaw,
)
from flowmaps.objectives._progressive import progressive_distillation, shortcut
from flowmaps.objectives._residual_objectives import eulerian_residual, lagrangian_residual
from flowmaps.objectives._self_distillation import esd, lsd, psd_m, psd_u
from flowmaps.objectives._sources import Domain, Pairs
from flowmaps.objectives._term import Term
from flowmaps.objectives._times import Diagonal, FromStart, GrowingSpan, Mixed, SortedPair, TimeLaw
from flowmaps.objectives._trajectories import Trajectories
from flowmaps.objectives._trajectory_matching import trajectory_matching
from flowmaps.objectives._weights import LearnedWeight, StepWeight
from flowmaps.objectives._whole_paths import WholePaths, WholeSpan

__all__ = [
    "Absolute",
    "Adaptive",
    "AtStates",
    "Between",
    "Composed",
    "Diagonal",
    "Domain",
    "Doubling",
    "Draw",
    "Dyadic",
    "Forgetting",
    "FromStart",
    "GrowingSpan",
    "InHighDimension",
    "InvariantSet",
    "LearnedWeight",
    "LogitNormal",
    "Loss",
    "Marginal",
    "Metric",
    "MiddleLaw",
    "Midpoint",
    "Mixed",
    "NextNode",
    "Nodes",
    "NoiseLevel",
    "Normalised",
    "Objective",
    "OnInterpolant",
    "OnNodes",
    "OnTrajectories",
    "OverTimes",
    "Pairs",
    "Picked",
    "PointLaw",
    "PseudoHuber",
    "Shrinking",
    "SortedDraws",
    "SortedPair",
    "Square",
    "Squared",
    "StepWeight",
    "Term",
    "TimeLaw",
    "ToEnd",
    "Trajectories",
    "UniformMiddle",
    "UniformTime",
    "WholePaths",
    "WholeSpan",
    "ayf_emd",
    "ayf_lmd",
    "consistency_distillation",
    "consistency_training",
    "ctm",
    "dsno",
    "ect",
    "emd",
    "esd",
    "eulerian_residual",
    "flow_matching",
    "fmm",
    "forward_invariant",
    "ict",
    "improved_mean_flow",
    "lagrangian_residual",
    "lmd",
    "lsd",
    "mean_flow",
    "pfmm",
    "principles",
    "progressive_distillation",
    "psd_m",
    "psd_u",
    "scm",
    "shortcut",
    "teachers",
    "trajectory_matching",
]

"""The training engine that every consumer shares."""

from flowmaps.training._ema import Average
from flowmaps.training._engine import FitResult, StepReport, fit
from flowmaps.training._history import History
from flowmaps.training._schedules import constant, cosine
from flowmaps.training._seeds import step_generator

__all__ = [
    "Average",
    "FitResult",
    "History",
    "StepReport",
    "constant",
    "cosine",
    "fit",
    "step_generator",
]

"""The training engine that every consumer shares."""

from flowmaps.training._ema import Average
from flowmaps.training._engine import FitResult, fit
from flowmaps.training._guard import Guard
from flowmaps.training._history import History
from flowmaps.training._recipe import Recipe, Trained
from flowmaps.training._report import StepReport, StopTraining
from flowmaps.training._schedules import constant, cosine
from flowmaps.training._seeds import step_generator
from flowmaps.training._stages import fit_in_stages
from flowmaps.training._together import Together, fit_together

__all__ = [
    "Together",
    "fit_together",
    "fit_in_stages",
    "Average",
    "FitResult",
    "Guard",
    "History",
    "Recipe",
    "StepReport",
    "StopTraining",
    "Trained",
    "constant",
    "cosine",
    "fit",
    "step_generator",
]

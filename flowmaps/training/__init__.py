"""The training engine that every consumer shares."""

from flowmaps.training._ema import Average
from flowmaps.training._engine import FitResult, fit
from flowmaps.training._guard import Guard
from flowmaps.training._history import History
from flowmaps.training._recipe import Recipe, Trained
from flowmaps.training._report import StepReport, StopTraining
from flowmaps.training._schedules import constant, cosine
from flowmaps.training._seeds import step_generator

__all__ = [
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

"""Generating samples with learned flow maps: few-step sampling, data, judges, recipes."""

from flowmaps.generative._digits import Digits, load_digits
from flowmaps.generative._judge import ClassJudge
from flowmaps.generative._recipe import DigitsRecipe
from flowmaps.generative._sampling import sample

__all__ = ["ClassJudge", "Digits", "DigitsRecipe", "load_digits", "sample"]

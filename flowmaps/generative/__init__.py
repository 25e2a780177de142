"""Generating samples with learned flow maps: few-step sampling, data, metrics, recipes."""

from flowmaps.generative._checkerboard_kl import CheckerboardKL
from flowmaps.generative._digits import Digits, load_digits
from flowmaps.generative._digits_recipe import DigitsRecipe
from flowmaps.generative._judge import ClassJudge
from flowmaps.generative._metrics import frechet_distance, nearest_distance, transport_error
from flowmaps.generative._multistep import sample_multistep
from flowmaps.generative._plane import checkerboard, eight_gaussians
from flowmaps.generative._plane_recipe import CheckerboardRecipe
from flowmaps.generative._sampling import sample
from flowmaps.generative._stochastic import sample_sde

__all__ = [
    "CheckerboardKL",
    "sample_sde",
    "sample_multistep",
    "CheckerboardRecipe",
    "ClassJudge",
    "Digits",
    "DigitsRecipe",
    "checkerboard",
    "eight_gaussians",
    "frechet_distance",
    "load_digits",
    "nearest_distance",
    "sample",
    "transport_error",
]

"""Learned surrogates of scientific flow maps: recipes and error along the horizon."""

from flowmaps.surrogates._evaluation import PathError, path_error
from flowmaps.surrogates._pendulum import PendulumRecipe

__all__ = ["PathError", "PendulumRecipe", "path_error"]

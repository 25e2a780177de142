"""Paths between base and data samples whose expected velocity is the field to learn."""

from flowmaps.interpolants._interpolant import Interpolant
from flowmaps.interpolants._linear import Linear

__all__ = ["Interpolant", "Linear"]

"""Paths between base and data samples whose expected velocity is the field to learn, and couplings.

A coupling says which base sample meets which data sample; an interpolant runs from one to the
other.
"""

from flowmaps.interpolants._coupling import Coupling, Given, Independent
from flowmaps.interpolants._interpolant import Interpolant
from flowmaps.interpolants._linear import Linear
from flowmaps.interpolants._optimal_transport import OptimalTransport, Sinkhorn
from flowmaps.interpolants._trigonometric import Trigonometric

__all__ = [
    "Coupling",
    "Given",
    "Independent",
    "Interpolant",
    "Linear",
    "OptimalTransport",
    "Sinkhorn",
    "Trigonometric",
]

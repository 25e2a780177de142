"""Paths between base and data samples whose expected velocity is the field to learn, and couplings.

A coupling says which base sample meets which data sample; an interpolant runs from one to the
other.
"""

from flowmaps.interpolants._conversions import PREDICTIONS, convert
from flowmaps.interpolants._coupling import Coupling, Given, Independent
from flowmaps.interpolants._from_coefficients import FromCoefficients
from flowmaps.interpolants._interpolant import Interpolant
from flowmaps.interpolants._latent import Latent
from flowmaps.interpolants._linear import Linear
from flowmaps.interpolants._optimal_transport import OptimalTransport, Sinkhorn
from flowmaps.interpolants._retimed import Retimed
from flowmaps.interpolants._trigonometric import Trigonometric
from flowmaps.interpolants._variance_exploding import VarianceExploding
from flowmaps.interpolants._variance_preserving import VariancePreserving

__all__ = [
    "convert",
    "VariancePreserving",
    "VarianceExploding",
    "Retimed",
    "Latent",
    "FromCoefficients",
    "PREDICTIONS",
    "Coupling",
    "Given",
    "Independent",
    "Interpolant",
    "Linear",
    "OptimalTransport",
    "Sinkhorn",
    "Trigonometric",
]

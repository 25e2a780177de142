"""A zoo of initial value problems with known flow maps or reference solutions.

Formulas are written once, in operations that torch, NumPy, SymPy and mpmath share. To add a
problem, write one file with a subclass of ``Problem``, or of ``ExactProblem`` if there is a closed
form, and enter it in the registry.

Example:
    >>> import torch, flowmaps as fm
    >>> problem = fm.problems.get("damped_pendulum")
    >>> x = problem.domain.sample(4, generator=torch.Generator().manual_seed(0))
    >>> problem.field(0.0, x).shape, problem.reference(0.0, 1.0, x).dtype
    (torch.Size([4, 2]), torch.float64)
"""

from flowmaps.problems._arenstorf_orbit import ArenstorfOrbit
from flowmaps.problems._checkerboard_flow import CheckerboardFlow
from flowmaps.problems._damped_pendulum import DampedPendulum
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._gaussian_interpolant import GaussianInterpolant
from flowmaps.problems._gaussian_mixture_flow import GaussianMixtureFlow, eight_gaussians_flow
from flowmaps.problems._harmonic_oscillator import HarmonicOscillator
from flowmaps.problems._interpolant_flow import InterpolantFlow
from flowmaps.problems._linear_system import LinearSystem
from flowmaps.problems._logistic_growth import LogisticGrowth
from flowmaps.problems._lorenz63 import Lorenz63
from flowmaps.problems._lotka_volterra import LotkaVolterra
from flowmaps.problems._operations import Operations, operations
from flowmaps.problems._parameters import Parameters
from flowmaps.problems._problem import Problem
from flowmaps.problems._registry import get, names
from flowmaps.problems._robertson import Robertson
from flowmaps.problems._rotation import Rotation
from flowmaps.problems._scalar_separable import ScalarSeparable
from flowmaps.problems._symbolic import Symbolic
from flowmaps.problems._two_point_mixture import TwoPointMixture
from flowmaps.problems._van_der_pol import VanDerPol

__all__ = [
    "eight_gaussians_flow",
    "InterpolantFlow",
    "GaussianMixtureFlow",
    "CheckerboardFlow",
    "ArenstorfOrbit",
    "DampedPendulum",
    "ExactProblem",
    "GaussianInterpolant",
    "HarmonicOscillator",
    "LinearSystem",
    "LogisticGrowth",
    "Lorenz63",
    "LotkaVolterra",
    "Operations",
    "Parameters",
    "Problem",
    "Robertson",
    "Rotation",
    "ScalarSeparable",
    "Symbolic",
    "TwoPointMixture",
    "VanDerPol",
    "get",
    "names",
    "operations",
]

"""The zoo by name."""

from types import MappingProxyType
from typing import Any

from flowmaps.problems._arenstorf_orbit import ArenstorfOrbit
from flowmaps.problems._damped_pendulum import DampedPendulum
from flowmaps.problems._gaussian_interpolant import GaussianInterpolant
from flowmaps.problems._harmonic_oscillator import HarmonicOscillator
from flowmaps.problems._linear_system import LinearSystem
from flowmaps.problems._logistic_growth import LogisticGrowth
from flowmaps.problems._lorenz63 import Lorenz63
from flowmaps.problems._lotka_volterra import LotkaVolterra
from flowmaps.problems._problem import Problem
from flowmaps.problems._robertson import Robertson
from flowmaps.problems._rotation import Rotation
from flowmaps.problems._scalar_separable import ScalarSeparable
from flowmaps.problems._two_point_mixture import TwoPointMixture
from flowmaps.problems._van_der_pol import VanDerPol

__all__ = ["get", "names"]

_CLASSES: tuple[type[Problem], ...] = (
    LinearSystem,
    HarmonicOscillator,
    DampedPendulum,
    LogisticGrowth,
    Rotation,
    ScalarSeparable,
    GaussianInterpolant,
    TwoPointMixture,
    VanDerPol,
    LotkaVolterra,
    Lorenz63,
    ArenstorfOrbit,
    Robertson,
)
_BY_NAME = MappingProxyType({problem.name: problem for problem in _CLASSES})


def names() -> tuple[str, ...]:
    """Return the names of all problems, the simplest first.

    Example:
        >>> import flowmaps as fm
        >>> fm.problems.names()[:2]
        ('linear_system', 'harmonic_oscillator')
    """
    return tuple(_BY_NAME)


def get(name: str, **options: Any) -> Problem:
    """Return a problem by name.

    Args:
        name: one of ``names()``.
        options: arguments of the problem's constructor.

    Raises:
        ValueError: if there is no problem of that name.

    Example:
        >>> import flowmaps as fm
        >>> dict(fm.problems.get("van_der_pol", stiffness=5.0).parameters)
        {'stiffness': 5.0}
    """
    if name not in _BY_NAME:
        raise ValueError(f"there is no problem {name!r}; known are {', '.join(names())}")
    return _BY_NAME[name](**options)

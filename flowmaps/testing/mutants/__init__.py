"""Mutants: maps that are wrong in known ways, which verification must find.

Each says before it is verified what is wrong, at which share of the points, and which property must
see it. They measure ``verify`` itself, and are examples of what it finds.

Example:
    >>> import flowmaps as fm
    >>> len(fm.testing.mutants.names()) >= 40
    True
    >>> fm.testing.mutants.get("time warp").problem
    'harmonic_oscillator'
"""

from flowmaps.testing.mutants import (
    _of_conditions,
    _of_conduct,
    _of_derivatives,
    _of_places,
    _of_steps,
    _of_times,
    _of_values,
)
from flowmaps.testing.mutants._mutant import Mutant, Truth

__all__ = ["Mutant", "Truth", "every", "get", "names"]

_FILES = (
    _of_times,
    _of_values,
    _of_steps,
    _of_places,
    _of_derivatives,
    _of_conditions,
    _of_conduct,
)
_EVERY = tuple(mutant for file in _FILES for mutant in file.MUTANTS)
_BY_NAME = {mutant.name: mutant for mutant in _EVERY}


def every() -> tuple[Mutant, ...]:
    """Return all mutants.

    Example:
        >>> import flowmaps as fm
        >>> sum(mutant.share <= 0.01 for mutant in fm.testing.mutants.every()) >= 5
        True
    """
    return _EVERY


def names() -> tuple[str, ...]:
    """Return the names of all mutants.

    Example:
        >>> import flowmaps as fm
        >>> fm.testing.mutants.names()[:2]
        ('time warp', 'forward only')
    """
    return tuple(_BY_NAME)


def get(name: str) -> Mutant:
    """Return a mutant by name.

    Args:
        name: one of ``names()``.

    Raises:
        ValueError: if there is none of that name.

    Example:
        >>> import flowmaps as fm
        >>> fm.testing.mutants.get("beyond a radius, 5 %").share
        0.05
    """
    if name not in _BY_NAME:
        raise ValueError(f"there is no mutant {name!r}; known are {', '.join(names())}")
    return _BY_NAME[name]

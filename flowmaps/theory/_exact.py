"""Tableaux in exact arithmetic: every number becomes the rational that it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from numbers import Integral
from typing import Any

# Fraction after `exact_number`, or what the caller brought: an mpmath number, a SymPy expression.
Number = Any
Vector = tuple[Number, ...]
Matrix = tuple[Vector, ...]


def exact_number(value: Any) -> Number:
    """Read one coefficient without rounding.

    Args:
        value: int, float, Decimal, Fraction or text such as "1/3" and "0.161" become the Fraction
            equal to them; every other kind (mpmath numbers, SymPy expressions) is left as it is and
            keeps its own arithmetic.

    Returns:
        A Fraction, or the value itself.

    Raises:
        TypeError: if the value is a bool, None or a collection.
        ValueError: if the value is not finite, or text that is no number.

    Example:
        >>> exact_number("0.161"), exact_number(0.5), exact_number("1/3")
        (Fraction(161, 1000), Fraction(1, 2), Fraction(1, 3))
    """
    if value is None or isinstance(value, (bool, list, tuple, dict, set)):
        raise TypeError(f'got {value!r} as a coefficient, expected a number such as "1/3"')
    try:
        if isinstance(value, Integral):
            return Fraction(int(value))
        if isinstance(value, str):
            return Fraction(value)
        if hasattr(value, "as_integer_ratio"):
            return Fraction(*value.as_integer_ratio())
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(
            f'got {value!r} as a coefficient, expected a finite number such as "1/3"'
        ) from error
    return value


def exact_vector(values: Iterable[Any], name: str) -> Vector:
    """Read a row of coefficients; `name` stands in the message if it is not one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"got {name} = {values!r}, expected a sequence of numbers")
    return tuple(exact_number(value) for value in values)


def exact_matrix(a: Sequence[Sequence[Any]], name: str = "a") -> Matrix:
    """Read the Runge-Kutta matrix as a full square.

    Args:
        a: one row for each stage. Row i has either i entries (the part below the diagonal, which is
            enough for an explicit method; the first row is then empty) or one for each stage.
        name: what the message calls it.

    Returns:
        (stages, stages) coefficients, zeros written out.

    Raises:
        TypeError: if a is not a sequence of sequences of numbers.
        ValueError: if it has no rows, or a row has another length.

    Example:
        >>> exact_matrix(((), ("1/2",)))
        ((Fraction(0, 1), Fraction(0, 1)), (Fraction(1, 2), Fraction(0, 1)))
    """
    if isinstance(a, str) or not isinstance(a, Iterable):
        raise TypeError(f"got {name} = {a!r}, expected a sequence of rows")
    rows = [exact_vector(row, f"row {i} of {name}") for i, row in enumerate(a)]
    stages = len(rows)
    if stages == 0:
        raise ValueError(f"got {name} without rows, expected one for each stage; Euler has ((),)")
    for i, row in enumerate(rows):
        if len(row) not in (i, stages):
            raise ValueError(
                f"got row {i} of {name} with {len(row)} entries, expected {i} (below the diagonal) "
                f"or {stages} (all stages); the first row of an explicit method is the empty ()"
            )
    return tuple(row + (Fraction(0),) * (stages - len(row)) for row in rows)


def exact_weights(b: Sequence[Any], stages: int, name: str = "b") -> Vector:
    """Read the weights of a method with that many stages.

    Raises:
        TypeError: if b is not a sequence of numbers.
        ValueError: if there is not one weight for each stage.
    """
    weights = exact_vector(b, name)
    if len(weights) != stages:
        raise ValueError(
            f"got {len(weights)} weights in {name}, expected {stages}, one for each row of a"
        )
    return weights


def is_explicit(a: Sequence[Sequence[Any]]) -> bool:
    """Whether every stage uses only earlier ones: a_ij = 0 for j >= i.

    Args:
        a: one row for each stage, as in `order_residuals`.

    Returns:
        True for an explicit method.

    Raises:
        TypeError: if a is not a sequence of sequences of numbers.
        ValueError: if a row has the wrong length.

    Source: Hairer, Norsett, Wanner (1993), section II.1.

    Example:
        >>> is_explicit(((), ("1/2",))), is_explicit((("1/2",),))
        (True, False)
    """
    return all(entry == 0 for i, row in enumerate(exact_matrix(a)) for entry in row[i:])

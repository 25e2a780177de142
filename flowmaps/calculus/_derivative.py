"""The ways to take a derivative of a flow map, by name."""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from flowmaps._checks import brief
from flowmaps.calculus._differences import Differences
from flowmaps.calculus._dual import dual
from flowmaps.calculus._jvp import jvp

__all__ = ["DERIVATIVES", "Derivative", "as_derivative"]

Derivative = Callable[..., tuple[Tensor, Tensor]]
"""``jvp``, or what is called as it is: ``dual``, or ``Differences()``."""

DERIVATIVES: dict[str, Derivative] = {
    "forward": jvp,
    "differences": Differences(),
    "dual": dual,
}


def as_derivative(derivative: Any) -> Derivative:
    """Return what takes a derivative, given by name or as itself.

    Raises:
        TypeError: for what is neither a name nor can be called.
        ValueError: for another name.
    """
    if isinstance(derivative, str):
        if derivative not in DERIVATIVES:
            raise ValueError(
                f"derivative must be one of {tuple(DERIVATIVES)}, or called as fm.calculus.jvp is, "
                f"got {derivative!r}"
            )
        return DERIVATIVES[derivative]
    if isinstance(derivative, type) or not callable(derivative):
        raise TypeError(
            f"derivative must be one of {tuple(DERIVATIVES)}, or called as fm.calculus.jvp is, as "
            f"fm.calculus.Differences(step=1e-3), got {brief(derivative)}"
        )
    return cast(Derivative, derivative)

"""Heun's method with an embedded Euler step."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["Heun"]


class Heun(ExplicitRungeKutta):
    """Heun's trapezoidal method 2(1), two evaluations a step, fixed or adaptive steps.

    Source:
        Heun (1900), Neue Methoden zur approximativen Integration; the embedded method is Euler's.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.Heun()
        >>> one = torch.ones(1, 1)
        >>> fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=1).x.item()
        2.5
    """

    order = 2
    error_order = 1
    tableau = ButcherTableau.parse(c="0 1", a=["", "1"], b="1/2 1/2", b_error="-1/2 1/2")

"""Ralston's method of order 2."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["Ralston"]


class Ralston(ExplicitRungeKutta):
    """The method of order 2 with the least bound on its local error, two evaluations, fixed steps.

    Source:
        Ralston (1962), Runge-Kutta methods with minimum error bounds, Math. Comp. 16, 431-437.

    Example:
        >>> import torch, flowmaps as fm
        >>> method, one = fm.solvers.Ralston(), torch.ones(1, 1)
        >>> end = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=8).x
        >>> round(end.item(), 2)
        2.71
    """

    order = 2
    tableau = ButcherTableau.parse(c="0 2/3", a=["", "2/3"], b="1/4 3/4")

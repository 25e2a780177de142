"""The classical Runge-Kutta method."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["RK4"]


class RK4(ExplicitRungeKutta):
    """The classical Runge-Kutta method, order 4, four evaluations a step, fixed steps.

    Source:
        Kutta (1901), Beitrag zur naeherungsweisen Integration totaler Differentialgleichungen.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.RK4()
        >>> one = torch.ones(1, 1)
        >>> end = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=8).x
        >>> round(end.item(), 4)
        2.7183
    """

    order = 4
    tableau = ButcherTableau.parse(
        c="0 1/2 1/2 1", a=["", "1/2", "0 1/2", "0 0 1"], b="1/6 1/3 1/3 1/6"
    )

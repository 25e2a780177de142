"""The explicit midpoint rule."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["Midpoint"]


class Midpoint(ExplicitRungeKutta):
    """The explicit midpoint rule, order 2, two evaluations a step, fixed steps.

    Source:
        Runge (1895), Ueber die numerische Aufloesung von Differentialgleichungen.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.Midpoint()
        >>> one = torch.ones(1, 1)
        >>> fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=1).x.item()
        2.5
    """

    order = 2
    tableau = ButcherTableau.parse(c="0 1/2", a=["", "1/2"], b="0 1")

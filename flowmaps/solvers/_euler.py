"""Euler's method."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["Euler"]


class Euler(ExplicitRungeKutta):
    """Euler's method, order 1, one evaluation a step, fixed steps.

    Source:
        Euler (1768), Institutionum calculi integralis, volume 1, chapter 7.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.Euler()
        >>> one = torch.ones(1, 1)
        >>> fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=2).x.item()
        2.25
    """

    order = 1
    tableau = ButcherTableau.parse(c="0", a=[""], b="1")

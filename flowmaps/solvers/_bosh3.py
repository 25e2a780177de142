"""The Bogacki-Shampine 3(2) pair."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["Bosh3"]


class Bosh3(ExplicitRungeKutta):
    """The Bogacki-Shampine pair 3(2) with cubic Hermite dense output, three evaluations a step.

    Source:
        Bogacki, Shampine (1989), A 3(2) pair of Runge-Kutta formulas, Appl. Math. Letters 2,
            321-325.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.Bosh3()
        >>> solution = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, torch.ones(1, 1), method=method)
        >>> round(solution.x.item(), 4)
        2.7183
    """

    order = 3
    error_order = 2
    tableau = ButcherTableau.parse(
        c="0 1/2 3/4 1",
        a=["", "1/2", "0 3/4", "2/9 1/3 4/9"],
        b="2/9 1/3 4/9 0",
        b_error="-5/72 1/12 1/9 -1/8",
    )

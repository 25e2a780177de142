"""The strong-stability-preserving Runge-Kutta method of order 3."""

from flowmaps.solvers._runge_kutta import ExplicitRungeKutta
from flowmaps.solvers._tableau import ButcherTableau

__all__ = ["SSPRK3"]


class SSPRK3(ExplicitRungeKutta):
    """The Shu-Osher method of order 3, three evaluations a step, fixed steps.

    A convex combination of Euler steps: whatever norm or bound a step of Euler's method keeps, for
    total variation or positivity say, this one keeps for steps as long (its constant is 1).

    Source:
        Shu, Osher (1988), Efficient implementation of essentially non-oscillatory shock-capturing
            schemes, J. Comp. Phys. 77, 439-471, equation 2.18. Gottlieb, Shu, Tadmor (2001),
            Strong stability-preserving high-order time discretization methods, SIAM Review 43,
            89-112, equation 4.2.

    Example:
        >>> import torch, flowmaps as fm
        >>> method, one = fm.solvers.SSPRK3(), torch.ones(1, 1)
        >>> end = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, one, method=method, steps=8).x
        >>> round(end.item(), 3)
        2.718
    """

    order = 3
    tableau = ButcherTableau.parse(c="0 1 1/2", a=["", "1", "1/4 1/4"], b="1/6 1/6 2/3")

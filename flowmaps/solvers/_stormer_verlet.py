"""The Stormer-Verlet method."""

from flowmaps.solvers._symplectic import Symplectic

__all__ = ["StormerVerlet"]


class StormerVerlet(Symplectic):
    """The Stormer-Verlet (leapfrog) method, order 2, three evaluations a step, fixed steps.

    Half a drift, a kick in the middle, half a drift: a step back undoes a step. For separable
    Hamiltonians; see ``Symplectic`` for the state and the field.

    Source:
        Verlet (1967), Computer "experiments" on classical fluids I, Physical Review 159, 98-103.
            Hairer, Lubich, Wanner (2003), Geometric numerical integration illustrated by the
            Stormer-Verlet method, Acta Numerica 12, 399-450, section 1.

    Example:
        >>> import torch, flowmaps as fm
        >>> spring = lambda t, x: (x[1], -x[0])  # of a pair (q, p)
        >>> x, method = (torch.ones(1, 1), torch.zeros(1, 1)), fm.solvers.StormerVerlet()
        >>> q, p = fm.solvers.solve(spring, 0.0, 1.0, x, method=method, steps=1).x
        >>> q.item(), p.item()
        (0.5, -1.0)
    """

    order = 2
    drifts = 0.5, 0.5
    kicks = (1.0,)

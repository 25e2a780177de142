"""The symplectic Euler method."""

from flowmaps.solvers._symplectic import Symplectic

__all__ = ["SemiImplicitEuler"]


class SemiImplicitEuler(Symplectic):
    """The symplectic Euler method, order 1, two evaluations a step, fixed steps.

    A kick, then a drift with the new momenta. For separable Hamiltonians; see ``Symplectic`` for
    the state and the field.

    Source:
        de Vogelaere (1956), Methods of integration which preserve the contact transformation
            property of the Hamilton equations, report 4, University of Notre Dame. Hairer, Lubich,
            Wanner (2006), Geometric numerical integration, section VI.3, theorem 3.3.

    Example:
        >>> import torch, flowmaps as fm
        >>> spring = lambda t, x: torch.stack([x[:, 1], -x[:, 0]], dim=1)
        >>> x, method = torch.tensor([[1.0, 0.0]]), fm.solvers.SemiImplicitEuler()
        >>> fm.solvers.solve(spring, 0.0, 0.5, x, method=method, steps=1).x.tolist()
        [[0.75, -0.5]]
    """

    order = 1
    drifts = 0.0, 1.0
    kicks = (1.0,)

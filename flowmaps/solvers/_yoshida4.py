"""Yoshida's method of order 4."""

from flowmaps.solvers._symplectic import Symplectic

__all__ = ["Yoshida4"]

OUTER = 1 / (2 - 2 ** (1 / 3))
INNER = 1 - 2 * OUTER
"""Negative: OUTER^3 + INNER^3 + OUTER^3 = 0 takes the error of order 3 away."""


class Yoshida4(Symplectic):
    """The triple jump of Stormer-Verlet steps, order 4, seven evaluations a step, fixed steps.

    Its parts are 1.35, -1.70 and 1.35 steps long. For separable Hamiltonians; see ``Symplectic``
    for the state and the field.

    Kicks are at times inside the step. Drifts are at times up to .36 steps outside: where dq/dt
    depends on time (no potential makes it do so) and ``solve`` keeps times inside the span, the
    first and the last step are of order 1 alone and the whole of order 2.

    Source:
        Yoshida (1990), Construction of higher order symplectic integrators, Physics Letters A 150,
            262-268. Forest, Ruth (1990), Fourth-order symplectic
            integration, Physica D 43, 105-117.

    Example:
        >>> import torch, flowmaps as fm
        >>> spring = lambda t, x: torch.stack([x[:, 1], -x[:, 0]], dim=1)
        >>> x, method = torch.tensor([[1.0, 0.0]]), fm.solvers.Yoshida4()
        >>> end = fm.solvers.solve(spring, 0.0, 1.0, x, method=method, steps=10).x
        >>> [round(value, 4) for value in end[0].tolist()]  # cos 1, -sin 1
        [0.5403, -0.8415]
    """

    order = 4
    drifts = OUTER / 2, (OUTER + INNER) / 2, (INNER + OUTER) / 2, OUTER / 2
    kicks = OUTER, INNER, OUTER

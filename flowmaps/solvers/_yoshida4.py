"""Yoshida's method of order 4."""

from collections.abc import Iterator, Sequence

from flowmaps._checks import brief
from flowmaps.solvers._symplectic import Part, Symplectic

__all__ = ["Yoshida4"]

OUTER = 1 / (2 - 2 ** (1 / 3))
INNER = 1 - 2 * OUTER
"""Negative: OUTER^3 + INNER^3 + OUTER^3 = 0 takes the error of order 3 away."""


class Yoshida4(Symplectic):
    """The triple jump of Stormer-Verlet steps, order 4, seven evaluations a step, fixed steps.

    Its parts are 1.35, -1.70 and 1.35 steps long. For separable Hamiltonians; see ``Symplectic``
    for the state and the field.

    Kicks are at times inside the step, drifts up to .36 steps outside. Where dq/dt depends on time,
    which no potential makes it do, the field may not exist there, and ``solve``, which keeps times
    inside the span, refuses it. With ``kinetic_time`` the parts of every Verlet step are at its
    middle instead, all inside the step, for nine evaluations.

    Args:
        kinetic_time: whether dq/dt depends on time.

    Raises:
        TypeError: if it is neither true nor false.

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

    def __init__(self, kinetic_time: bool = False):
        if not isinstance(kinetic_time, bool):
            raise TypeError(f"kinetic_time must be True or False, got {brief(kinetic_time)}")
        self.kinetic_time = kinetic_time
        if kinetic_time:
            self.parts = tuple(_at_the_middles(self.kicks))

    def config(self) -> dict[str, object]:
        """Return the constructor's keyword arguments."""
        return {"kinetic_time": self.kinetic_time} if self.kinetic_time else {}


def _at_the_middles(lengths: Sequence[float]) -> Iterator[Part]:
    """Yield Verlet steps of these lengths, each frozen at the time of its middle.

    Such a step, between two halves of its time, is symmetric: the triple jump has order 4.
    """
    begin = 0.0
    for length in lengths:
        middle = begin + length / 2
        yield Part(True, length / 2, middle)
        yield Part(False, length, middle)
        yield Part(True, length / 2, middle)
        begin += length

"""The step that all explicit symplectic methods for separable Hamiltonians share."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._method import Step, Stepper
from flowmaps.solvers._runge_kutta import plus

__all__ = ["Part", "Symplectic"]


class Part(NamedTuple):
    """A drift, or else a kick: its length and its time, as fractions of the step."""

    drifts: bool
    length: float
    time: float


class Symplectic(Stepper):
    """Drifts and kicks in turn, of fixed steps; a subclass is their coefficients with its order.

    For H(q, p, t) = T(p, t) + V(q, t), that is b(t, (q, p)) = (dT/dp, -dV/dq): dq/dt depends on p
    and time alone, dp/dt on q and time alone. For a field that is not of this form a step is
    neither symplectic nor of its order; ``solve`` probes the field once and refuses it.

    The last axis of the state holds the positions q and then as many momenta p. In a pytree such as
    ``(q, p)``, all numbers in the order of its leaves, the first half are positions; of a complex
    tensor, the real parts. A drift moves q by the q half of the field at the present
    state, a kick p by its p half. As only the whole field is given, each drift and each kick is one
    evaluation of it, half of which is used.

    Time, where the field depends on it, moves with the state: p is as far as the kicks have
    gone, which is the time of a drift, and q as far as the drifts have gone, the time of a kick.
    Both are then exact flows of one half of the Hamiltonian in a phase space extended by two
    clocks, so that the order holds as for autonomous systems (Hairer, Lubich, Wanner (2006),
    Geometric numerical integration, section II.5).

    ``drifts`` and ``kicks`` are fractions of the step, in turn: a drift first, which may be zero,
    and last.

    Example:
        >>> import torch, flowmaps as fm
        >>> class VelocityVerlet(fm.solvers.Symplectic):  # a kick first and last
        ...     order = 2
        ...     drifts = 0.0, 1.0, 0.0
        ...     kicks = 0.5, 0.5
        >>> spring = lambda t, x: torch.stack([x[:, 1], -x[:, 0]], dim=1)
        >>> x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> end = fm.solvers.solve(spring, 0.0, 100.0, x, method=VelocityVerlet(), steps=1000).x
        >>> round(end.square().sum().item(), 2)
        1.0
    """

    drifts: tuple[float, ...]
    kicks: tuple[float, ...]
    parts: tuple[Part, ...]

    def __init_subclass__(cls) -> None:
        cls.parts = tuple(_in_turn(cls.drifts, cls.kicks))

    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h; see Stepper.step.

        Raises:
            ValueError: if the last axis does not hold two halves.
        """
        half, width = self.half(x), per_sample(h, x)
        q, p, stages = x[..., :half], x[..., half:], [] if first is None else [first]
        for k, part in enumerate(self.parts):
            if k or first is None or part.time:
                stages.append(field(plus(t, part.time, h), torch.cat([q, p], dim=-1)))
            rate = width * stages[-1]
            if part.drifts:
                q = plus(q, part.length, rate[..., :half])
            else:
                p = plus(p, part.length, rate[..., half:])
        return Step(torch.cat([q, p], dim=-1), None, tuple(stages), None)

    def evaluations(self, known_first: bool) -> int:
        """Count the field evaluations of one step: its drifts and kicks."""
        return len(self.parts) - (known_first and not self.parts[0].time)

    def half(self, x: State) -> int:
        """Return the number of positions on the last axis.

        Raises:
            ValueError: if there are not as many momenta.
        """
        length = x.shape[-1] if x.ndim > 1 else 1
        if length % 2:
            raise ValueError(
                f"{type(self).__name__} needs positions and then as many momenta on the last axis "
                f"of the state, got shape {tuple(x.shape)}; give (batch, ..., 2 n) or a pair (q, p)"
            )
        return length // 2


def _in_turn(drifts: Sequence[float], kicks: Sequence[float]) -> Iterator[Part]:
    """Yield drifts and kicks at the times to which the others have come."""
    drifted = kicked = 0.0
    for drift, kick in zip(drifts, (*kicks, 0.0), strict=True):
        if drift:
            yield Part(True, drift, kicked)
            drifted += drift
        if kick:
            yield Part(False, kick, drifted)
            kicked += kick

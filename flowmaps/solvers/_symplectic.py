"""The step that all explicit symplectic methods for separable Hamiltonians share."""

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._method import Step, Stepper
from flowmaps.solvers._runge_kutta import plus

__all__ = ["Symplectic"]


class Symplectic(Stepper):
    """Drifts and kicks in turn, of fixed steps; a subclass is their coefficients with its order.

    For H(q, p, t) = T(p, t) + V(q, t), that is b(t, (q, p)) = (dT/dp, -dV/dq): dq/dt depends on p
    and time alone, dp/dt on q and time alone. A field that is not of this form is not refused; the
    step is then neither symplectic nor of its order.

    The last axis of the state holds the positions q and then as many momenta p; a pair ``(q, p)``
    of tensors of one size does as well. A drift moves q by the q half of the field at the present
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

    def step(self, field: Field, t: Clock, h: Clock, x: State, first: State | None = None) -> Step:
        """Advance x from t to t + h; see Stepper.step.

        Raises:
            ValueError: if the last axis does not hold two halves.
        """
        half, width = self._half(x), per_sample(h, x)
        q, p, drifted, kicked = x[..., :half], x[..., half:], 0.0, 0.0
        stages: list[Tensor] = []

        def value(fraction: float) -> Tensor:
            if not stages and first is not None:
                stages.append(first)
            else:
                stages.append(field(plus(t, fraction, h), torch.cat([q, p], dim=-1)))
            return width * stages[-1]

        for drift, kick in zip(self.drifts, (*self.kicks, 0.0), strict=True):
            if drift:
                q = plus(q, drift, value(kicked)[..., :half])
                drifted += drift
            if kick:
                p = plus(p, kick, value(drifted)[..., half:])
                kicked += kick
        return Step(torch.cat([q, p], dim=-1), None, tuple(stages), None)

    def evaluations(self, known_first: bool) -> int:
        """Count the field evaluations of one step: its drifts and kicks."""
        return sum(weight != 0 for weight in (*self.drifts, *self.kicks)) - known_first

    def _half(self, x: State) -> int:
        length = x.shape[-1] if x.ndim > 1 else 1
        if length % 2:
            raise ValueError(
                f"{type(self).__name__} needs positions and then as many momenta on the last axis "
                f"of the state, got shape {tuple(x.shape)}; give (batch, ..., 2 n) or a pair (q, p)"
            )
        return length // 2

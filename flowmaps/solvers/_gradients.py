"""How the derivatives of a solve are taken: of its steps, or by the adjoint equation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from flowmaps._checks import as_positive, brief
from flowmaps.solvers._method import Method
from flowmaps.solvers._torchdiffeq import TorchDiffEq

__all__ = ["ContinuousAdjoint", "DiscreteGradient", "Gradient", "check_gradient"]


class Gradient(ABC):
    """A way to take the derivatives of a solve.

    Example:
        >>> import flowmaps as fm
        >>> isinstance(fm.solvers.DiscreteGradient(), fm.solvers.Gradient)
        True
    """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""


@final
@dataclass(frozen=True)
class DiscreteGradient(Gradient):
    """Differentiate the steps themselves, in forward and reverse mode and all their nestings.

    By default the accepted steps are followed with the fractions of the span at which they end
    frozen: exact derivatives of the map that these steps compose, and as smooth as it is. What the
    step sizes would add is of the size of the tolerance and changes wildly with the data.

    Args:
        checkpoint: keep the states at some sqrt(n) of n steps alone, and compute what backward
            needs of the steps between anew: memory O(sqrt(n)) for one more evaluation of every
            step, gradients the same to rounding, second ones too. What the field holds must not be
            changed before backward. Concerns ordinary backward; forward mode holds nothing, and
            under ``torch.func`` and in compiled code, where torch has no such means, the steps are
            followed as they are, with the same values and derivatives; so they are, with a warning,
            for a field that calls ``torch.func.grad``, ``vjp`` or ``jacrev`` itself.
        step_sizes: differentiate the choice of the steps as well, rejected ones included: the
            derivative of what the program computes, as finite differences of it see it, at the
            cost of a graph of every attempt. For studies of that program; it is no closer to the
            derivative of the flow.

    Raises:
        TypeError: for options that are not truth values.
        ValueError: for both at once: which steps are to be kept is not known before.

    Source:
        Checkpoints: Griewank (1992), Achieving logarithmic growth of temporal and spatial
            complexity in reverse automatic differentiation; with one level of them, Chen, Xu,
            Zhang, Guestrin (2016), Training deep nets with sublinear memory cost, arXiv:1604.06174.
            Step sizes: Eberhard, Bischof (1999), Automatic differentiation of numerical integration
            algorithms, Math. Comp. 68, 717-731.

    Example:
        >>> import torch, flowmaps as fm
        >>> x = torch.ones(1, 1, requires_grad=True)
        >>> sparing = fm.solvers.DiscreteGradient(checkpoint=True)
        >>> fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, x, gradient=sparing).x.sum().backward()
        >>> round(x.grad.item(), 4)
        0.3679
    """

    checkpoint: bool = False
    step_sizes: bool = False

    def __post_init__(self) -> None:
        for name, value in self.config().items():
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False, got {brief(value)}")
        if self.checkpoint and self.step_sizes:
            raise ValueError(
                "checkpoint=True follows a recorded grid and step_sizes=True differentiates the "
                "search for it; choose one"
            )

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"checkpoint": self.checkpoint, "step_sizes": self.step_sizes}


@final
@dataclass(frozen=True, eq=False)
class ContinuousAdjoint(Gradient):
    """Solve the adjoint equation backwards in time, every sample by its own error control.

    With X the solution, a = dL/dX satisfies da/dr = -a Db(r, X) from t back to s; then
    dL/dx = a(s), dL/dt = a(t) b(t, X), dL/ds = -a(s) b(s, x), and the gradients of condition and
    parameters are integrals of a db over the way. First derivatives in reverse mode, in memory that
    does not grow with the number of steps. They are as exact as the tolerances, where those of
    DiscreteGradient are exact to rounding for the steps taken.

    The steps are chosen by the errors of X and a alone: condition and parameters are quadratures
    over these steps, without a part in any error estimate and without states of their own. Before
    it is integrated the adjoint of every sample is scaled to a greatest entry of one, so that the
    tolerances mean the same for every loss.

    With ``save_at`` it solves from each of the times to the next, and keeps the states there.

    X is integrated backwards along with a, from its end. A field that contracts expands backwards,
    and what comes out is then no longer the solution that was differentiated. So the start that is
    found is compared with the true one: a sample that misses it by more than a hundred tolerances
    raises SolveError in backward, or, in a solve with ``throw=False``, gets NaN (so do parameters
    that all samples share). With ``record=True`` X is instead read from the dense output of the
    solve, which is stable for every field and needs, for every step, the state and the slopes of
    the interpolant (five states for Tsit5), whatever the field holds inside.

    Args:
        rtol, atol: tolerances of the backward solve; those of the solve by default.
        parameters: the tensors that the field holds and gradients are wanted for. By default they
            are found: those that the first and the last value of the field depend on.
        record: keep the dense output instead of integrating backwards.

    Raises:
        TypeError, ValueError: for options that cannot be meant, such as ``dense``, whose values
            have no derivatives here; where the solve starts, for a tensor that requires a gradient,
            is held by the field and missing from ``parameters``.
        UnsupportedTransform: in forward mode, under ``torch.func`` and for second derivatives.

    Source:
        Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural ordinary differential equations,
            arXiv:1806.07366. States that are lost backwards: Gholami, Keutzer, Biros (2019), ANODE,
            arXiv:1902.10298. Parameters without a part in the error: Kidger, Chen, Lyons (2021),
            "Hey, that's not an ODE", arXiv:2009.09457. Reading the dense output: Hindmarsh et al.
            (2005), SUNDIALS, ACM Trans. Math. Softw. 31, 363-396.

    Example:
        >>> import torch, flowmaps as fm
        >>> x = torch.ones(1, 1, requires_grad=True)
        >>> adjoint = fm.solvers.ContinuousAdjoint()
        >>> fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, x, gradient=adjoint).x.sum().backward()
        >>> round(x.grad.item(), 4)
        0.3679
    """

    rtol: float | None = None
    atol: float | None = None
    parameters: Sequence[Tensor] | None = None
    record: bool = False

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if value is not None:
                as_positive(value, name)
        if not isinstance(self.record, bool):
            raise TypeError(f"record must be True or False, got {brief(self.record)}")
        if self.parameters is None:
            return
        if isinstance(self.parameters, Tensor):
            raise TypeError("parameters must be a list of tensors, got one tensor")
        named = tuple(self.parameters)
        wrong = [a for a in named if not (isinstance(a, Tensor) and a.requires_grad)]
        if wrong:
            raise TypeError(
                f"parameters must be tensors that require gradients, got {brief(wrong[0])}; "
                "a module's are module.parameters()"
            )
        object.__setattr__(self, "parameters", named)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments.

        Raises:
            ValueError: with ``parameters``, which would be other tensors when loaded.
        """
        if self.parameters is not None:
            raise ValueError(
                "a ContinuousAdjoint with parameters= cannot be saved, for they would be other "
                "tensors when loaded; leave them out, and they are found"
            )
        return {"rtol": self.rtol, "atol": self.atol, "record": self.record}


def check_gradient(
    gradient: Gradient | None,
    method: Method,
    steps: Any,
    dense: bool = False,
    saves: bool = False,
) -> Gradient:
    """Return the way to take derivatives; raise TypeError or ValueError where it cannot be meant.

    Args:
        gradient: as the user gave it.
        method: of the solve.
        steps: their number, None for error control.
        dense: whether the solve is to have dense output.
        saves: whether it is to save states along the way.
    """
    if gradient is None:
        return DiscreteGradient()
    if not isinstance(gradient, DiscreteGradient | ContinuousAdjoint):
        raise TypeError(
            "gradient must be flowmaps.solvers.DiscreteGradient(...) or ContinuousAdjoint(...), "
            f"got {brief(gradient)}"
        )
    if isinstance(method, TorchDiffEq) and gradient != DiscreteGradient():
        raise ValueError(
            "TorchDiffEq takes its derivatives by itself, with TorchDiffEq(adjoint=True) by its "
            "adjoint; leave gradient out"
        )
    if isinstance(gradient, ContinuousAdjoint):
        if dense:
            raise ValueError(
                "dense output has no derivatives by ContinuousAdjoint; give the times as save_at, "
                "or take DiscreteGradient(checkpoint=True)"
            )
        if saves and steps is not None:
            raise ValueError(
                "ContinuousAdjoint solves from one time of save_at to the next, where steps= has "
                "no meaning; leave one of them out"
            )
    elif gradient.step_sizes and steps is not None:
        raise ValueError(
            "step_sizes=True differentiates the controller, which steps= switches off; "
            "leave one of them out"
        )
    return gradient

"""torchdiffeq as an alternative backend."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._transforms import carries_tangent, is_transformed
from flowmaps._typing import Clock, Field, State
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._method import Method

__all__ = ["TorchDiffEq"]


class TorchDiffEq(Method):
    """Solve with torchdiffeq; every sample keeps its own times, but all samples share the steps.

    The time of each sample is mapped to [0, 1], where torchdiffeq integrates (t - s) b. Reverse mode works;
    forward mode, vmap and compile raise UnsupportedTransform.

    Args:
        name: one of torchdiffeq's methods, such as ``"dopri5"``, ``"dopri8"``, ``"bosh3"``, ``"rk4"``.
        adjoint: use ``odeint_adjoint``; the field must then be an ``nn.Module`` for its parameters' gradients.
        options: passed on to torchdiffeq.

    Raises:
        ValueError: if torchdiffeq has no such method.

    Source:
        Chen (2018), torchdiffeq.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.TorchDiffEq("dopri5")
        >>> round(fm.solvers.solve(lambda t, x: x, 0.0, 1.0, torch.ones(1, 1), method=method).x.item(), 3)
        2.718
    """

    def __init__(
        self, name: str = "dopri5", adjoint: bool = False, options: Mapping[str, Any] | None = None
    ):
        from torchdiffeq._impl.odeint import SOLVERS

        if name not in SOLVERS:
            raise ValueError(f"torchdiffeq has no method {name!r}; it has {', '.join(sorted(SOLVERS))}")
        self.name, self.adjoint, self.options = name, adjoint, dict(options or {})

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"name": self.name, "adjoint": self.adjoint, "options": self.options}

    def integrate(
        self, field: Field, s: Clock, t: Clock, x: State, rtol: float, atol: float
    ) -> tuple[Tensor, int]:
        """Return the end state (batch, *event) and the number of field evaluations.

        Raises:
            UnsupportedTransform: in forward mode, under vmap and under compile.
        """
        import torchdiffeq

        if torch.compiler.is_compiling() or is_transformed(x) or carries_tangent((s, t, x)):
            raise UnsupportedTransform(
                "TorchDiffEq passes neither forward mode nor torch.func nor compile; use a method of "
                "flowmaps.solvers such as Tsit5()"
            )
        span, count = t - s, [0]

        def scaled(fraction: Tensor, state: Tensor) -> Tensor:
            count[0] += 1
            return per_sample(span, state) * field(s + fraction * span, state)

        odeint = torchdiffeq.odeint_adjoint if self.adjoint else torchdiffeq.odeint
        extra = {"adjoint_params": _parameters(field)} if self.adjoint else {}
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=x.device)
        path = odeint(
            scaled, x, ends, method=self.name, rtol=rtol, atol=atol, options=self.options or None, **extra
        )
        return path[-1], count[0]


def _parameters(field: Any) -> tuple[Tensor, ...]:
    return tuple(field.parameters()) if hasattr(field, "parameters") else ()

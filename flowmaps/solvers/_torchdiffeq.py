"""torchdiffeq as an alternative backend."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import per_sample
from flowmaps._transforms import carries_tangent, is_transformed
from flowmaps._typing import Clock, State
from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._captured import adjoint_inputs
from flowmaps.solvers._method import Method
from flowmaps.solvers._solution import Result

__all__ = ["TorchDiffEq"]


class TorchDiffEq(Method):
    """Solve with torchdiffeq; every sample keeps its own times, but all samples share the steps.

    The time of each sample is mapped to [0, 1], where torchdiffeq integrates (t - s) b. Reverse
    mode works; forward mode and torch.func raise UnsupportedTransform. One sample that fails fails
    the batch; statistics count evaluations, not steps; there is no dense output.

    Args:
        name: one of torchdiffeq's methods, such as ``"dopri5"``, ``"dopri8"``, ``"bosh3"``.
        adjoint: solve the adjoint equation backwards (``odeint_adjoint``): constant memory,
            first derivatives only, in x, s, t, condition and all that the field's first value
            depends on.
        options: passed on to torchdiffeq. Methods of fixed steps, such as ``"rk4"``, need
            ``step_size``, as a fraction of the span, or ``grid_constructor``.

    Raises:
        ValueError: if torchdiffeq has no such method, or it has fixed steps and no size for them.

    Source:
        Chen (2018), torchdiffeq; adjoint: Chen, Rubanova, Bettencourt, Duvenaud (2018), Neural
            ordinary differential equations, arXiv:1806.07366.

    Example:
        >>> import torch, flowmaps as fm
        >>> method = fm.solvers.TorchDiffEq("dopri5")
        >>> solution = fm.solvers.solve(lambda t, x: x, 0.0, 1.0, torch.ones(1, 1), method=method)
        >>> round(solution.x.item(), 3)
        2.718
    """

    def __init__(
        self,
        name: str = "dopri5",
        adjoint: bool = False,
        options: Mapping[str, Any] | None = None,
    ):
        from torchdiffeq._impl.odeint import SOLVERS
        from torchdiffeq._impl.solvers import FixedGridODESolver

        # scipy_solver has neither derivatives nor a bound on its steps.
        names = sorted(set(SOLVERS) - {"scipy_solver"})
        if name not in names:
            raise ValueError(f"TorchDiffEq takes one of {', '.join(names)}, got {name!r}")
        self.name, self.adjoint, self.options = name, adjoint, dict(options or {})
        self._fixed = issubclass(SOLVERS[name], FixedGridODESolver)
        if self._fixed and not {"step_size", "grid_constructor"} & set(self.options):
            raise ValueError(
                f"{name!r} takes fixed steps and would take a single one; "
                "give options={'step_size': 0.01}, as a fraction of the span"
            )

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"name": self.name, "adjoint": self.adjoint, "options": self.options}

    def integrate(
        self,
        field: BoundField,
        s: Clock,
        t: Clock,
        x: State,
        first: State,
        rtol: Tensor,
        atol: Tensor,
        max_steps: int,
    ) -> tuple[Tensor, int, Result | None]:
        """Return the end state (batch, *event), the number of field evaluations and why it failed.

        Raises:
            UnsupportedTransform: in forward mode and under torch.func.
        """
        import torchdiffeq

        sources = [s, t, x, *pytree.tree_leaves(field.extra)]
        seen = [first, *(a for a in sources if a is not None)]
        if any(map(is_transformed, seen)) or carries_tangent(seen):
            raise UnsupportedTransform(
                "TorchDiffEq passes neither forward mode nor torch.func; use a method of "
                "flowmaps.solvers such as Tsit5()"
            )
        span, calls = t - s, 0

        def scaled(fraction: Tensor, state: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return per_sample(span, state) * field(s + fraction * span, state)

        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=x.device)
        options = dict(self.options)
        if not self._fixed:
            options.setdefault("max_num_steps", max_steps)
            # Else torchdiffeq steps past the end, where the field is not asked, and interpolates.
            options.setdefault("step_t", ends[1:])
        extra: dict[str, Any] = {"rtol": _plain(rtol), "atol": _plain(atol)}
        odeint = torchdiffeq.odeint
        if self.adjoint:
            odeint, extra["adjoint_params"] = (
                torchdiffeq.odeint_adjoint,
                adjoint_inputs(first, sources),
            )
        try:
            path = odeint(scaled, x, ends, method=self.name, options=options, **extra)
        except AssertionError as error:
            failure = _reason(error)
            if failure is None:
                raise
            return x, calls, failure
        y = torch.as_tensor(path)[-1]
        if self.adjoint and y.requires_grad:
            y.register_hook(_refuse_second_derivatives)
        return y, calls, None


def _plain(tolerance: Tensor) -> Any:
    """Return one tolerance for all components as a number."""
    return tolerance.item() if tolerance.ndim == 0 else tolerance


def _refuse_second_derivatives(gradient: Tensor) -> None:
    if torch.is_grad_enabled():  # as it is in backward(create_graph=True) alone
        raise UnsupportedTransform(
            "torchdiffeq's adjoint has no second derivatives; use adjoint=False"
        )


def _reason(error: AssertionError) -> Result | None:
    if "max_num_steps" in str(error):
        return Result.MAX_STEPS
    if "underflow" in str(error) or "non-finite" in str(error):
        return Result.BACKEND_FAILED
    return None

"""The flow map of a field by numerical integration."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowmaps import solvers
from flowmaps._checks import as_clock, check_state
from flowmaps._transforms import any_item, carries_derivative
from flowmaps._typing import Condition, Field, Time
from flowmaps.maps._flow_map import FlowMap, time_rows
from flowmaps.maps._relation import by_relation_allowed
from flowmaps.maps._times import TimeSet
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._solve import check_options

__all__ = ["SolverFlowMap"]

_END_STEP = solvers.RK4()
"""Steps of length zero at both ends carry the time derivatives, exact up to the fourth."""


class SolverFlowMap(FlowMap):
    """The flow map of a field, computed by an ODE solver for every sample with its own times.

    Derivatives in x and condition differentiate the solver's steps. Derivatives in s and t come by default from
    the relation itself (dX/dt = b at the end, -DX b at the start): fast and exact to the solver's tolerance, but
    no evidence that the map is right; residuals therefore use the independent ones.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``.
        method: a method of ``flowmaps.solvers``; ``Tsit5()`` by default.
        rtol, atol: tolerances of the local error.
        steps: number of equal steps over each sample's span; switches error control off.
        controller: step-size controller, ``PI()`` by default.
        max_steps: bound on attempted steps of a sample.
        derivatives: ``"by relation"`` or ``"independent"``, for s and t.
        throw: raise SolveError if a sample fails; otherwise failed samples are NaN.
        times: pairs of times that the map is for; all by default.

    Raises:
        TypeError, ValueError: for options that cannot be meant; when called, for a field that is not per-sample.

    Example:
        >>> import torch, flowmaps as fm
        >>> rotation = fm.maps.SolverFlowMap(lambda t, x: torch.stack([-x[:, 1], x[:, 0]], dim=1))
        >>> quarter = rotation(0.0, torch.pi / 2, torch.tensor([[1.0, 0.0]]))
        >>> torch.allclose(quarter, torch.tensor([[0.0, 1.0]]), atol=1e-4)
        True
    """

    def __init__(
        self,
        field: Field,
        method: solvers.Method | None = None,
        rtol: float = 1e-6,
        atol: float = 1e-6,
        steps: int | None = None,
        controller: solvers.Controller | None = None,
        max_steps: int = 10_000,
        derivatives: str = "by relation",
        throw: bool = True,
        times: TimeSet | None = None,
    ):
        super().__init__(times)
        method = solvers.Tsit5() if method is None else method
        controller = solvers.PI() if controller is None else controller
        if not callable(field):
            raise TypeError(f"field must be a callable b(t, x), got {type(field).__name__}")
        if derivatives not in ("by relation", "independent"):
            raise ValueError(f'derivatives must be "by relation" or "independent", got {derivatives!r}')
        check_options(method, rtol, atol, steps, controller, max_steps)
        self.field = field
        self._options = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "steps": steps,
            "controller": controller,
            "max_steps": max_steps,
            "throw": throw,
        }
        self._derivatives = derivatives
        self._probed: set[tuple] = set()

    @property
    def derivatives(self) -> str:
        """``"by relation"`` or ``"independent"``, as chosen."""
        return self._derivatives

    def solve(self, s: Time, t: Time, x: Tensor, condition: Condition = None) -> solvers.Solution:
        """Return the whole Solution of X_{s,t}(x): result codes and statistics too; never raises SolveError."""
        return solvers.solve(self.field, s, t, x, condition, **{**self._options, "throw": False})

    def velocity(self, t: Time, x: Tensor, condition: Condition = None) -> Tensor:
        """Return the field at (t, x), (batch, *event)."""
        check_state(x)
        return BoundField(self.field, condition)(as_clock(t, x, "t"), x)

    def along(
        self, s: Time, times: Tensor | Sequence[float], x: Tensor, condition: Condition = None
    ) -> Tensor:
        """Return the states at many times, (n_times, batch, *event); see FlowMap.along.

        An adaptive solver goes once through the sorted times, later ones and earlier ones than s apart, and
        stops at each, so every state has the tolerance of a call of its own.
        """
        if self._options["steps"] is not None or isinstance(self._options["method"], solvers.TorchDiffEq):
            return super().along(s, times, x, condition)
        check_state(x)
        start, rows = as_clock(s, x, "s"), time_rows(times, x)
        after = rows >= start
        path = self._chain(start, torch.where(after, rows, start), x, condition, descending=False)
        if not any_item(~after):
            return path
        before = torch.where(after, start, rows)
        wide = after.reshape(*after.shape, *([1] * (x.ndim - 1)))
        return torch.where(wide, path, self._chain(start, before, x, condition, descending=True))

    def _chain(
        self, start: Tensor, rows: Tensor, x: Tensor, condition: Condition, descending: bool
    ) -> Tensor:
        """Visit the rows (n_times, batch), all on one side of start, in each sample's own order."""
        order = rows.detach().argsort(dim=0, descending=descending, stable=True)
        rank = order.argsort(dim=0)
        states, time = [], start
        for stop in rows.gather(0, order):
            x = self(time, stop, x, condition)
            states.append(x)
            time = stop
        samples = torch.arange(len(x), device=x.device).expand_as(rank)
        return torch.stack(states)[rank, samples]

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        if not self._by_relation(s, t):
            return self._solved(s, t, x, condition)
        field = BoundField(self.field, condition)
        begin, end = as_clock(s, x, "s"), as_clock(t, x, "t")
        fixed_begin, fixed_end = begin.detach(), end.detach()
        x = _END_STEP.step(field, fixed_begin, fixed_begin - begin, x).x
        y = self._solved(fixed_begin, fixed_end, x, condition)
        return _END_STEP.step(field, fixed_end, end - fixed_end, y).x

    def _by_relation(self, s: float | Tensor, t: float | Tensor) -> bool:
        if self._derivatives == "independent" or not by_relation_allowed():
            return False
        if torch.compiler.is_compiling():
            return isinstance(s, Tensor) or isinstance(t, Tensor)
        return carries_derivative((s, t))

    def _solved(
        self, s: float | Tensor, t: float | Tensor, x: Tensor, condition: Condition
    ) -> Tensor:
        check_field = False
        if not torch.compiler.is_compiling():
            kind = (x.shape[1:], x.dtype, condition is None)
            check_field = kind not in self._probed
        y = solvers.solve(self.field, s, t, x, condition, check_field=check_field, **self._options).x
        if check_field:
            self._probed.add(kind)
        return y

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "field": self.field,
            **self._options,
            "derivatives": self._derivatives,
            "times": self.times,
        }

    def extra_repr(self) -> str:
        """Name the method and its accuracy."""
        shown = ("rtol", "atol") if self._options["steps"] is None else ("steps",)
        accuracy = ", ".join(f"{name}={self._options[name]}" for name in shown)
        return f"{self._options['method']!r}, {accuracy}"

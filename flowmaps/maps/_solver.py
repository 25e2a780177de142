"""The flow map of a field by numerical integration."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps import solvers
from flowmaps._checks import (
    as_clock,
    brief,
    check_condition,
    check_state,
    method_owner,
    repeat_rows,
)
from flowmaps._probing import probe_once
from flowmaps._transforms import any_item, carries_derivative
from flowmaps._typing import Clock, Condition, Count, Field, State, Time
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._relation import by_relation_allowed
from flowmaps.maps._times import TimeSet
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._options import check_options

__all__ = ["SolverFlowMap"]

_END_STEP = solvers.RK4()
"""Steps of length zero at both ends carry the time derivatives, exact up to the fourth."""


@final
class SolverFlowMap(FlowMap):
    """The flow map of a field, computed by an ODE solver for every sample with its own times.

    Derivatives in x and condition differentiate the solver's steps. Derivatives in s and t come by
    default from the relation itself (dX/dt = b at the end, -DX b at the start): fast and exact to
    the solver's tolerance, but no evidence that the map is right; residuals therefore use the
    independent ones.

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
        compile: compile the adaptive march, for inference; see ``flowmaps.solvers.solve``.
        path: how an adaptive solver goes through the times of ``along``: ``"interpolated"``, one
            solve whose interpolant is read at all times, to the method's ``dense_order``; or
            ``"stops"``, one solve from each time to the next, as accurate as calls and, of many
            times, more, for a solve a time. A sample that fails is NaN at all times, or behind the
            last that it reached.

    Raises:
        TypeError, ValueError: for options that cannot be meant; when called, for a field that is
            not per-sample.

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
        rtol: solvers.Tolerance = 1e-6,
        atol: solvers.Tolerance = 1e-6,
        steps: Count | None = None,
        controller: solvers.Controller | None = None,
        max_steps: Count = 10_000,
        derivatives: str = "by relation",
        throw: bool = True,
        times: TimeSet | None = None,
        compile: bool | str = False,
        path: str = "interpolated",
    ):
        super().__init__(times)
        method = solvers.Tsit5() if method is None else method
        controller = solvers.PI() if controller is None else controller
        if not callable(field):
            raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
        if derivatives not in ("by relation", "independent"):
            raise ValueError(
                f'derivatives must be "by relation" or "independent", got {derivatives!r}'
            )
        if path not in ("interpolated", "stops"):
            raise ValueError(f'path must be "interpolated" or "stops", got {path!r}')
        steps, max_steps = check_options(method, rtol, atol, steps, controller, max_steps)
        self.field = field
        # The parameters of a field that is a module's method are the map's.
        self._owner = method_owner(field)
        self._options = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "steps": steps,
            "controller": controller,
            "max_steps": max_steps,
            "throw": throw,
            "compile": compile,
        }
        self._derivatives = derivatives
        self._stops = path == "stops"

    @property
    def derivatives(self) -> str:
        """``"by relation"`` or ``"independent"``, as chosen."""
        return self._derivatives

    def solve(self, s: Time, t: Time, x: Tensor, condition: Condition = None) -> solvers.Solution:
        """Return the whole Solution of X_{s,t}(x), with result codes; never raises SolveError.

        Args:
            s, t: numbers or tensors of shape () or (batch,), in either order.
            x: states (batch, *event).
            condition: tensor or pytree with leading batch axis.

        Raises:
            TypeError, ValueError: for wrong shapes, dtypes, devices.
            UntrainedTimes: for times, numbers or tensors, that the map is not for.

        Example:
            >>> import torch, flowmaps as fm
            >>> decay = fm.maps.SolverFlowMap(lambda t, x: -x)
            >>> decay.solve(0.0, 1.0, torch.ones(3, 1)).success.tolist()
            [True, True, True]
        """
        check_condition(condition, check_state(x))
        s, t = as_clock(s, x, "s"), as_clock(t, x, "t")
        if not self.times.everything:
            self.times.require(s, t)
        return solvers.solve(self.field, s, t, x, condition, **{**self._options, "throw": False})

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        clock = as_clock(t, x, "t")
        probe_once(self.field, clock, clock, x, condition, through=True)
        return BoundField(self.field, condition)(clock, x)

    def _path(self, s: Clock, rows: Tensor, x: State, condition: Condition) -> Tensor:
        """Go once through the times, later ones and earlier ones than s apart."""
        foreign = isinstance(self._options["method"], solvers.TorchDiffEq)
        if self._options["steps"] is not None or foreign:
            return super()._path(s, rows, x, condition)
        go = self._chain if self._stops else self._read
        after = rows >= s
        path = go(s, torch.where(after, rows, s), x, condition, descending=False)
        if not torch.compiler.is_compiling() and not any_item(~after):
            return path
        before = torch.where(after, s, rows)
        wide = after.reshape(*after.shape, *([1] * (x.ndim - 1)))
        return torch.where(wide, path, go(s, before, x, condition, descending=True))

    def _read(
        self, start: Clock, rows: Tensor, x: State, condition: Condition, descending: bool
    ) -> Tensor:
        """Solve once to the furthest of the rows (n_times, batch) and read the interpolant."""
        relation = self._by_relation(start, rows)
        field, fixed, read = BoundField(self.field, condition), start.detach(), rows.detach()
        if relation:
            x = _END_STEP.step(field, start, fixed - start, x).x
        else:
            fixed, read = start, rows
        end = read.detach().amin(0) if descending else read.detach().amax(0)
        probe_once(self.field, start, end, x, condition, through=True)
        saved = self._solved(fixed, end, x, condition, save_at=read)
        if not relation:
            return saved
        n = len(rows)
        fields = BoundField(self.field, repeat_rows(condition, n))
        y, at, live = saved.flatten(0, 1), read.reshape(-1), rows.reshape(-1)
        return _END_STEP.step(fields, at, live - at, y).x.reshape(saved.shape)

    def _chain(
        self, start: Clock, rows: Tensor, x: State, condition: Condition, descending: bool
    ) -> Tensor:
        """Visit the rows (n_times, batch), all on one side of start, in each sample's own order.

        The solver stops at each, so every state has the tolerance of a call of its own.
        """
        order = rows.detach().argsort(dim=0, descending=descending, stable=True)
        rank = order.argsort(dim=0)
        states, time = [], start
        for stop in rows.gather(0, order):
            x = self._transport(time, stop, x, condition)
            states.append(x)
            time = stop
        samples = torch.arange(len(x), device=x.device).expand_as(rank)
        return torch.stack(states)[rank, samples]

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        begin, end = as_clock(s, x, "s"), as_clock(t, x, "t")
        probe_once(self.field, begin, end, x, condition, through=True)
        if not self._by_relation(s, t):
            return self._solved(begin, end, x, condition)
        field = BoundField(self.field, condition)
        fixed_begin, fixed_end = begin.detach(), end.detach()
        x = _END_STEP.step(field, begin, fixed_begin - begin, x).x
        y = self._solved(fixed_begin, fixed_end, x, condition)
        return _END_STEP.step(field, fixed_end, end - fixed_end, y).x

    def _by_relation(self, s: float | Tensor, t: float | Tensor) -> bool:
        if self._derivatives == "independent" or not by_relation_allowed():
            return False
        if torch.compiler.is_compiling():
            return isinstance(s, Tensor) or isinstance(t, Tensor)
        return carries_derivative((s, t))

    def _solved(
        self, s: Clock, t: Clock, x: State, condition: Condition, save_at: Tensor | None = None
    ) -> Tensor:
        options = {**self._options, "check_field": False, "save_at": save_at}
        return solvers.solve(self.field, s, t, x, condition, **options).x

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {
            "field": self.field,
            **self._options,
            "derivatives": self._derivatives,
            "times": self.times,
            "path": "stops" if self._stops else "interpolated",
        }

    def extra_repr(self) -> str:
        """Name the method and its accuracy."""
        shown = ("rtol", "atol") if self._options["steps"] is None else ("steps",)
        accuracy = ", ".join(f"{name}={self._options[name]}" for name in shown)
        return f"{self._options['method']!r}, {accuracy}"

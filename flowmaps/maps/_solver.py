"""The flow map of a field by numerical integration."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps import solvers
from flowmaps._checks import (
    as_clock,
    as_numbers,
    brief,
    check_condition,
    check_state,
    is_number,
    method_owner,
    repeat_rows,
)
from flowmaps._probing import probe_once
from flowmaps._transforms import any_item, carries_derivative
from flowmaps._typing import Clock, Condition, Count, Field, State, Time
from flowmaps.calculus import probes as draw_probes
from flowmaps.calculus import with_divergence
from flowmaps.maps._flow_map import FlowMap
from flowmaps.maps._relation import by_relation_allowed
from flowmaps.maps._times import TimeSet
from flowmaps.solvers._bind import BoundField
from flowmaps.solvers._options import as_options
from flowmaps.solvers._ravel import ravel
from flowmaps.solvers._separable import check_separable

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
        gradient: how derivatives in x, condition and parameters are taken, and independent ones in
            s and t: ``flowmaps.solvers.DiscreteGradient()`` by default, or ContinuousAdjoint.
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
        gradient: solvers.Gradient | None = None,
        path: str = "interpolated",
    ):
        super().__init__(times)
        if not callable(field):
            raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
        if derivatives not in ("by relation", "independent"):
            raise ValueError(
                f'derivatives must be "by relation" or "independent", got {derivatives!r}'
            )
        if path not in ("interpolated", "stops"):
            raise ValueError(f'path must be "interpolated" or "stops", got {path!r}')
        self.field = field
        # The parameters of a field that is a module's method are the map's.
        self._owner = method_owner(field)
        options = as_options(
            method=method,
            rtol=rtol,
            atol=atol,
            steps=steps,
            controller=controller,
            max_steps=max_steps,
            compile=compile,
            gradient=gradient,
        )
        self._options = {
            "method": options.method,
            "rtol": rtol,
            "atol": atol,
            "steps": options.steps,
            "controller": options.controller,
            "max_steps": options.max_steps,
            "throw": throw,
            "compile": compile,
            "gradient": options.gradient,
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

    def with_log_det(
        self,
        s: Time,
        t: Time,
        x: Tensor,
        condition: Condition = None,
        probes: Count | Tensor | None = None,
        generator: torch.Generator | None = None,
        chunk_size: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return X_{s,t}(x) and log|det DX_{s,t}(x)|, (batch,), in one solve.

        The log-determinant is the integral of the field's divergence, under the same error control.
        A density goes along by log p_t(X(x)) = log p_s(x) - log_det, with p_s at time s; from t
        back to s, ``y, change = flow_map.with_log_det(t, s, x)`` gives the density of data as
        log p_t(x) = log p_s(y) + change. Not compiled, whatever ``compile`` says.

        Args:
            s, t: numbers or tensors of shape () or (batch,), in either order.
            x: states (batch, *event) of n components.
            condition: tensor or pytree with leading batch axis.
            probes: None for the exact divergence, n forward derivatives an evaluation; else
                Hutchinson's unbiased estimate by so many random signs a sample, or by the probes
                given, (batch, n_probes, *event), as from ``calculus.probes``.
            generator: source of the signs, on x's device.
            chunk_size: how many of the derivatives are held at a time; all by default.

        Raises:
            TypeError, ValueError: for wrong shapes, dtypes, devices, or probes that do not fit.
            UntrainedTimes: for times, numbers or tensors, that the map is not for.
            SolveError: for failed samples, unless the map has ``throw=False``.

        Example:
            >>> import torch, flowmaps as fm
            >>> decay = fm.maps.SolverFlowMap(lambda t, x: -x)
            >>> y, log_det = decay.with_log_det(0.0, 1.0, torch.ones(1, 2))
            >>> round(log_det.item(), 4)
            -2.0
        """
        check_condition(condition, check_state(x))
        s, t = as_clock(s, x, "s"), as_clock(t, x, "t")
        if not self.times.everything:
            self.times.require(s, t)
        probe_once(self.field, s, t, x, condition, through=True)
        method = self._options["method"]
        if isinstance(method, solvers.Symplectic):  # which keep every volume
            return self._solved(s, t, x, condition), torch.zeros_like(s).to(x.dtype)
        estimate = "exact" if probes is None else "hutchinson"
        field = with_divergence(self.field, estimate, chunk_size)
        if probes is not None:
            own = isinstance(probes, Tensor) and probes.ndim
            drawn = probes if own else draw_probes(x, probes, generator=generator)
            condition = condition, drawn
        start = x, torch.zeros_like(s).to(x.dtype)
        tolerances = {name: _with_one_more(self._options[name]) for name in ("rtol", "atol")}
        # Torch compiles no forward mode for batches of varying size, as a march has them.
        options = {**self._options, **tolerances, "check_field": False, "compile": False}
        return solvers.solve(field, s, t, start, condition, **options).x

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        clock = as_clock(t, x, "t")
        probe_once(self.field, clock, clock, x, condition, through=True)
        x, field, rebuild = ravel(x, self.field)
        return rebuild(BoundField(field, condition)(clock, x))

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
        method = self._options["method"]
        if isinstance(method, solvers.Symplectic):
            real, field, _ = ravel(x, self.field)
            check_separable(method, field, begin, end, real, condition, origin=self.field)
        if not self._by_relation(s, t):
            return self._solved(begin, end, x, condition)
        fixed_begin, fixed_end = begin.detach(), end.detach()
        x = self._end_step(begin, fixed_begin, x, condition)
        y = self._solved(fixed_begin, fixed_end, x, condition)
        return self._end_step(fixed_end, end, y, condition)

    def _end_step(self, s: Clock, t: Clock, x: State, condition: Condition) -> Tensor:
        x, field, rebuild = ravel(x, self.field)
        return rebuild(_END_STEP.step(BoundField(field, condition), s, t - s, x).x)

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


def _with_one_more(tolerance: solvers.Tolerance) -> solvers.Tolerance:
    """Return a tolerance for x and a number: of many, the least is the number's."""
    if is_number(tolerance):
        return tolerance
    return tolerance, as_numbers(tolerance, "a tolerance").amin()

"""The continuous adjoint: gradients by a second solve, backwards in time.

The one place with an autograd function of its own, which refuses what it would get wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import shaped_like, shorten
from flowmaps._transforms import any_item, carries_derivative, carries_tangent, is_transforming
from flowmaps._typing import Mask, PerSample, State
from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers._backward import Backward, Costate
from flowmaps.solvers._captured import captured, held
from flowmaps.solvers._dense import DenseOutput
from flowmaps.solvers._drive import Drive, Driven, Start
from flowmaps.solvers._error_control import ErrorControl
from flowmaps.solvers._gradients import ContinuousAdjoint, DiscreteGradient
from flowmaps.solvers._solution import SUCCESS
from flowmaps.solvers._stops import in_stretches, join
from flowmaps.solvers._tsit5 import Tsit5

__all__ = ["adjoint_control", "along_by_adjoint", "by_adjoint"]


def adjoint_control(gradient: ContinuousAdjoint, control: ErrorControl) -> ErrorControl:
    """Return how the adjoint is solved: as the solve is, by Tsit5 if that has no error estimate."""
    method = Tsit5() if control.method.error_order is None else control.method
    own = (gradient.rtol, gradient.atol)
    rtol, atol = (
        given if mine is None else torch.full_like(given, mine)
        for mine, given in zip(own, (control.rtol, control.atol), strict=True)
    )
    return replace(control, method=method, rtol=rtol, atol=atol, modulus=None)


def along_by_adjoint(solve: Callable[[Start], Driven], start: Start, rows: Tensor) -> Driven:
    """Solve from one to the next of the times (n_times, batch), whose states are ``saved``."""
    onwards = (rows - start.s) * (start.t - start.s).sign()
    order = onwards.detach().argsort(dim=0, stable=True)
    ends = [start.s, *rows.gather(0, order), start.t]
    stretches = in_stretches(solve, start, ends, lambda begin, end, x: start.field)
    states = torch.stack([start.x, *(stretch.driven.x for stretch in stretches)])
    samples = torch.arange(len(start.x), device=rows.device).expand_as(order)
    return replace(join(stretches, start), saved=states[1 + order.argsort(dim=0), samples])


def by_adjoint(
    gradient: ContinuousAdjoint,
    drive: Drive,
    control: ErrorControl,
    throw: bool,
    given: Any,
    start: Start,
) -> Driven:
    """Solve without derivatives; backward then solves the adjoint equation.

    Args:
        gradient: its options.
        drive: the solve.
        control: of the backward solve.
        throw: whether a way back that is lost raises.
        given: the field as the user gave it.
        start: of the solve.

    Raises:
        UnsupportedTransform: in forward mode and under torch.func.
        ValueError: for a tensor that the field holds and ``parameters`` leaves out.
    """
    plain = DiscreteGradient()
    holds = held(given) if gradient.parameters is None else list(gradient.parameters)
    sources = (start.s, start.t, start.x, start.first, start.field.extra)
    wanted = torch.is_grad_enabled() and carries_derivative((sources, holds))
    if carries_tangent(sources) or (wanted and is_transforming()):
        raise UnsupportedTransform(
            "ContinuousAdjoint passes neither forward mode nor torch.func; take DiscreteGradient()"
        )
    if not wanted:
        return drive(False, plain, start)
    with torch.no_grad():
        driven = drive(gradient.record, plain, start)
    end = driven.x.detach()
    last = start.field(driven.time, end)
    conditions = [a for a in pytree.tree_leaves(start.field.extra) if _has_gradient(a)]
    known = (start.s, start.t, start.x, *conditions)
    parameters = _parameters((start.first, last), known, holds, gradient.parameters is not None)
    done = Start(start.field, *(part.detach() for part in start[1:5]))
    plan = _Plan(done, driven, last.detach(), control, throw, parameters)
    inputs = (start.s, start.t, start.x, *conditions, *parameters)
    return replace(driven, x=_Adjoint.apply(plan, end, *inputs), recorded=None)


def _has_gradient(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _parameters(
    values: tuple[Tensor, ...], known: tuple[Tensor, ...], holds: list[Tensor], named: bool
) -> list[Tensor]:
    """Return what the field holds and has gradients in, its arguments apart.

    Args:
        values: of the field, whose graphs show what it depends on.
        known: its arguments.
        holds: what it is known to hold; if ``named``, it may hold nothing else.
    """
    found = {id(a): a for value in values for a in captured(value, (*known, *holds))}
    if named and found:
        missing = next(iter(found.values()))
        raise ValueError(
            f"the field depends on a tensor of shape {tuple(missing.shape)} that requires a "
            "gradient and is not among parameters, so it would get none; name it or detach it"
        )
    arguments = {id(a) for a in known}
    return [*(a for a in holds if id(a) not in arguments), *found.values()]


@dataclass(frozen=True)
class _Plan:
    """What backward needs beside the tensors that autograd keeps.

    Args:
        start, driven: of the forward solve, detached; ``last`` is the field at its end.
        control: of the backward solve.
        throw: whether a way back that is lost raises.
        parameters: what the field holds and has gradients in.
    """

    start: Start
    driven: Driven
    last: Tensor
    control: ErrorControl
    throw: bool
    parameters: list[Tensor]

    def gradients(self, y: State, x: State, upper: State) -> list[Tensor | None]:
        """Return the gradients in s, t, x, condition and parameters from ``upper``, that in y."""
        start, time = self.start, self.driven.time
        s, unit = start.s, _greatest(upper)
        nothing = unit == 0  # nobody asks for the gradients of such a sample
        unit = torch.where(nothing, 1.0, unit)
        costate = Costate(start.field, self._dense(), self.parameters)
        found = Backward(costate, self.control).solve(
            s, torch.where(nothing, s, time), x, y, upper / shaped_like(unit, upper), unit
        )
        bad = found.bad & ~nothing
        if self.throw:
            _raise_lost(bad)
        lower = _spoiled(found.a * shaped_like(unit, upper), bad)
        by_s = -_product(lower, start.first)
        by_t = torch.where(self.driven.code == SUCCESS, _product(upper, self.last), 0.0)
        own = len(costate.totals) - len(self.parameters)  # the rest belongs to all samples
        totals = [_spoiled(a, bad) for a in costate.totals[:own]]
        totals += [_spoiled(a, bad.any()) for a in costate.totals[own:]]
        return [by_s, by_t, lower, *totals]

    def _dense(self) -> DenseOutput | None:
        recorded, start = self.driven.recorded, self.start
        if recorded is None:
            return None
        return DenseOutput(start.s, start.t, *recorded, lambda y: y)


def _greatest(a: State) -> PerSample:
    """Return the greatest absolute value of every sample, (batch,)."""
    size = a.shape[1:].numel()
    return a.abs().reshape(len(a), size).amax(1) if size else a.new_zeros(len(a))


def _product(a: State, b: State) -> PerSample:
    """Return the inner product of every sample, (batch,), float64 as clocks are."""
    return (a * b).reshape(len(a), a.shape[1:].numel()).sum(1).to(torch.float64)


def _spoiled(total: Tensor | None, bad: Tensor) -> Any:
    """Return a gradient with NaN for bad samples, (batch,), or, for a 0-d truth, all over."""
    if total is None:
        return None
    wide = shaped_like(bad, total) if bad.ndim else bad
    return torch.where(wide, torch.nan, total)


def _raise_lost(bad: Mask) -> None:
    if any_item(bad):
        samples = bad.nonzero().flatten().tolist()
        raise SolveError(
            f"the way back of {len(samples)} of {len(bad)} samples was lost, samples "
            f"{shorten(samples)}: integrated backwards, as for a field that contracts, the state "
            "misses where it started, or the adjoint could not be solved. Take "
            "ContinuousAdjoint(record=True) or DiscreteGradient(checkpoint=True)"
        )


class _Adjoint(torch.autograd.Function):
    """The end of a solve that is done, as a function of s, t, x, condition and parameters."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, end: State, *inputs: Tensor) -> Tensor:
        y = end.clone()
        ctx.plan = plan
        ctx.save_for_backward(y, *inputs)
        return y

    @staticmethod
    def backward(ctx: Any, *upper: Tensor) -> Any:
        y, *inputs = ctx.saved_tensors
        with torch.no_grad():
            found = ctx.plan.gradients(y.detach(), inputs[2].detach(), upper[0].detach())
        if torch.is_grad_enabled():  # as under create_graph=True
            there = [gradient for gradient in found if gradient is not None]
            kept = iter(_OnlyOnce.apply(len(there), *there, upper[0], *inputs))
            found = [gradient if gradient is None else next(kept) for gradient in found]
        return None, None, *found


class _OnlyOnce(torch.autograd.Function):
    """The first ``count`` of some tensors, with derivatives that are refused."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise UnsupportedTransform(
            "ContinuousAdjoint has no second derivatives; take DiscreteGradient()"
        )

"""The adjoint equation, solved backwards by error control, and the integrals along its way."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import shaped_like
from flowmaps._transforms import any_item, is_transforming
from flowmaps._typing import Clock, Mask, PerSample, State
from flowmaps.solvers._bind import BoundField, Detached
from flowmaps.solvers._dense import DenseOutput
from flowmaps.solvers._drive import Driven, Start
from flowmaps.solvers._error_control import ErrorControl
from flowmaps.solvers._march import March, Trial, attempt, begin, settle
from flowmaps.solvers._problem import Problem
from flowmaps.solvers._solution import RUNNING, SUCCESS, Statistics
from flowmaps.solvers._stops import by_stretches

__all__ = ["Backward", "Costate"]

_MISS = 100
"""A start that is missed by more tolerances than this was lost on the way back."""


class Costate:
    """The field of z = (X, a), or of a alone where X is known, and what is integrated along it.

    Args:
        field: b with its condition.
        dense: X where it is known, else None: then z is (batch, 2, *event).
        parameters: the tensors that b holds and gradients are wanted for.

    ``totals`` are the integrals of a db, one for every leaf of the condition that has a gradient
    and then for every parameter; None where b does not depend on it.
    """

    def __init__(self, field: BoundField, dense: DenseOutput | None, parameters: list[Tensor]):
        self.dense, self.function = dense, field.field
        self.condition = pytree.tree_map(_fixed, field.condition)
        free = pytree.tree_map(_freed, field.condition)
        self.free = () if free is None else (free,)
        leaves = [a for a in pytree.tree_leaves(free) if a is not None and a.requires_grad]
        self.inputs = [*leaves, *parameters]
        self.totals: list[Tensor | None] = [None] * len(self.inputs)

    def rate(self, r: Tensor, z: Tensor, *condition: Any) -> Tensor:
        """Return dz/dr: da/dr = -a Db(r, X), and dX/dr = b(r, X) where X goes along."""
        x, a = self.split(r, z)
        value, pulled = _pulled_back(self.function, r, x, a, condition)
        return -pulled if self.dense is not None else torch.stack([value, -pulled], dim=1)

    def split(self, r: Tensor, z: Tensor) -> tuple[State, State]:
        """Return X and a at times r (batch,) as the field sees them."""
        if self.dense is None:
            return z[:, 0], z[:, 1]
        rows = r.to(torch.float64)[None]
        return self.dense.read(rows, torch.ones_like(rows, dtype=torch.bool))[0], z

    def add(self, r: Tensor, z: Tensor, weight: PerSample) -> None:
        """Add weight times a db at one time of every sample to the integrals.

        Samples without weight are not asked: zero times what is not finite is NaN for all.
        """
        x, a = self.split(r, z)
        free, rows = self.free, (weight != 0).nonzero()[:, 0]
        if not len(rows):
            return
        with torch.enable_grad():
            if len(rows) < len(weight):
                r, x, a, weight = r[rows], x[rows], a[rows], weight[rows]
                free = pytree.tree_map(lambda leaf: None if leaf is None else leaf[rows], free)
            value = self.function(r, x, *free)
        if not value.requires_grad:
            return
        parts = torch.autograd.grad(
            value,
            self.inputs,
            shaped_like(weight.to(a), a) * a,
            retain_graph=True,  # of what parameters are themselves computed from
            allow_unused=True,
        )
        for i, (total, part) in enumerate(zip(self.totals, parts, strict=True)):
            if part is not None:
                self.totals[i] = part if total is None else total + part


def _fixed(leaf: Any) -> Any:
    return None if leaf is None else leaf.detach()


def _freed(leaf: Any) -> Any:
    return None if leaf is None else leaf.detach().requires_grad_(leaf.requires_grad)


def _pulled_back(
    function: Any, r: Tensor, x: State, a: State, condition: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """Return b(r, x) and a Db(r, x)."""
    if is_transforming():  # as inside a Rosenbrock method
        vjp: Any = torch.func.vjp  # whose result has a type of two kinds
        value, pull = vjp(lambda x: function(r, x, *condition), x)
        return value, pull(a)[0]
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(r, x, *condition)
    if not value.requires_grad:
        return value, torch.zeros_like(x)
    (pulled,) = torch.autograd.grad(value, x, a, allow_unused=True)
    return value.detach(), torch.zeros_like(x) if pulled is None else pulled


@dataclass(frozen=True)
class Found:
    """The adjoint at the start, (batch, *event), and the samples whose way back was lost."""

    a: State
    bad: Mask


@dataclass(frozen=True)
class Backward:
    """The solve of a costate's equation; the integrals are its ``totals``."""

    costate: Costate
    control: ErrorControl

    def solve(self, s: Clock, t: Clock, x: State, y: State, a: State, unit: PerSample) -> Found:
        """Solve from t back to s.

        Args:
            s, t: where every sample's way began and ended, clocks (batch,).
            x, y: X at s and at t, (batch, *event).
            a: the gradient in y in units of ``unit`` (batch,), which the integrals are not in.
        """
        known = self.costate.dense is not None
        z = a if known else torch.stack([y, a], dim=1)
        field = BoundField(self.costate.rate, self.costate.condition, between=(t, s, z))
        start = Start(field, t, s, z, field(t, z))
        stops = tuple(self.control.controller.stops)

        def drive(start: Start) -> Driven:
            return self._march(start, unit)

        driven = by_stretches(drive, start, stops) if stops else drive(start)
        bad = driven.code != SUCCESS
        if known:
            return Found(driven.x, bad)
        met, lower = driven.x[:, 0], driven.x[:, 1]
        miss = self._problem(start).norm(met - x, x, met)
        return Found(lower, bad | ~(miss <= _MISS))

    def _problem(self, start: Start) -> Problem:
        return self.control.problem(Detached(start.field), start.s, start.t)

    def _march(self, start: Start, unit: PerSample) -> Driven:
        """March every sample over one stretch; see ``search``."""
        problem = self._problem(start)
        march = begin(problem, start.x, start.first)
        attempts = 1 if march.x.device.type == "cpu" else 8  # between two looks at an accelerator
        while any_item(march.code == RUNNING):
            for _ in range(attempts):
                before, tried = march, attempt(problem, march)
                march, accept, _ = settle(problem, march, tried)
                if self.costate.inputs:
                    self._integrate(problem, start.field, before, tried, accept, unit)
        time = torch.where(march.code == SUCCESS, problem.t, problem.s + march.elapsed)
        counts = march.attempts, march.accepted, march.attempts - march.accepted, march.attempts
        return Driven(march.x, time, march.code, Statistics(*counts))

    def _integrate(
        self,
        problem: Problem,
        field: BoundField,
        before: March,
        tried: Trial,
        accept: Mask,
        unit: PerSample,
    ) -> None:
        """Add the integrals over the steps that were accepted, by Gauss quadrature.

        The interpolant of the step gives the state at the nodes, fewer than a method has stages.
        """
        h = torch.where(accept, tried.h, 0.0)
        time = problem.s + before.elapsed
        slopes = problem.method.slopes(problem.field, time, h, before.x, tried.step, tried.final)
        wide = shaped_like(accept, before.x)
        for theta, weight in _gauss(problem.method.order):
            rise = torch.zeros_like(before.x)
            for slope in reversed(slopes.unbind(0)):
                rise = rise * theta + slope
            moved = before.x + shaped_like((theta * h).to(before.x), before.x) * rise
            z = torch.where(wide, moved, before.x)
            # The way is gone backwards, the integrals are those forwards.
            self.costate.add(field.moved(time + theta * h, z), z, -weight * h * unit)


def _gauss(order: int) -> Iterator[tuple[float, float]]:
    """Return nodes in [0, 1] and weights of a quadrature of at least this order."""
    return zip(*_legendre((order + 1) // 2), strict=True)


@cache
def _legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple(((nodes + 1) / 2).tolist()), tuple((weights / 2).tolist())

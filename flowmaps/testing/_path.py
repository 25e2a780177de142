"""States that go by way of several times, and how far the errors of all calls may take them."""

from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._checks import repeat_rows, shaped_like
from flowmaps._typing import Condition, Mask, PerSample, SquareMatrix, State
from flowmaps.testing._budget import Budget, rounding
from flowmaps.testing._view import View, size

__all__ = ["Gap", "Path", "Traveller"]

_COORDINATES = 16
"""Of states whose derivatives are measured along each; along some directions for larger ones."""
_DIRECTIONS = 4
_COARSEST = 0.05
"""Largest relative disturbance by which derivatives are measured."""


@dataclass(frozen=True)
class Path:
    """States (batch, *event) that left one time together, and where they are now.

    Args:
        times: start, stops and the present.
        start, state: states at the first and the last of them.
        condition: as the map takes it.
        known: rows that never left the domain.
        errors: how far the result of every call may be off, (batch,) each.
        carried: derivatives of the present state by these results, (batch, n, n) each; n is 1, and
            they are norms, where states are large.
    """

    times: tuple[float, ...]
    start: State
    state: State
    condition: Condition
    known: Mask
    errors: tuple[PerSample, ...] = ()
    carried: tuple[SquareMatrix, ...] = ()

    def take(self, rows: slice) -> "Path":
        """Return the path of these rows alone."""
        return Path(
            self.times,
            self.start[rows],
            self.state[rows],
            pytree.tree_map(lambda leaf: None if leaf is None else leaf[rows], self.condition),
            self.known[rows],
            tuple(error[rows] for error in self.errors),
            tuple(derivative[rows] for derivative in self.carried),
        )

    @property
    def accumulated(self) -> PerSample:
        """How far the present state may be off: every call's error, as later calls amplify it."""
        total = torch.zeros(len(self.state), dtype=torch.float64, device=self.state.device)
        for error, derivative in zip(self.errors, self.carried, strict=True):
            total = total + error * derivative.abs().sum(2).amax(1)
        return total


class Gap(NamedTuple):
    """How far a path's end is from one shot, what may be, and where that means anything."""

    distance: PerSample
    allowed: PerSample
    counted: Mask
    one_shot: State

    @property
    def outside(self) -> Mask:
        """Rows that are further off than may be."""
        return self.counted & (self.distance > self.allowed)


@final
class Traveller:
    """Takes states from time to time by a map, and measures how much each call may be off.

    Args:
        view: of the map.
        budget: of one call, besides rounding.
        atol: allowed everywhere, in the states' units.
    """

    def __init__(self, view: View, budget: Budget, atol: float = 0.0):
        self.view, self.budget, self.atol = view, budget, atol
        self.unit = torch.finfo(view.space.dtype).eps
        self.amount = max(self.unit**0.5, min(budget.state, _COARSEST))

    def begin(self, time: float, x: State, condition: Condition) -> Path:
        """Return the path of states that have gone nowhere yet."""
        return Path((time,), x, x, condition, torch.ones_like(x.reshape(len(x), -1)[:, 0] == 0))

    @torch.no_grad()
    def go(self, path: Path, time: float) -> Path:
        """Return the path after one more call."""
        now, x, condition = path.times[-1], path.state, path.condition
        y = self.view.map(now, time, x, condition)
        derivative, drift = self._sensitivity(now, time, x, y, condition)
        unmoved = torch.eye(derivative.shape[1], dtype=torch.float64, device=x.device)
        known = path.known
        if self.budget.kind == "learned":
            known = known & self.view.space.contains(x)
        return replace(
            path,
            times=(*path.times, time),
            state=y,
            known=known,
            errors=(*path.errors, self._error(x, y, derivative, drift)),
            carried=(*(derivative @ one for one in path.carried), unmoved.expand_as(derivative)),
        )

    def restart(self, path: Path, time: float) -> Path:
        """Return the path that goes from the start of another to a time in one shot."""
        return self.go(self.begin(path.times[0], path.start, path.condition), time)

    @torch.no_grad()
    def gap(self, path: Path) -> Gap:
        """Compare a path's end with one shot, or with its start if that is where it returned to.

        What leaves no digit to compare is not counted.
        """
        direct = self.begin(path.times[0], path.start, path.condition)
        if path.times[-1] != path.times[0]:  # else where it must be is known without the map
            direct = self.go(direct, path.times[-1])
        distance = size(self.view.difference(path.state, direct.state))
        allowed = self.atol + path.accumulated + direct.accumulated
        scale = torch.maximum(_finite(size(path.state)), _finite(size(direct.state)))
        scale = torch.maximum(scale, size(path.start))
        blind = (allowed > 0.5 * scale + self.atol) & torch.isfinite(distance)
        return Gap(distance, allowed, path.known & direct.known & ~blind, direct.state)

    def _error(self, x: State, y: State, derivative: SquareMatrix, drift: PerSample) -> PerSample:
        """Return how far the value of one call may be off.

        The budget and rounding, relative to all that enters: the value, and what relative errors of
        the state and of the times, ``drift``, do to it.
        """
        amplification = derivative.abs().sum(2).amax(1)
        condition = amplification * size(x) + drift
        scale = torch.maximum(size(x), _finite(size(y)))
        relative = rounding(self.view.space.dtype) + self.budget.state
        return relative * (scale + condition) + self.budget.absolute * (1 + amplification)

    def _sensitivity(
        self, s: float, t: float, x: State, y: State, condition: Condition
    ) -> tuple[SquareMatrix, PerSample]:
        """Return DX_{s,t}(x) and the change with a relative change of times, by one call.

        Differences of values: of states along each coordinate, the norm alone for large states; of
        times one towards the other, where the map is asked anyway.
        """
        batch, d = len(x), x[0].numel()
        step = self.amount * size(x).clamp_min(1e-3)
        directions = self._directions(d).to(x.device)
        n = len(directions)
        moved = x + shaped_like(step, x) * directions.reshape(n, 1, *x.shape[1:])
        many = torch.cat([moved.reshape(n * batch, *x.shape[1:]).to(x.dtype), x, x])
        reach = max(abs(s), abs(t))
        shift = min(self.amount * reach, abs(t - s)) * (1 if t >= s else -1)
        starts = [s] * n + [s + shift, s]
        ends = [t] * n + [t, t - shift]
        clocks = (
            torch.tensor(times, dtype=torch.float64, device=x.device).repeat_interleave(batch)
            for times in (starts, ends)
        )
        values = self.view.map(*clocks, many, repeat_rows(condition, n + 2))
        change = self.view.difference(values, repeat_rows(y, n + 2))
        change = change.double().reshape(n + 2, batch, d)
        change = torch.where(torch.isfinite(change), change, 1 / self.unit)
        drift = change[n:].abs().amax((0, 2)) * (reach / abs(shift) if shift else 0.0)
        by_step = change[:n] / step[:, None]
        if n == d:
            return by_step.permute(1, 2, 0), drift
        return by_step.abs().amax((0, 2))[:, None, None], drift

    def _directions(self, d: int) -> Tensor:
        """Return all axes (d, d), or a few directions of large states, drawn once and for all."""
        if d <= _COORDINATES:
            return torch.eye(d, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (_DIRECTIONS, d), generator=generator)
        return signs.double() * 2 - 1


def _finite(a: Tensor) -> Tensor:
    return a.nan_to_num(nan=0.0, posinf=0.0)

"""The sample that verdicts rest on: quasi-random states, times and conditions of a given seed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps._typing import Clock, Condition, Mask, State
from flowmaps.domains import Ball, Box, Domain, Points, SubLevel
from flowmaps.maps import TimeSet
from flowmaps.testing._interpolated import Interpolated

__all__ = ["Draw", "Space"]

_TIMES = 4
"""Coordinates of a point that become its times: three of them, and where the window lies."""


class Draw(NamedTuple):
    """Points at which properties are measured.

    s, u, t are clocks (batch,); x are states and v directions, both (batch, *event).
    """

    s: Clock
    u: Clock
    t: Clock
    x: State
    v: State
    condition: Condition

    def take(self, rows: Tensor | list[int] | slice) -> "Draw":
        """Return the draw of these rows alone."""
        picked = (part[rows] for part in self[:5])
        return Draw(*picked, condition=_picked(self.condition, rows))

    def at(self, s: Clock, t: Clock, x: State) -> "Draw":
        """Return the draw with other times and states."""
        return self._replace(s=s, t=t, x=x)


def _picked(condition: Condition, rows: Any) -> Condition:
    return pytree.tree_map(lambda leaf: None if leaf is None else leaf[rows], condition)


@dataclass(frozen=True)
class Space:
    """What is drawn from: states of a domain, times of a window, conditions.

    Args:
        domain: of states; an Interpolated brings their conditions too.
        window: earliest and latest time.
        allowed: directions and longest span.
        conditions: None, a domain of rows (n, k), a pytree of tensors whose rows are drawn from
            together, or a function of a number and a generator that returns so many.
        event: the shape of one state, of as many components as the domain has coordinates.
        dtype, device: of states.
    """

    domain: Domain
    window: tuple[float, float]
    allowed: TimeSet
    conditions: Any
    event: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def draw(self, n: int, seed: int, start: float | None = None) -> Draw:
        """Return n points, the same for the same seed in every dtype and on every device.

        With a start all states are those of that time, also where their law changes with it.
        """
        states = _coordinates(self.domain)
        given = self.conditions if isinstance(self.conditions, Domain) else None
        extra = 0 if given is None else _coordinates(given)
        rows, x = _accepted(self.domain, n, states + _TIMES + extra, seed)
        s, u, t = self._times(rows[:, states : states + _TIMES])
        s = s if start is None else torch.full_like(s, start)
        generator = torch.Generator().manual_seed(seed)
        v = torch.randn(n, self.domain.dim, generator=generator, dtype=torch.float64)
        if isinstance(self.domain, Interpolated):  # its law of states changes with time
            x, condition = self.domain.at(s, generator)
        elif given is not None:
            condition = _points(given, rows[:, states + _TIMES :])
        else:
            condition = _conditions(self.conditions, n, generator)
        condition = pytree.tree_map(self._placed, condition)
        x, v = (self._placed(a).reshape(n, *self.event) for a in (x, v))
        clocks = (a.to(self.device) for a in (s, u, t))
        return Draw(*clocks, x=x, v=v, condition=condition)

    @cached_property
    def extent(self) -> float:
        """The mean size of states, by which directions and steps are measured."""
        x = _accepted(self.domain, 256, _coordinates(self.domain), seed=0)[1]
        return float(x.abs().amax(1).mean())

    def contains(self, x: State) -> Mask:
        """Tell which states lie in the domain."""
        return self.domain.contains(x.detach().reshape(len(x), -1))

    def admits(self, draw: Draw) -> Mask:
        """Tell which points of a draw could have been drawn."""
        low, high = self.window
        times = torch.stack([draw.s, draw.u, draw.t])
        fine = ((times >= low) & (times <= high)).all(0) & self.contains(draw.x)
        for a, b in ((draw.s, draw.t), (draw.s, draw.u), (draw.u, draw.t)):
            fine = fine & torch.as_tensor(self.allowed.admits(a, b))
        return fine

    def _times(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return s, u, t in a window no longer than the longest span, in an allowed order."""
        low, high = self.window
        span = min(high - low, self.allowed.max_span)
        start = low + rows[:, :1] * (high - low - span)
        times = start + span * rows[:, 1:]
        if not self.allowed.backward:
            times = times.sort(dim=1).values
        elif not self.allowed.forward:
            times = times.sort(dim=1, descending=True).values
        s, u, t = times.unbind(1)
        return s, u, t

    def _placed(self, leaf: Any) -> Any:
        if leaf is None:
            return None
        dtype = self.dtype if leaf.is_floating_point() else leaf.dtype
        return leaf.to(dtype=dtype, device=self.device)


def _coordinates(domain: Domain) -> int:
    """Return how many uniform numbers make a point: for a ball, one more for the radius."""
    return domain.dim + 1 if isinstance(domain, Ball) else domain.dim


def _accepted(domain: Domain, n: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return quasi-random rows (n, width) in the unit cube, and the n states of the first ones."""
    if not isinstance(domain, SubLevel):
        rows = _uniform(n, width, seed)
        if isinstance(domain, Box | Ball | Points):
            return rows, _points(domain, rows)
        generator = torch.Generator().manual_seed(seed)
        return rows, domain.sample(n, generator, torch.float64)
    engine = _engine(width, seed)
    kept, missing, tried = [], n, 0
    while missing > 0:
        rows = engine(4096)
        rows = rows[domain.contains(_points(domain.box, rows))]
        kept.append(rows)
        missing, tried = missing - len(rows), tried + 4096
        if tried > 40_000 and n - missing < tried / 10_000:
            raise ValueError(
                f"only {n - missing} of {tried} points of {domain.box} lie in {domain}; give a "
                "tighter box"
            )
    rows = torch.cat(kept)[:n]
    return rows, _points(domain.box, rows)


def _uniform(n: int, width: int, seed: int) -> Tensor:
    return _engine(width, seed)(n)


def _engine(width: int, seed: int) -> Callable[[int], Tensor]:
    """Return what draws rows of a scrambled Sobol sequence; uniform ones where it has no more."""
    if width <= torch.quasirandom.SobolEngine.MAXDIM:
        engine = torch.quasirandom.SobolEngine(width, scramble=True, seed=seed)
        return lambda n: engine.draw(n, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return lambda n: torch.rand(n, width, generator=generator, dtype=torch.float64)


def _points(domain: Domain, rows: Tensor) -> Tensor:
    """Return the points (n, d) of a domain that belong to uniform numbers, float64."""
    if isinstance(domain, Box):
        return torch.lerp(domain.lower, domain.upper, rows[:, : domain.dim])
    if isinstance(domain, Points):
        index = (rows[:, 0] * len(domain.data)).long().clamp_max(len(domain.data) - 1)
        return domain.data.cpu().double()[index]
    if isinstance(domain, Ball):
        within = rows.clamp(1e-12, 1 - 1e-12)
        direction = torch.nn.functional.normalize(torch.special.ndtri(within[:, : domain.dim]))
        distance = domain.radius * rows[:, domain.dim, None] ** (1 / domain.dim)
        return domain.center + distance * direction
    generator = torch.Generator().manual_seed(int(rows[0, 0].item() * 2**31))
    return domain.sample(len(rows), generator, torch.float64)


def _conditions(conditions: Any, n: int, generator: torch.Generator) -> Condition:
    if conditions is None:
        return None
    if callable(conditions) and not isinstance(conditions, Tensor):
        return conditions(n, generator)
    leaves = [leaf for leaf in pytree.tree_leaves(conditions) if leaf is not None]
    rows = torch.randint(len(leaves[0]), (n,), generator=generator)
    return _picked(conditions, rows)

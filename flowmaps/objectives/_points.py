"""Laws of the points at which an objective compares: on interpolants, records, or in domains."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from flowmaps._typing import Condition
from flowmaps.interpolants import Interpolant
from flowmaps.interpolants._check import check_path
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._middles import MiddleLaw
from flowmaps.objectives._sources import Domain, Pairs
from flowmaps.objectives._spelling import spelled
from flowmaps.objectives._times import TimeLaw
from flowmaps.objectives._trajectories import Trajectories

__all__ = ["AtStates", "OnInterpolant", "OnTrajectories", "Picked", "PointLaw"]


class Picked(NamedTuple):
    """What a law picked from a source, before times are drawn.

    Args:
        rows: how many rows.
        interval: in which the times are to be drawn.
        place: ``place(s, t, diagonal) -> Draw``; times (rows,) arrive float64 on the CPU.
        at: ``at(u) -> states (rows, *event)`` at other times of the same paths, if these are known
            and asked for.

    Example:
        >>> import torch, flowmaps as fm
        >>> place = lambda s, t, n: fm.objectives.Draw(s, t, torch.zeros(len(s), 1), diagonal=n)
        >>> fm.objectives.Picked(2, (0.0, 1.0), place).rows
        2
    """

    rows: int
    interval: tuple[float, float]
    place: Callable[[Tensor, Tensor, int], Draw]
    at: Callable[[Tensor], Tensor] | None = None


class PointLaw(ABC):
    """Turns a source and a law of times into a draw.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Origin(fm.objectives.PointLaw):
        ...     def _pick(self, source, batch, generator):
        ...         zero = torch.zeros(batch, 2)
        ...         place = lambda s, t, n: fm.objectives.Draw(s, t, zero, diagonal=n)
        ...         return fm.objectives.Picked(batch, (0.0, 1.0), place)
        >>> len(Origin().draw(None, fm.objectives.SortedPair(), 3, None, 1.0))
        3
    """

    def draw(
        self,
        source: Any,
        times: TimeLaw,
        batch: int | None,
        generator: torch.Generator | None,
        progress: float,
        middles: MiddleLaw | None = None,
    ) -> Draw:
        """Return a draw of ``batch`` rows; arguments as in Objective.draw.

        Raises:
            TypeError: if the source is none that the law can draw from.
            ValueError: if the law of times leaves the interval.
        """
        picked = self._pick(source, batch, generator)
        s, t = times.sample(picked.rows, picked.interval, generator, progress)
        _require_inside(s, t, picked.interval, times)
        draw = picked.place(s, t, times.diagonal(picked.rows, progress))
        if middles is None:
            return draw
        u = middles.sample(draw.s, draw.t, generator, progress)
        return replace(draw, u=u, middle=None if picked.at is None else picked.at(u))

    @abstractmethod
    def _pick(self, source: Any, batch: int | None, generator: torch.Generator | None) -> Picked:
        """Draw what does not depend on the times; raise TypeError for a source of other kind."""


@final
class OnInterpolant(PointLaw):
    """Points I_s of an interpolant between ``Pairs``, with its velocity and the base sample.

    Args:
        interpolant: the path between base and data.
        middle: whether the draw brings the states I_u of the same paths at its middle times too.

    Raises:
        TypeError: for what is no interpolant.
        ValueError: for one whose coefficients are not finite in its interval, miss the ends that it
            declares, or have other derivatives than it says.

    Example:
        >>> import torch, flowmaps as fm
        >>> law = fm.objectives.OnInterpolant(fm.interpolants.Linear())
        >>> pairs = fm.objectives.Pairs(torch.zeros(4, 2), torch.ones(4, 2))
        >>> law.draw(pairs, fm.objectives.Diagonal(), None, None, 0.0).velocity[0].tolist()
        [1.0, 1.0]
    """

    def __init__(self, interpolant: Interpolant, middle: bool = False):
        if not isinstance(interpolant, Interpolant):
            raise TypeError(
                "interpolant must be an fm.interpolants.Interpolant such as Linear(), "
                f"got {type(interpolant).__name__}"
            )
        check_path(interpolant)
        self.interpolant, self.middle = interpolant, middle

    def _pick(self, source: Any, batch: int | None, generator: torch.Generator | None) -> Picked:
        if not isinstance(source, Pairs):
            raise _refused(source, "points", "Pairs(x0, x1)")
        x0, x1, condition = source.sample(batch, generator)
        z = None
        if self.interpolant.latent:
            z = torch.randn(x1.shape, generator=generator, dtype=x1.dtype, device="cpu")
            z = z.to(x1.device)

        def place(s: Tensor, t: Tensor, diagonal: int) -> Draw:
            s, t = s.to(x1.device), t.to(x1.device)
            points = self.interpolant.interpolate(s, x0, x1, z)
            velocity = self.interpolant.velocity(s, x0, x1, z)
            return Draw(
                s,
                t,
                points,
                velocity=velocity,
                noise=x0,
                condition=condition,
                diagonal=diagonal,
            )

        def at(u: Tensor) -> Tensor:
            return self.interpolant.interpolate(u.to(x1.device), x0, x1, z)

        return Picked(len(x1), self.interpolant.times, place, at if self.middle else None)


@final
class OnTrajectories(PointLaw):
    """Two records of one of the ``Trajectories``: points at time s, images at time t.

    The law of times is over each trajectory's own interval, and both times move to the nearest
    records. A row off the diagonal whose times meet at one record ends at the next one instead or,
    at the last, starts at the one before: so it teaches a step, if a longer one than a limit of
    spans shorter than the records' distance asks for.

    Example:
        >>> import torch, flowmaps as fm
        >>> times = torch.tensor([0.0, 0.1, 1.0])
        >>> data = fm.objectives.Trajectories(times, times[:, None, None].expand(3, 5, 2))
        >>> law = fm.objectives.OnTrajectories()
        >>> draw = law.draw(data, fm.objectives.FromStart(), 6, None, 0.0)
        >>> bool((draw.points == 0).all() and (draw.images[:, 0] == draw.t).all())
        True
    """

    def _pick(self, source: Any, batch: int | None, generator: torch.Generator | None) -> Picked:
        if not isinstance(source, Trajectories):
            raise _refused(source, "points and images", "Trajectories(times, states)")
        rows, condition = source.sample(batch, generator)

        def place(s: Tensor, t: Tensor, diagonal: int) -> Draw:
            first, last = (source.nearest(rows, source.clock(rows, time)) for time in (s, t))
            meet = first == last
            meet[:diagonal] = False
            at_end = meet & (last == len(source.states) - 1)
            start, points = source.record(rows, first - at_end.long())
            end, images = source.record(rows, last + (meet & ~at_end).long())
            return Draw(start, end, points, images=images, condition=condition, diagonal=diagonal)

        return Picked(len(rows), (0.0, 1.0), place)


@final
class AtStates(PointLaw):
    """States of a ``Domain`` or of ``Trajectories`` at time s, for objectives that know the field.

    In a domain they are drawn at any time of its interval. On trajectories the law of times is over
    each one's own interval; a row starts at the last record not after s (on the diagonal, at the
    record nearest to it) and keeps its span t - s: ends lie between records too, or a residual
    would be asked at the records' distances alone.

    Example:
        >>> import flowmaps as fm
        >>> source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 2.0))
        >>> draw = fm.objectives.AtStates().draw(source, fm.objectives.FromStart(), 6, None, 0.0)
        >>> draw.points.shape, draw.velocity is None
        (torch.Size([6, 1]), True)
    """

    def _pick(self, source: Any, batch: int | None, generator: torch.Generator | None) -> Picked:
        if isinstance(source, Domain):
            points, condition = source.sample(batch, generator)
            return Picked(len(points), source.times, _constant(points, condition))
        if isinstance(source, Trajectories):
            rows, condition = source.sample(batch, generator)
            return Picked(len(rows), (0.0, 1.0), _recorded(source, rows, condition))
        raise _refused(source, "points", "Trajectories(times, states)", "Domain(domain, times)")


def _constant(points: Tensor, condition: Condition) -> Callable[[Tensor, Tensor, int], Draw]:
    """Place the same points at any times."""

    def place(s: Tensor, t: Tensor, diagonal: int) -> Draw:
        return Draw(s, t, points, condition=condition, diagonal=diagonal)

    return place


def _recorded(
    source: Trajectories, rows: Tensor, condition: Condition
) -> Callable[[Tensor, Tensor, int], Draw]:
    """Place rows at a record near s, for a span of any length."""

    def place(s: Tensor, t: Tensor, diagonal: int) -> Draw:
        s, t = source.clock(rows, s), source.clock(rows, t)
        number = source.latest(rows, s)
        number[:diagonal] = source.nearest(rows, s)[:diagonal]
        start, points = source.record(rows, number)
        # min: the sum may pass t, and with it the interval's end, by a rounding
        end = torch.minimum(start + (t - s).to(start), t.to(start))
        end[:diagonal] = start[:diagonal]
        return Draw(start, end, points, condition=condition, diagonal=diagonal)

    return place


def _require_inside(s: Tensor, t: Tensor, interval: tuple[float, float], times: TimeLaw) -> None:
    """Raise ValueError if a law drew times outside the interval that it was given."""
    lower, upper = interval
    inside = (torch.minimum(s, t) >= lower) & (torch.maximum(s, t) <= upper)
    if not bool(inside.all()):
        row = int((~inside).nonzero()[0])
        raise ValueError(
            f"the law of times {spelled(times)} drew s = {s[row].item():g}, t = {t[row].item():g}, "
            f"outside the interval [{lower:g}, {upper:g}] of the source; a law must keep to it"
        )


def _refused(source: Any, what: str, *kinds: str) -> TypeError:
    wanted = " or ".join(f"fm.objectives.{kind}" for kind in kinds)
    return TypeError(f"this objective draws {what} from {wanted}, got {type(source).__name__}")

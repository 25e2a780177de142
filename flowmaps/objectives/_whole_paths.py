"""The law of points that draws whole recorded paths."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_count, as_numbers, brief
from flowmaps._typing import Count
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._points import Picked, PointLaw
from flowmaps.objectives._times import TimeLaw
from flowmaps.objectives._trajectories import Trajectories

__all__ = ["WholePaths", "WholeSpan"]

_MEETS = 1e-6
"""How far a record may be from a time that is asked for, as a share of the records' interval."""


@final
class WholeSpan(TimeLaw):
    """s at the interval's lower end and t at the upper, of every row.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.WholeSpan().sample(2, (0.0, 3.0))
        >>> s.tolist(), t.tolist()
        ([0.0, 0.0], [3.0, 3.0])
    """

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the ends; see TimeLaw."""
        lower, upper = interval
        s = torch.full((n,), lower, dtype=torch.float64, device="cpu")
        return s, torch.full_like(s, upper)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class WholePaths(PointLaw):
    """The first record of one of the ``Trajectories``, and several later ones as its path.

    The law of times has no say: s is the time of the first record, t that of the path's last.

    Args:
        times: None for all records after the first; a number n for n of them, evenly by number,
            the last one included; or times of records, increasing.

    Raises:
        TypeError: for what is neither a whole number nor a list of numbers.
        ValueError: for no times, or times that do not increase; at a draw, for more times than
            there are records after the first, or a time at which there is no record.

    Example:
        >>> import torch, flowmaps as fm
        >>> times = torch.linspace(0.0, 1.0, 5)
        >>> data = fm.objectives.Trajectories(times, times[:, None, None].expand(5, 3, 2))
        >>> law, ends = fm.objectives.WholePaths(2), fm.objectives.WholeSpan()
        >>> draw = law.draw(data, ends, 6, None, 0.0)
        >>> draw.path.shape, draw.path_times[0].tolist()
        (torch.Size([6, 2, 2]), [0.5, 1.0])
    """

    def __init__(self, times: Count | Sequence[float] | Tensor | None = None):
        self.times = _as_choice(times)

    def _pick(self, source: Any, batch: int | None, generator: torch.Generator | None) -> Picked:
        if not isinstance(source, Trajectories):
            raise TypeError(
                "this objective draws whole paths from fm.objectives.Trajectories(times, states), "
                f"got {type(source).__name__}"
            )
        rows, condition = source.sample(batch, generator)

        def place(s: Tensor, t: Tensor, diagonal: int) -> Draw:
            start, points = source.record(rows, torch.zeros_like(rows))
            records = [source.record(rows, number) for number in self._numbers(source, rows)]
            times, states = (torch.stack(part, 1) for part in zip(*records, strict=True))
            return Draw(
                start, times[:, -1], points, path=states, path_times=times, condition=condition
            )

        return Picked(len(rows), (0.0, 1.0), place)

    def _numbers(self, source: Trajectories, rows: Tensor) -> list[Tensor]:
        """Return the numbers (rows,) of the records of a path, one tensor a time."""
        later = len(source.times) - 1
        if isinstance(self.times, tuple):
            return [_number_at(source, rows, time) for time in self.times]
        count = later if self.times is None else self.times
        if count > later:
            raise ValueError(
                f"the trajectories have {later} records after the first, got times={count}; ask "
                "for fewer, or record more"
            )
        return [torch.full_like(rows, (i + 1) * later // count) for i in range(count)]


def _as_choice(times: Any) -> int | tuple[float, ...] | None:
    """Return a number of times, the times, or None for all; raise for anything else."""
    if times is None:
        return None
    if not isinstance(times, Sequence) and getattr(times, "ndim", 0) == 0:
        return as_count(times, "times")
    clock = as_numbers(times, "times").cpu()
    if clock.ndim != 1 or len(clock) == 0 or not bool(torch.isfinite(clock).all()):
        raise ValueError(f"times must be a list of finite times, at least one, got {brief(times)}")
    if not bool((clock.diff() > 0).all()):
        raise ValueError(f"times must increase strictly, got {brief(clock.tolist())}")
    return tuple(clock.tolist())


def _number_at(source: Trajectories, rows: Tensor, time: float) -> Tensor:
    """Return the number (rows,) of the record at a time; raise unless every row has one later."""
    wanted = torch.full((len(rows),), time, dtype=torch.float64, device="cpu")
    number = source.nearest(rows, wanted)
    first, last = source.clock(rows, torch.zeros_like(wanted)), source.clock(rows, wanted * 0 + 1)
    found = source.record(rows, number)[0].cpu()
    good = ((found - wanted).abs() <= _MEETS * (last - first)) & (number > 0)
    if not bool(good.all()):
        bad = int((~good).nonzero()[0])
        raise ValueError(
            f"times must be those of records after the first, got {time:g}; trajectory "
            f"{int(rows[bad])} is recorded from {first[bad].item():g} to {last[bad].item():g}, "
            f"nearest at {found[bad].item():g}"
        )
    return number

"""A source of draws: recorded trajectories."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_numbers, check_condition, check_state, shorten
from flowmaps._typing import Condition
from flowmaps.objectives._sources import drawn_rows, rows_of

__all__ = ["Trajectories"]


@final
class Trajectories:
    """Recorded trajectories: states at known times, shaped as ``FlowMap.along`` returns them.

    Args:
        times: of the records, strictly increasing: (n_times,), or (n_times, n) where every
            trajectory has its own.
        states: (n_times, n, *event), finite; at least two times.
        condition: tensor or pytree with n rows, one for each trajectory.

    Raises:
        TypeError: if states are no real tensor, or times no numbers.
        ValueError: if shapes do not agree, times do not increase, or a state is not finite.

    Example:
        >>> import torch, flowmaps as fm
        >>> times = torch.linspace(0.0, 2.0, 21)
        >>> flow = fm.problems.DampedPendulum().flow_map()
        >>> data = fm.objectives.Trajectories(times, flow.along(0.0, times, torch.randn(50, 2)))
        >>> len(data), data.states.shape
        (50, torch.Size([21, 50, 2]))
    """

    def __init__(
        self,
        times: Sequence[float] | Sequence[Sequence[float]] | Tensor,
        states: Tensor,
        condition: Condition = None,
    ):
        check_state(states, "states")
        if states.ndim < 2 or len(states) < 2 or states.shape[1] == 0:
            raise ValueError(
                "states must have shape (n_times, n, *event) with two times and one trajectory at "
                f"least, got {tuple(states.shape)}"
            )
        clock = as_numbers(times, "times").cpu()
        n_times, n = states.shape[:2]
        if clock.shape not in ((n_times,), (n_times, n)):
            raise ValueError(
                f"times must have shape ({n_times},) or ({n_times}, {n}) like the states' first "
                f"axes, got {tuple(clock.shape)}"
            )
        _require_increasing(clock)
        _require_recorded(states)
        self.times, self.states = clock, states
        self.condition = check_condition(condition, states[0])

    def __len__(self) -> int:
        """Return the number of trajectories."""
        return self.states.shape[1]

    def sample(
        self, batch: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Condition]:
        """Return numbers of trajectories (batch,), drawn with replacement, and their condition.

        Args:
            batch: how many; None takes every trajectory once, in order.
            generator: a CPU generator, so that a draw is the same on every device.
        """
        rows = drawn_rows(len(self), batch, generator)
        return rows, rows_of(self.condition, rows)

    def clock(self, rows: Tensor, fraction: Tensor) -> Tensor:
        """Return the time at a fraction (batch,) of the interval of each row's own records."""
        lower, upper = (self._time(rows, torch.full_like(rows, end)) for end in (0, -1))
        return torch.minimum(lower + fraction * (upper - lower), upper)

    def nearest(self, rows: Tensor, time: Tensor) -> Tensor:
        """Return the number of the record nearest to each time (batch,), of two the earlier."""
        after = self._search(rows, time, right=False).clamp(1, len(self.times) - 1)
        before = after - 1
        closer = time - self._time(rows, before) <= self._time(rows, after) - time
        return torch.where(closer, before, after)

    def latest(self, rows: Tensor, time: Tensor) -> Tensor:
        """Return the number of the last record not after each time (batch,)."""
        return self._search(rows, time, right=True).clamp(min=1) - 1

    def record(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return times (batch,), float64, and states (batch, *event) of records by number."""
        device = self.states.device
        states = self.states[numbers.to(device), rows.to(device)]
        return self._time(rows, numbers).to(device), states

    def _time(self, rows: Tensor, numbers: Tensor) -> Tensor:
        return self.times[numbers] if self.times.ndim == 1 else self.times[numbers, rows]

    def _search(self, rows: Tensor, time: Tensor, right: bool) -> Tensor:
        if self.times.ndim == 1:
            return torch.searchsorted(self.times, time, right=right)
        own = self.times[:, rows].T.contiguous()
        return torch.searchsorted(own, time[:, None], right=right)[:, 0]


def _require_increasing(clock: Tensor) -> None:
    """Raise ValueError unless times (n_times,) or (n_times, n) are finite and increase."""
    good = torch.isfinite(clock).all(0) & (clock.diff(dim=0) > 0).all(0)
    if not bool(good.all()):
        where = "" if clock.ndim == 1 else f" in trajectories {_numbers(~good)}"
        raise ValueError(
            f"times must be finite and strictly increasing, and are not{where}; "
            "sort the records by time and leave repeated ones out"
        )


def _require_recorded(states: Tensor) -> None:
    """Raise ValueError that names trajectories of states (n_times, n, *event) not finite."""
    bad = ~torch.isfinite(states.detach()).flatten(2).all(2).all(0)
    if bool(bad.any()):
        raise ValueError(
            f"states are not finite in trajectories {_numbers(bad)}; leave those out, for example "
            "states[:, states.isfinite().flatten(2).all(2).all(0)]"
        )


def _numbers(chosen: Tensor) -> str:
    return shorten(chosen.nonzero().flatten().tolist())

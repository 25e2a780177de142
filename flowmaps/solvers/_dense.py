"""Dense output: one polynomial a step, evaluated anywhere between start and end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_clock, as_time
from flowmaps._transforms import any_item, is_transformed
from flowmaps._typing import Clock, Time

__all__ = ["DenseOutput", "Times", "check_inside", "horner", "in_step", "time_rows"]

ROUNDING = 8 * torch.finfo(torch.float64).eps
"""By so much of the span may a sample be read beyond where it stopped."""

Times = Time | Sequence[Time | Sequence[Time]] | np.ndarray
"""Times as users give them: one, a list, a tensor or an array."""

_UNIT = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class DenseOutput:
    """The interpolant of a solve: in step k, x = states[k] + (t - t_k) sum_j theta^j slopes[k, j].

    Differentiable in the times of evaluation too; ``derivative`` is that in closed form.

    Args:
        s, t: start and end clocks, (batch,).
        fractions: nodes as fractions of each sample's span, (n_steps + 1, batch), from 0 to 1, or
            to where a sample stopped; beyond that it reads NaN.
        states: states at the starts of the steps, (n_steps, batch, *event).
        slopes: (n_steps, degree, batch, *event).
        rebuild: turns a raveled state into the user's own structure.

    Example:
        >>> import torch, flowmaps as fm
        >>> solution = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), dense=True)
        >>> [round(value, 3) for value in solution.dense([0.0, 0.5, 1.0]).flatten().tolist()]
        [1.0, 0.607, 0.368]
    """

    s: Tensor
    t: Tensor
    fractions: Tensor
    states: Tensor
    slopes: Tensor
    rebuild: Callable[[Tensor], Any]

    def __call__(self, t_eval: Times) -> Any:
        """Evaluate at a time or at many.

        Args:
            t_eval: a number or 0-d tensor gives (batch, *event); a list, (n_times,) or
                (n_times, batch) gives (n_times, batch, *event).

        Raises:
            TypeError: for anything else.
            ValueError: for times outside a sample's span or tensors of another shape.
        """
        return self._shaped(self.at(time_rows(t_eval, self.s, "t_eval"), "t_eval"), t_eval)

    def derivative(self, t_eval: Times) -> Any:
        """Evaluate the time derivative of the interpolant, which is the field up to its error.

        That error is of one order less than the interpolant's own. Where two steps meet it is the
        derivative of the later one.

        Args:
            t_eval: as for values; so are the shapes.

        Raises:
            TypeError, ValueError: as for values.

        Example:
            >>> import torch, flowmaps as fm
            >>> solution = fm.solvers.solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), dense=True)
            >>> value, rate = solution.dense(0.5), solution.dense.derivative(0.5)
            >>> abs((value + rate).item()) < 1e-4
            True
        """
        return self._shaped(self.rate(time_rows(t_eval, self.s, "t_eval"), "t_eval"), t_eval)

    def at(self, rows: Tensor, name: str) -> Tensor:
        """Evaluate at clocks (n_times, batch), (n_times, batch, *event); errors as above."""
        return self.read(rows, check_inside(rows, self.s, self.t, name))

    def read(self, rows: Tensor, inside: Tensor) -> Tensor:
        """Evaluate at clocks (n_times, batch); NaN where they are not ``inside``."""
        theta, offset, start, slopes = self._place(rows, inside)
        return start + offset * horner(slopes, theta)

    def rate(self, rows: Tensor, name: str) -> Tensor:
        """Evaluate the derivative sum_j (j + 1) theta^j slopes[j] at clocks, as ``at``."""
        inside = check_inside(rows, self.s, self.t, name)
        theta, _, _, slopes = self._place(rows, inside)
        powers = range(self.slopes.shape[1], 0, -1)
        return horner((j * slope for j, slope in zip(powers, slopes, strict=True)), theta)

    def _place(
        self, rows: Tensor, inside: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Iterator[Tensor]]:
        """Return theta and t - t_k, ready to multiply, the states at t_k and the slopes.

        The slopes of the highest power come first.
        """
        nodes, span, since = self.fractions, self.t - self.s, rows - self.s
        fractions = since / torch.where(span == 0, 1.0, span)
        located = fractions.detach().clamp(0.0, 1.0)
        # The zeros have vmap batch both alike; else it would hand on what is not contiguous.
        edges = nodes.detach() + torch.zeros_like(located.sum(0))
        places = located + torch.zeros_like(nodes[0])
        index = torch.searchsorted(edges.mT.contiguous(), places.mT.contiguous(), right=True).mT
        number = torch.arange(1, len(nodes), device=nodes.device)[:, None]
        rest = torch.where(nodes[1:] > nodes[:-1], number, 0).amax(0).clamp_max(len(number) - 1)
        index = torch.minimum(index - 1, rest).clamp_min(0)
        left, right = nodes.gather(0, index), nodes.gather(0, index + 1)
        samples = torch.arange(nodes.shape[1], device=nodes.device).expand_as(index)
        start = self.states[index, samples]
        theta, offset = in_step(fractions, since, span, left, right, start)
        # Beyond the time where a sample stopped, but for rounding, there is nothing to read.
        known = inside & (located <= nodes[-1] + ROUNDING)
        theta = torch.where(per_step(known, start), theta, torch.nan)
        descending = reversed(range(self.slopes.shape[1]))
        return theta, offset, start, (self.slopes[:, j][index, samples] for j in descending)

    def _shaped(self, values: Tensor, t_eval: Times) -> Any:
        """Return values (n_times, batch, *event) in the user's structure, of one time alone."""
        alone = not isinstance(t_eval, list | tuple) and getattr(t_eval, "ndim", 0) == 0
        return self.rebuild(values[0] if alone else values)


def in_step(
    fractions: Tensor, since: Tensor, span: Tensor, left: Tensor, right: Tensor, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where in its step a time lies: theta = (t - t_k) / h, and t - t_k.

    Args:
        fractions, since: where in the sample's span, as a fraction and as a time, (*steps,).
        span: of the sample, broadcasting against these.
        left, right: fractions where the step starts and ends, (*steps,).
        like: states (*steps, *event) which the results are ready to multiply.
    """
    theta = (fractions - left) / torch.where(left == right, 1.0, right - left)
    return per_step(theta.to(like.dtype), like), per_step(
        (since - left * span).to(like.dtype), like
    )


def horner(slopes: Iterable[Tensor], theta: Tensor) -> Tensor:
    """Return sum_j theta^j slopes[j]; the highest power comes first."""
    total = torch.zeros_like(theta)
    for slope in slopes:
        total = total * theta + slope
    return total


def per_step(value: Tensor, states: Tensor) -> Tensor:
    """Return value (*steps,) shaped to broadcast against states (*steps, *event)."""
    return value.reshape(*value.shape, *([1] * (states.ndim - value.ndim)))


def time_rows(times: Times, clock: Clock, name: str) -> Tensor:
    """Return times as (n_times, batch), float64.

    Args:
        times: a number, a list of numbers or 0-d tensors, a list of such lists, or of shape
            (n_times,) or (n_times, batch).
        clock: of the samples, (batch,).
        name: what to call them in errors.

    Raises:
        TypeError: for anything but real numbers and tensors.
        ValueError: for another shape.
    """
    if isinstance(times, list | tuple):
        times = _listed(times, clock, name)
    if isinstance(times, np.ndarray):
        times = torch.as_tensor(times)
    if not isinstance(times, Tensor):
        times = as_clock(cast(Time, times), clock, name)[None]
    if times.is_complex() or times.dtype == torch.bool:
        raise TypeError(f"{name} must be real, got dtype {times.dtype}")
    if times.ndim > 2 or (times.ndim == 2 and times.shape[1] != clock.shape[0]):
        raise ValueError(
            f"{name} must have shape (n_times,) or (n_times, {clock.shape[0]}), "
            f"got {tuple(times.shape)}"
        )
    times = times.to(clock)
    return times if times.ndim == 2 else times.reshape(-1, 1).expand(-1, clock.shape[0])


def _listed(times: Sequence[Any], clock: Clock, name: str) -> Tensor:
    """Return a list, or a list of lists, as a tensor in float64."""
    rows = []
    for i, time in enumerate(times):
        if isinstance(time, list | tuple):
            rows.append(_listed(time, clock, f"{name}[{i}]"))
        else:
            entry = as_time(time, clock[:1], f"{name}[{i}]")
            entry = torch.as_tensor(entry, dtype=torch.float64, device=clock.device)
            rows.append(entry.reshape(()))
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"the rows of {name} must be of one length")
    return torch.stack(rows) if rows else clock.new_empty(0)


def check_inside(rows: Tensor, s: Clock, t: Clock, name: str) -> Tensor:
    """Tell which times (n_times, batch) lie in their sample's span, up to rounding.

    Eagerly all must; transformed and compiled calls read NaN outside.

    Raises:
        ValueError: names the first such time.
    """
    slack = 1e-12 * (t - s).abs() + _UNIT * torch.maximum(s.abs(), t.abs())
    early, late = torch.minimum(s, t) - slack, torch.maximum(s, t) + slack
    inside = (rows >= early) & (rows <= late)
    if torch.compiler.is_compiling() or any(map(is_transformed, (rows, s, t))):
        return inside
    if any_item(~inside):
        k, i = (~inside).nonzero()[0].tolist()
        raise ValueError(
            f"{name} must lie between each sample's start and end time, got "
            f"{rows[k, i].item():.6g} for sample {i} from s = {s[i].item():.6g} "
            f"to t = {t[i].item():.6g}"
        )
    return inside

"""Dense output: one polynomial a step, evaluated anywhere between start and end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_clock, checks_values
from flowmaps._transforms import any_item, is_transformed
from flowmaps._typing import Time

__all__ = ["DenseOutput"]


@dataclass(frozen=True)
class DenseOutput:
    """The interpolant of a solve: in step k, x = states[k] + sum_j theta^(j+1) coefficients[k, j].

    Args:
        s, t: start and end clocks, (batch,).
        fractions: nodes as fractions of each sample's span, (n_steps + 1, batch), from 0 to 1.
        states: states at the starts of the steps, (n_steps, batch, *event).
        coefficients: (n_steps, degree, batch, *event).
        rebuild: turns a raveled state into the user's own structure.
    """

    s: Tensor
    t: Tensor
    fractions: Tensor
    states: Tensor
    coefficients: Tensor
    rebuild: Callable[[Tensor], Any]

    def __call__(self, t_eval: Time | list[float]) -> Any:
        """Evaluate at a number or 0-d tensor (batch, *event), or at times (n_times,) or (n_times, batch).

        Raises:
            ValueError: for times outside a sample's span or tensors of another shape.
        """
        times = self._times(t_eval)
        values = self.at_fractions(self._fractions_of(times))
        if not isinstance(t_eval, list | tuple) and torch.as_tensor(t_eval).ndim == 0:
            values = values[0]
        return self.rebuild(values)

    def _times(self, t_eval: Time | list[float]) -> Tensor:
        return time_rows(t_eval, self.s, "t_eval")

    def _fractions_of(self, times: Tensor) -> Tensor:
        span = self.t - self.s
        fractions = (times - self.s) / torch.where(span == 0, 1.0, span)
        refuse_outside(fractions, "t_eval")
        return fractions.clamp(0.0, 1.0)

    def at_fractions(self, fractions: Tensor) -> Tensor:
        """Evaluate at fractions (n_times, batch) of each sample's span; result (n_times, batch, *event)."""
        nodes = self.fractions
        steps = len(self.states)
        index = torch.searchsorted(
            nodes.mT.contiguous(), fractions.detach().mT.contiguous(), right=True
        ).mT
        index = (index - 1).clamp(0, steps - 1)
        left, right = nodes.gather(0, index), nodes.gather(0, index + 1)
        width = right - left
        theta = (fractions - left) / torch.where(width == 0, 1.0, width)
        event = self.states.shape[2:]
        theta = theta.to(self.states.dtype).reshape(*theta.shape, *([1] * len(event)))
        samples = torch.arange(nodes.shape[1], device=nodes.device).expand_as(index)
        value = torch.zeros_like(self.states[index, samples])
        for j in reversed(range(self.coefficients.shape[1])):
            value = (value + self.coefficients[:, j][index, samples]) * theta
        return self.states[index, samples] + value


def time_rows(times: Time | list[float], clock: Tensor, name: str) -> Tensor:
    """Return times as (n_times, batch), float64, from a number, a list, (n_times,) or (n_times, batch)."""
    if isinstance(times, list | tuple):
        times = torch.tensor(times, dtype=torch.float64, device=clock.device)
    if not isinstance(times, Tensor) or times.ndim == 0:
        return as_clock(times, clock, name)[None]
    if times.ndim > 2 or (times.ndim == 2 and times.shape[1] != clock.shape[0]):
        raise ValueError(
            f"{name} must have shape (n_times,) or (n_times, {clock.shape[0]}), got {tuple(times.shape)}"
        )
    times = times.to(clock)
    return times if times.ndim == 2 else times[:, None].expand(-1, clock.shape[0])


def refuse_outside(fractions: Tensor, name: str) -> None:
    """Raise ValueError if any fraction of a span lies outside [0, 1] by more than rounding."""
    if is_transformed(fractions) and not checks_values():
        return
    if any_item((fractions < -1e-12) | (fractions > 1 + 1e-12)):
        raise ValueError(f"{name} must lie between each sample's start and end time")

"""The driver of fixed grids: pure steps along given fractions of every sample's span.

Fixed-step solves follow a uniform grid. Adaptive solves search their grid without derivatives and then follow
it, so that derivatives see a pure composition of accepted steps whose fractions are frozen.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from flowmaps._checks import per_sample
from flowmaps._typing import Clock, Field, State
from flowmaps.solvers._method import Step, Stepper

__all__ = ["Followed", "follow", "uniform"]


@dataclass(frozen=True)
class Followed:
    """The end state, and when recorded the starts (n_steps, batch, *event) and coefficients of the interpolants."""

    x: Tensor
    states: Tensor | None = None
    coefficients: Tensor | None = None


def uniform(steps: int, clock: Clock) -> Tensor:
    """Return the nodes of equal steps, (steps + 1, batch)."""
    nodes = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64, device=clock.device)
    return nodes[:, None].expand(-1, clock.shape[0])


def follow(
    method: Stepper,
    field: Field,
    fractions: Tensor,
    s: Clock,
    t: Clock,
    x: State,
    first: State | None = None,
    record: bool = False,
) -> Followed:
    """Step x through the nodes s (1 - fraction) + t fraction; fractions (n_steps + 1, batch).

    ``first`` is the field at (s, x) if it is known.

    Differentiable in s, t, x and everything in the field, with the fractions held fixed.
    """
    starts: list[Tensor] = []
    coefficients: list[Tensor] = []
    for k in range(len(fractions) - 1):
        left = s * (1 - fractions[k]) + t * fractions[k]
        h = (fractions[k + 1] - fractions[k]) * (t - s)
        step = method.step(field, left, h, x, first)
        last = step.last
        if record:
            last = field(left + h, step.x) if last is None else last
            starts.append(x)
            coefficients.append(interpolant(method, h, x, step, last))
        x, first = step.x, last
    if not record:
        return Followed(x)
    return Followed(x, torch.stack(starts), torch.stack(coefficients))


def interpolant(method: Stepper, h: Clock, x: State, step: Step, last: State) -> Tensor:
    """Return the coefficients (degree, batch, *event) of the polynomial inside one step.

    The method's own dense weights where it has them, else the cubic Hermite interpolant of both ends.
    """
    width = per_sample(h, x)
    dense = method.dense_weights
    if dense is not None:
        powers = zip(*dense, strict=True)
        return torch.stack(
            [width * sum(w * k for w, k in zip(row, step.stages, strict=True) if w) for row in powers]
        )
    rise, first = step.x - x, step.stages[0]
    return torch.stack(
        [
            width * first,
            3 * rise - width * (2 * first + last),
            width * (first + last) - 2 * rise,
        ]
    )

"""The order of a batch in which samples with fewer steps stand behind, so that they can be left."""

from typing import NamedTuple

import torch
from torch import Tensor

from flowmaps._checks import finite_samples
from flowmaps._transforms import carries_derivative, is_vmapping, peek
from flowmaps._typing import Clock, Mask, State

__all__ = ["ByLength", "by_length", "takes_no_step"]


class ByLength(NamedTuple):
    """Samples in the order of their numbers of steps, the longest way first.

    Args:
        order: their numbers, (batch,).
        back: where each sample stands in that order, (batch,).
        moving: for every step, how many samples still take it.
    """

    order: Tensor
    back: Tensor
    moving: tuple[int, ...]


def takes_no_step(s: Clock, t: Clock, first: State | None, record: bool) -> Mask:
    """Tell which samples rest, s = t, and need no step of length zero, (batch,).

    One step shows the derivative in the times, and what dense output is there, if the field there,
    ``first``, is finite.
    """
    if is_vmapping() or s.is_meta:
        return torch.zeros_like(s, dtype=torch.bool)
    if not (record or carries_derivative((s, t))):
        return s == t
    if first is None:
        return torch.zeros_like(s, dtype=torch.bool)
    return (s == t) & ~finite_samples(first.detach())


def by_length(fractions: Tensor, idle: Mask) -> ByLength | None:
    """Return the order by length; None where all take all steps, or nobody can look.

    A sample that has finished must not go on with steps of length zero: where its field has no
    finite derivative at the end, zero times that is NaN, in what samples share as well.

    Args:
        fractions: nodes, (n_steps + 1, batch), that rest where a sample has finished.
        idle: which samples take no step at all, (batch,).
    """
    if is_vmapping() or fractions.is_meta:
        return None
    nodes = peek(fractions.detach())
    number = torch.arange(1, len(nodes), device=nodes.device)[:, None]
    steps = torch.where(nodes[1:] > nodes[:-1], number, 0).amax(0)
    steps = torch.where(peek(idle), 0, steps)
    most = len(nodes) - 1
    leaving = torch.bincount(steps, minlength=most + 1).tolist()
    if leaving[most] == len(steps):
        return None
    order = steps.argsort(descending=True, stable=True)
    moving, left = [], len(steps)
    for count in leaving[:-1]:
        left -= count
        moving.append(left)
    return ByLength(order, order.argsort(), tuple(moving))

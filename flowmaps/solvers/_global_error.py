"""An estimate of the global error: the same grid once more, every step halved."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from flowmaps.solvers._bind import Detached
from flowmaps.solvers._drive import Driven, Recorded, Start
from flowmaps.solvers._follow import follow, replay_evaluations
from flowmaps.solvers._method import Stepper
from flowmaps.solvers._stops import by_stretches

__all__ = ["driven_twice", "extrapolated"]

Drive = Callable[[Start], Driven]
"""Solves one stretch."""


def driven_twice(
    method: Stepper, record: bool, drive: Drive, stops: tuple[float, ...], start: Start
) -> tuple[Driven, Driven]:
    """Drive the whole way, and then once more on the same grid with every step halved.

    The states of the second, which has no derivatives, carry an error 2^order times smaller.

    Args:
        method: of the steps.
        record: whether the second keeps its steps, for errors along the way.
        drive: solves one stretch and keeps its nodes.
        stops: times that part the stretches.
        start: of the whole way.
    """
    stretches: list[Driven] = []

    def watched(start: Start) -> Driven:
        stretches.append(drive(start))
        return stretches[-1]

    def whole(drive: Drive) -> Driven:
        return by_stretches(drive, start, stops) if stops else drive(start)

    driven = whole(watched)
    with torch.no_grad():
        fine = whole(_halved(method, record, iter(stretches)))
    counts = driven.statistics
    counts = replace(counts, evaluations=counts.evaluations + fine.statistics.evaluations)
    return replace(driven, statistics=counts), fine


def _halved(method: Stepper, record: bool, stretches: Iterator[Driven]) -> Drive:
    """Return what drives one stretch after the other in half steps, and counts its own work."""

    def drive(start: Start) -> Driven:
        coarse = next(stretches)
        assert coarse.nodes is not None
        nodes = halve(coarse.nodes)
        field, (s, t, x, first) = Detached(start.field), (a.detach() for a in start[1:5])
        found = follow(method, field, nodes, s, t, x, first, record)
        recorded = None
        if found.states is not None and found.slopes is not None:
            recorded = Recorded(nodes, found.states, found.slopes)
        counts = coarse.statistics
        halves = 2 * counts.accepted.clamp_min(1)
        cost = replay_evaluations(method, halves, record, x)
        counts = replace(counts, evaluations=cost)
        return replace(coarse, x=found.x, recorded=recorded, saved=None, statistics=counts)

    return drive


def halve(nodes: Tensor) -> Tensor:
    """Return nodes (n + 1, batch) with those in the middle between them, (2 n + 1, batch)."""
    middles = (nodes[:-1] + nodes[1:]) / 2
    return torch.cat([torch.stack([nodes[:-1], middles], dim=1).flatten(0, 1), nodes[-1:]])


def extrapolated(coarse: Tensor, fine: Tensor, order: int) -> Tensor:
    """Return the error of coarse, if that of fine is 2^order times smaller, without derivatives.

    Source:
        Shampine, Watts (1976), Global error estimation for ordinary differential equations, ACM
            Trans. Math. Softw. 2, 172-186.
    """
    return (coarse - fine).detach() / (1 - 0.5**order)

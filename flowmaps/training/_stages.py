"""Training in stages, in which each student teaches the next."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flowmaps._checks import brief
from flowmaps.maps import FlowMap
from flowmaps.objectives import Objective
from flowmaps.training._engine import FitResult, fit

__all__ = ["fit_in_stages"]


def fit_in_stages(
    learned: FlowMap,
    make: Callable[[Any, Any], Objective],
    source: Any,
    *,
    teacher: Any,
    stages: Sequence[Any],
    folder: str | Path | None = None,
    **options: Any,
) -> list[FitResult]:
    """Train a map by one objective after another; after a stage it is the next one's teacher.

    Progressive distillation halves the number of steps, progressive flow map matching doubles the
    longest span. The map goes on with the weights of the stage before.

    Args:
        learned: the map, trained in place.
        make: ``make(teacher, stage) -> objective``.
        source: as for ``fit``.
        teacher: of the first stage: a field or a flow map, as ``make`` takes it.
        stages: what ``make`` is called with, such as numbers of steps 64, 32, ..., 1.
        folder: of the whole; each stage has a folder in it, ``stage-0``, ``stage-1``, ...
        options: of ``fit``, the same in every stage.

    Returns:
        The result of every stage, with a copy of the map as it was after it.

    Raises:
        ValueError: without stages.
        TypeError: if ``make`` returns no objective.

    Source:
        Salimans and Ho (2022), arXiv:2202.00512, algorithm 2; Boffi, Albergo and Vanden-Eijnden
        (2024), arXiv:2406.07507, progressive flow map matching.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=8, depth=1))
        >>> make = lambda teacher, count: fm.objectives.progressive_distillation(
        ...     teacher=teacher, count=count
        ... )
        >>> data = fm.objectives.Pairs(None, torch.zeros(64, 1))
        >>> results = fm.training.fit_in_stages(
        ...     learned, make, data, teacher=lambda t, x: -x, stages=[4, 2, 1], steps=2, batch=8
        ... )
        >>> len(results)
        3
    """
    if not callable(make):
        raise TypeError(f"make must be callable as (teacher, stage), got {brief(make)}")
    if len(stages) == 0:
        raise ValueError("there must be at least one stage")
    results = []
    for number, stage in enumerate(stages):
        own = None if folder is None else Path(folder) / f"stage-{number}"
        result = fit(learned, make(teacher, stage), source, folder=own, **options)
        teacher = copy.deepcopy(learned)
        results.append(FitResult(**(vars(result) | {"learned": teacher})))
    return results

"""Work and precision of solvers on one case."""

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from work_precision.case import Case
from work_precision.libraries import LIBRARIES, TORCH_ONLY, Ends, Solver

__all__ = ["Row", "measured", "of_batch", "ratios", "seconds_at", "told"]

Row = dict[str, Any]
"""solver, tolerance, seconds, worst error, and counts where they are known."""


def available(case: Case) -> Iterator[Solver]:
    """Yield the solvers of the libraries that are here."""
    for library in LIBRARIES:
        if case.x.is_cuda and library not in TORCH_ONLY:
            continue
        try:
            yield from library(case)
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)


def of_batch(name: str, case: Case, repeats: int) -> list[Row]:
    """Measure every solver on a batch.

    The rounds go through all solvers and tolerances in turn, so that a machine that is busy for a
    while is not so to one of them alone; the least time counts. The first round, in which code is
    compiled, does not.
    """
    truth = case.on("cpu").reference()
    best: dict[tuple[str, float], tuple[float, Ends]] = {}
    solvers = list(available(case))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for turn in range(1 + repeats):
            for solver in solvers:
                for tolerance in case.tolerances:
                    key = solver.name, tolerance
                    if turn and key not in best:
                        continue
                    try:
                        seconds, ends = measured(solver, tolerance, case.x.is_cuda)
                    except Exception as error:  # a competitor may give up
                        print(
                            f"{name}: {key} {type(error).__name__}: {error}"[:300], file=sys.stderr
                        )
                        continue
                    before = best[key][0] if turn > 1 else np.inf
                    best[key] = min(before, seconds), ends
    return [
        told(name, _row(key, seconds, ends, truth, case.compared_every))
        for key, (seconds, ends) in best.items()
    ]


def _row(key: tuple[str, float], seconds: float, ends: Ends, truth: Any, every: int) -> Row:
    x = ends.x.cpu() if isinstance(ends.x, torch.Tensor) else ends.x
    worst = float(np.abs(np.asarray(x)[::every] - truth).max())
    row = {"solver": key[0], "tolerance": key[1], "seconds": seconds, "worst error": worst}
    return {**row, "evaluations": ends.evaluations, "steps": ends.steps}


def measured(solver: Solver, tolerance: float, cuda: bool = False) -> tuple[float, Ends]:
    """Return process CPU seconds, on a GPU wall seconds, of one solve, and its outcome."""
    if not cuda:
        start = time.process_time()
        ends = solver.solve(tolerance)
        return time.process_time() - start, ends
    torch.cuda.synchronize()
    start = time.perf_counter()
    ends = solver.solve(tolerance)
    torch.cuda.synchronize()
    return time.perf_counter() - start, ends


def told(name: str, row: Row) -> Row:
    """Return a row after it is written to the log."""
    print(
        f"{name:15s} {row['solver']:34s} {row['tolerance']:.0e} {row['seconds']:9.4f} s "
        f"{row['worst error']:.1e} {row.get('steps') or ''}",
        file=sys.stderr,
        flush=True,
    )
    return row


def seconds_at(rows: Sequence[Row], error: float, work: str = "seconds") -> float | None:
    """Return the work of a solver for a worst error, between its runs; None outside of them.

    What counts for an error is the least work that reaches it: runs that take longer for a greater
    error than another are passed over.
    """
    points: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: row["worst error"], reverse=True):
        point = float(np.log(max(row["worst error"], 1e-300))), float(np.log(row[work]))
        while points and points[-1][1] >= point[1]:
            points.pop()
        points.append(point)
    errors, works = zip(*points[::-1], strict=True)
    loosest = max(row["worst error"] for row in rows)  # it may have been passed over
    if not errors[0] <= np.log(error) <= np.log(max(loosest, 1e-300)):
        return None
    return float(np.exp(np.interp(np.log(error), errors, works)))


def ratios(
    rows: Sequence[Row], error: float, ours: Sequence[str] | None = None
) -> dict[str, float]:
    """Return how many times longer the best of each other library takes; {} without ours.

    Args:
        rows: of all solvers on one case.
        error: the worst error.
        ours: which of our solvers take part; all by default.
    """
    best: dict[str, float] = {}
    for solver in {row["solver"] for row in rows}:
        library = solver.split()[0]
        if library == "flowmaps" and ours is not None and solver not in ours:
            continue
        seconds = seconds_at([row for row in rows if row["solver"] == solver], error)
        if seconds is not None:
            best[library] = min(seconds, best.get(library, np.inf))
    mine = best.pop("flowmaps", None)
    if mine is None:
        return {}
    return {library: seconds / mine for library, seconds in sorted(best.items())}

"""End-point errors against evaluations on the 25 problems of DETEST."""

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from work_precision.case import Case
from work_precision.detest import detest
from work_precision.libraries import Solver, ours, scipys, torchdiffeqs
from work_precision.measure import Row, measured, seconds_at

__all__ = ["PAIRS", "of_detest", "proportionality", "work_at_equal_error"]

METHODS = ("Bosh3", "Dopri5", "Tsit5", "Dop853")
LOOSE = 1e-6
"""Below it a method of order three would take ten thousands of steps."""
PAIRS = {
    "flowmaps Tsit5": ("scipy RK45", "torchdiffeq dopri5", "flowmaps Dopri5"),
    "flowmaps Dop853": ("scipy DOP853",),
}
"""Whose work is compared with whose."""


def of_detest() -> list[Row]:
    """Measure every solver on every problem; errors are over 1 + |x|, as tolerances are."""
    rows: list[Row] = []
    with torch.no_grad():
        for name, case in detest().items():
            truth = case.reference()
            for solver in _solvers(case):
                for tolerance in case.tolerances:
                    if tolerance < LOOSE and "Bosh3" in solver.name:
                        continue
                    row = _measured(solver, tolerance, truth)
                    rows.append({"problem": name, **row})
            print(f"detest {name} done", file=sys.stderr, flush=True)
    return rows


def _solvers(case: Case) -> Iterable[Solver]:
    yield from (s for s in ours(case, METHODS) if "compiled" not in s.name)
    yield from scipys(case, ("RK45", "DOP853"))
    yield from torchdiffeqs(case, ("dopri5",))


def _measured(solver: Solver, tolerance: float, truth: Any) -> Row:
    seconds, ends = measured(solver, tolerance)
    error = np.abs(np.asarray(ends.x) - truth) / (1 + np.abs(truth))
    return {
        "solver": solver.name,
        "tolerance": tolerance,
        "seconds": seconds,
        "worst error": float(error.max()),
        "evaluations": ends.evaluations,
        "steps": ends.steps,
    }


def proportionality(rows: list[Row]) -> dict[str, Any]:
    """Return error over tolerance of every method: median, tenth and last decile, extremes.

    ``over 100`` names the problems whose error is ever more than a hundred times the tolerance;
    ``spread``, by how much the error over tolerance of one problem varies with the tolerance, has
    its median and worst.
    """
    found: dict[str, Any] = {}
    for solver in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == solver]
        ratio = np.array([row["worst error"] / row["tolerance"] for row in mine])
        by_problem: dict[str, list[float]] = {}
        for row, value in zip(mine, ratio, strict=True):
            by_problem.setdefault(row["problem"], []).append(float(value))
        spread = {name: max(v) / max(min(v), 1e-300) for name, v in by_problem.items()}
        low, median, high = np.quantile(ratio, [0.1, 0.5, 0.9])
        found[solver] = {
            "tenth": low, "median": median, "ninetieth": high, "worst": float(ratio.max()),
            "over 100": sorted(name for name, v in by_problem.items() if max(v) > 100),
            "median spread": float(np.median(list(spread.values()))),
        }  # fmt: skip
    return found


def work_at_equal_error(rows: list[Row], work: str) -> dict[str, dict[str, float]]:
    """Return the work of other solvers over ours, geometric mean over problems and errors."""
    errors = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    curves: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        curves.setdefault((row["solver"], row["problem"]), []).append(row)
    problems = dict.fromkeys(row["problem"] for row in rows)
    found: dict[str, dict[str, float]] = {}
    for mine, others in PAIRS.items():
        for other in others:
            logs = []
            for problem in problems:
                for error in errors:
                    a = seconds_at(curves[mine, problem], error, work)
                    b = seconds_at(curves[other, problem], error, work)
                    if a is not None and b is not None:
                        logs.append(np.log(b / a))
            mean = float(np.exp(np.mean(logs)))
            found.setdefault(mine, {})[other] = mean
    return found

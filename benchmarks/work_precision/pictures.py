"""Work against precision, one picture a case."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowmaps._pages._plots import MUTED, PALETTE, canvas, label, to_png
from work_precision.measure import Row

__all__ = ["of_runs", "of_stiff", "of_tests"]

COLOURS: dict[str, str] = dict(
    zip(("flowmaps", "torchdiffeq", "torchode", "scipy", "diffrax"), PALETTE, strict=False)
)
STROKES = {
    "tsit5": "-", "dopri5": "--", "rk45": "--", "853": ":", "dopri8": ":", "bosh3": "-.",
    "rodas5p": "-", "radau": "--", "bdf": ":", "lsoda": "-.",
}  # fmt: skip
SECOND = {"flowmaps": "compiled", "torchode": "PID"}
"""What a library's solvers are called in their better setting; the other is drawn paler."""


def of_runs(title: str, rows: list[Row], path: Path, unit: str = "CPU seconds") -> None:
    """Draw seconds against the largest error, a line a solver, a colour a library."""
    figure, axes = canvas(1, 1, 8.2, 4.4)
    _lines(axes, rows, "worst error", "seconds")
    label(axes, title, "largest error over batch and components", unit)
    _finish(figure, axes)
    path.write_bytes(to_png(figure))


def of_tests(rows: list[Row], path: Path) -> None:
    """Draw evaluations against the error, means over DETEST, and the error over the tolerance."""
    figure, axes = canvas(1, 2, 11.0, 4.2)
    means = []
    for solver in _solvers(rows):
        for tolerance in dict.fromkeys(row["tolerance"] for row in rows):
            mine = [r for r in rows if (r["solver"], r["tolerance"]) == (solver, tolerance)]
            if mine:
                row = {key: _mean(mine, key) for key in ("worst error", "evaluations")}
                over = [r["worst error"] / tolerance for r in mine]
                spread = {"low": np.quantile(over, 0.1), "high": np.quantile(over, 0.9)}
                row |= {"over": float(np.median(over)), **spread}
                means.append({"solver": solver, "tolerance": tolerance, **row})
    _lines(axes[0], means, "worst error", "evaluations")
    label(axes[0], "25 problems of DETEST", "error at T = 20 (geometric mean)", "evaluations")
    few = [row for row in means if row["solver"].startswith("flowmaps")]
    _lines(axes[1], few, "tolerance", "over")
    band = [row for row in few if row["solver"] == "flowmaps Tsit5"]
    tolerances, low, high = ([row[key] for row in band] for key in ("tolerance", "low", "high"))
    axes[1].fill_between(tolerances, low, high, color=COLOURS["flowmaps"], alpha=0.12, linewidth=0)
    axes[1].axhline(100, color=MUTED, linewidth=0.8, linestyle="--")
    label(
        axes[1],
        "the median problem, and between deciles for Tsit5",
        "tolerance",
        "error / tolerance",
    )
    axes[1].invert_xaxis()
    _finish(figure, axes[0])
    path.write_bytes(to_png(figure))


def of_stiff(rows: list[Row], path: Path) -> None:
    """Draw seconds and steps against the error."""
    figure, axes = canvas(1, 2, 11.0, 4.2)
    _lines(axes[0], rows, "worst error", "seconds")
    label(axes[0], "Robertson to T = 1e4", "largest relative error", "CPU seconds")
    _lines(
        axes[1], [row for row in rows if "compiled" not in row["solver"]], "worst error", "steps"
    )
    label(axes[1], "steps for an error", "largest relative error", "accepted steps")
    axes[1].invert_xaxis()
    _finish(figure, axes[0])
    path.write_bytes(to_png(figure))


def _lines(axes: Any, rows: list[Row], x: str, y: str) -> None:
    """Draw a line a solver: colour by library, stroke by method, ours on top."""
    both = {
        solver.split()[0]
        for solver in _solvers(rows)
        if SECOND.get(solver.split()[0], "-") in solver
    }
    for solver in _solvers(rows):
        library = solver.split()[0]
        mine = sorted((row for row in rows if row["solver"] == solver), key=lambda row: row[x])
        ours = library == "flowmaps"
        pale = library in both and SECOND[library] not in solver
        axes.loglog(
            [row[x] for row in mine],
            [row[y] for row in mine],
            color=COLOURS[library],
            alpha=0.45 if pale else 1.0,
            linestyle=next(stroke for name, stroke in STROKES.items() if name in solver.lower()),
            linewidth=1.6 if ours else 1.0,
            marker="s" if "shared" in solver else "o",
            markersize=3.0 if ours else 2.0,
            zorder=3 if ours else 2,
            label=solver,
        )
    axes.grid(True, which="major", color=MUTED, alpha=0.25, linewidth=0.5)
    axes.minorticks_off()
    low, high = axes.get_ylim()
    if high / low < 100:  # one power of ten alone says too little
        ticks = [a * 10.0**k for k in range(-6, 7) for a in (1, 2, 5) if low <= a * 10.0**k <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _finish(figure: Any, axes: Any) -> None:
    """Put one legend to the right of all axes; precision grows to the right."""
    axes.invert_xaxis()
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside right center", fontsize=8, frameon=False, handlelength=3
    )


def _solvers(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["solver"] for row in rows))


def _mean(rows: list[Row], key: str) -> float:
    return float(np.exp(np.mean([np.log(max(row[key], 1e-16)) for row in rows])))

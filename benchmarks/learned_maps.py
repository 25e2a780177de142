"""Quantiles of learned maps against a grid: ``python benchmarks/learned_maps.py [--runs FOLDER]``.

The surrogate of the pendulum and the model of digits that ``flowmaps demo`` trains are calibrated
against a solver and verified. The 95th percentile of every residual is then measured anew, on a
regular grid of times and states (fresh states of the interpolant for the digits), in float64, with
the equations, fields and laws of states written out here, one-sided differences in place of forward
mode and Simpson's rule in place of Gauss and Legendre's. Both must agree within 20 %.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import write_record
from torch import Tensor

import flowmaps as fm
from flowmaps.cli._runs import KINDS, open_run
from flowmaps.maps import FlowMap

WITHIN = 0.2
"""How far the two percentiles may be apart, written down before the run."""
ZERO = 1e-6
"""A residual below is one that holds by construction: rounding, which nobody compares."""
STEP, PANELS, ROWS = 1e-4, 24, 4096
"""Of differences; of Simpson's rule; samples of one call."""


@dataclass(frozen=True)
class Subject:
    """A learned map with what it is asked, and the same written out for the grid.

    Args:
        points: of the verification.
        tolerance: of the solver that it is calibrated against.
        field: b(t, x, label).
        grid: yields s, u, t, states, labels and how often the point counts.
    """

    points: int
    tolerance: float
    field: Callable[[FlowMap, Tensor, Tensor, Any], Tensor]
    grid: Callable[[], tuple[Tensor, Tensor, Tensor, Tensor, Any, np.ndarray]]


def sorted_triples(nodes: int, end: float) -> tuple[Tensor, np.ndarray]:
    """Return the sorted triples of midpoints of [0, end], (n, 3), and how often each occurs."""
    middles = (np.arange(nodes) + 0.5) / nodes * end
    triples = np.sort(np.array(list(product(middles, repeat=3))), axis=1)
    found, counts = np.unique(triples, axis=0, return_counts=True)
    return torch.from_numpy(found), counts


def pendulum_field(learned: FlowMap, t: Tensor, x: Tensor, label: None) -> Tensor:
    """Return the field of the damped pendulum."""
    return torch.stack([x[:, 1], -0.05 * x[:, 1] - 9.81 * torch.sin(x[:, 0])], dim=1)


def pendulum_grid() -> tuple[Tensor, Tensor, Tensor, Tensor, None, np.ndarray]:
    """Return a grid of the states of bounded energy, for every triple of times in a second."""
    level = 3.0**2 / 2 + 9.81 * (1 - math.cos(3.0))
    angle = (torch.arange(32, dtype=torch.float64) + 0.5) / 32 * 2 * math.pi - math.pi
    velocity = ((torch.arange(32, dtype=torch.float64) + 0.5) / 16 - 1) * math.sqrt(2 * level)
    x = torch.cartesian_prod(angle, velocity)
    x = x[x[:, 1] ** 2 / 2 + 9.81 * (1 - torch.cos(x[:, 0])) <= level]
    times, counts = sorted_triples(7, 1.0)
    rows = times.repeat_interleave(len(x), 0)
    s, u, t = rows.unbind(1)
    return s, u, t, x.repeat(len(times), 1), None, np.repeat(counts, len(x))


def digits_field(learned: FlowMap, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
    """Return the velocity that the network learned: its mean velocity over no span."""
    assert isinstance(learned, fm.maps.NeuralFlowMap)
    return learned.network(t, t, x, label)


def digits_grid() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, np.ndarray]:
    """Return a fresh state of the trigonometric interpolant for every triple of times.

    Twenty times, for the residuals are largest within a few hundredths of both ends: a grid of ten
    does not see them, and its percentiles are up to 30 % too small.
    """
    digits = fm.generative.load_digits()
    times, counts = sorted_triples(20, 1.0)
    s, u, t = times.unbind(1)
    generator = torch.Generator().manual_seed(12345)
    which = torch.randint(len(digits.train), (len(times),), generator=generator)
    noise = torch.randn(len(times), 1, 8, 8, generator=generator, dtype=torch.float64)
    angle = (math.pi / 2 * s)[:, None, None, None]
    x = torch.cos(angle) * noise + torch.sin(angle) * digits.train[which].double()
    return s, u, t, x, digits.train_labels[which], counts


SUBJECTS = {
    "pendulum": Subject(4096, 1e-6, pendulum_field, pendulum_grid),
    "digits": Subject(1024, 1e-4, digits_field, digits_grid),
}


def residuals(
    learned: FlowMap,
    field: Callable[..., Tensor],
    s: Tensor,
    u: Tensor,
    t: Tensor,
    x: Tensor,
    c: Any,
) -> Iterator[tuple[str, Tensor]]:
    """Yield the residuals of the equations that a verdict rests on, (batch, *event) each."""

    def flow(start: Tensor, end: Tensor, state: Tensor) -> Tensor:
        return learned(start, end, state, c)

    def b(time: Tensor, state: Tensor) -> Tensor:
        return field(learned, time, state, c)

    def wide(time: Tensor) -> Tensor:
        return time.reshape(-1, *[1] * (x.ndim - 1))

    def slope(a: Tensor, middle: Tensor, far: Tensor) -> Tensor:
        """Return the derivative at the first of three values a step apart."""
        return (4 * middle - 3 * a - far) / (2 * STEP)

    y, velocity = flow(s, t, x), b(s, x)
    yield "semigroup", flow(u, t, flow(s, u, x)) - y
    yield "tangent", slope(x, flow(s, s + STEP, x), flow(s, s + 2 * STEP, x)) - velocity
    yield "lagrangian", slope(y, flow(s, t + STEP, x), flow(s, t + 2 * STEP, x)) - b(t, y)
    # back along (1, b): starts that lie before s, so that the map is asked forwards alone
    before = [flow(s - k * STEP, t, x - k * STEP * velocity) for k in (1, 2)]
    yield "eulerian", -slope(y, *before)
    nodes = np.linspace(0.0, 1.0, PANELS + 1)
    weights = np.array([1.0] + [4.0, 2.0] * (PANELS // 2 - 1) + [4.0, 1.0]) / (3 * PANELS)
    integral = torch.zeros_like(x)
    for part, weight in zip(nodes, weights, strict=True):
        r = s + (t - s) * part
        integral = integral + weight * wide(t - s) * b(r, flow(s, r, x))
    yield "integral lagrangian", y - x - integral


@torch.no_grad()
def on_grid(learned: FlowMap, subject: Subject) -> dict[str, float]:
    """Return the 95th percentile of the largest component of every residual."""
    s, u, t, x, label, counts = subject.grid()
    sizes: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(x), ROWS):
        few = slice(first, first + ROWS)
        c = None if label is None else label[few]
        found = residuals(learned, subject.field, s[few], u[few], t[few], x[few], c)
        for name, residual in found:
            sizes.setdefault(name, []).append(residual.abs().flatten(1).amax(1).numpy())
    return {
        name: float(np.percentile(np.repeat(np.concatenate(each), counts), 95))
        for name, each in sizes.items()
    }


def measured(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Calibrate and verify the map of a run, and measure it on the grid."""
    subject, run = SUBJECTS[name], open_run(folder)
    learned = run.flow_map()
    asked = run.kind.question(run.recipe, learned)
    where: dict[str, Any] = dict(domain=asked.domain, times=asked.times, dtype=torch.float32)
    where["points"] = subject.points
    solver = fm.maps.SolverFlowMap(asked.field, rtol=subject.tolerance, atol=subject.tolerance)
    start = time.perf_counter()
    budget = fm.testing.calibrate(learned, solver, seed=1, **where)
    calibrated = time.perf_counter()
    report = fm.testing.verify(learned, asked.field, budget=budget, **where)
    verified = time.perf_counter()
    grid = on_grid(run.flow_map().double(), subject)
    seconds = {"calibrate": calibrated - start, "verify": verified - calibrated}
    seconds["grid"] = time.perf_counter() - verified
    rows = {each: _row(report[each].quantiles[0.95], most) for each, most in grid.items()}
    figures = {
        "verdict": report.verdict,
        "reason": report.reason,
        "budget": {"state": budget.state, "velocity": budget.velocity},
        "95th percentiles": rows,
        "all agree": all(row["agree"] for row in rows.values()),
        "seconds": {key: round(value, 1) for key, value in seconds.items()},
    }
    return figures, f"## {name}\n\n{_table(rows)}\n{report.to_markdown()}\n"


def _row(report: float, grid: float) -> dict[str, Any]:
    if max(report, grid) < ZERO:
        return {"report": report, "grid": grid, "ratio": None, "agree": True}
    ratio = report / grid
    return {"report": report, "grid": grid, "ratio": ratio, "agree": abs(ratio - 1) <= WITHIN}


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| property | report's 95 % | grid's 95 % | ratio |", "|---|---|---|---|"]
    for name, row in rows.items():
        ratio = "by construction" if row["ratio"] is None else f"{row['ratio']:.3f}"
        lines.append(f"| {name} | {row['report']:.3g} | {row['grid']:.3g} | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure both maps, trained anew unless there are runs, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder of runs called pendulum and digits")
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures, log = {}, ""
    with tempfile.TemporaryDirectory() as fresh:
        for name in SUBJECTS:
            folder = (given.runs or Path(fresh)) / name
            if not folder.exists():
                KINDS[name].recipe().train(folder, progress=False)
            figures[name], said = measured(name, folder)
            print(said, file=sys.stderr, flush=True)
            log += said
    thresholds = {"95th percentiles agree within": WITHIN}
    print(write_record("learned-maps", thresholds, figures, log))


if __name__ == "__main__":
    main()

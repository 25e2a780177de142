"""Robertson's stiff reactions to T = 1e4 beside scipy: case (f)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import flowmaps as fm
from work_precision.libraries import Ends, Solver
from work_precision.measure import Row, measured, told

__all__ = ["of_robertson", "steps_beside_radau"]

TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
END, SMALL = 1e4, 1e-6
"""The least concentration is near 1e-6, so atol is 1e-6 rtol; errors are relative."""


def rates(a: Any, b: Any, c: Any) -> tuple[Any, Any, Any]:
    """Return the field's components."""
    first, second = 0.04 * a - 1e4 * b * c, 3e7 * b * b
    return -first, first - second, second


def jacobian(_: float, x: Any) -> list[list[float]]:
    """Return the Jacobian, which scipy is given as plain numbers."""
    _, b, c = x.tolist()
    lost, bound = 6e7 * b, 1e4 * b
    return [[-0.04, 1e4 * c, bound], [0.04, -1e4 * c - lost, -bound], [0.0, lost, 0.0]]


def solvers() -> Iterator[Solver]:
    """Yield ours and scipy's."""
    x = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)

    def field(t: Any, x: Any) -> Any:
        return torch.stack(rates(*x.unbind(1)), dim=1)

    def rodas(compile: bool) -> Solver:
        def solve(tolerance: float) -> Ends:
            found = fm.solvers.solve(
                field, 0.0, END, x, method=fm.solvers.Rodas5P(),
                rtol=tolerance, atol=SMALL * tolerance, compile=compile,
            )  # fmt: skip
            counts = found.statistics
            cost = int(counts.evaluations), int(counts.accepted), int(counts.rejected)
            return Ends(found.x.numpy()[0], *cost)

        return Solver(f"flowmaps Rodas5P{' compiled' if compile else ''}", solve)

    yield rodas(True)
    yield rodas(False)
    for method in ("Radau", "BDF", "LSODA"):
        yield Solver(
            f"scipy {method}", lambda tolerance, method=method: by_scipy(method, tolerance)
        )


def by_scipy(method: Any, tolerance: float, small: float = SMALL) -> Ends:
    """Solve with the Jacobian in closed form; ``nfev`` leaves it out, as it does factorisations."""
    from scipy.integrate import solve_ivp

    found = solve_ivp(
        lambda t, x: rates(*x.tolist()), (0, END), [1.0, 0.0, 0.0], method,
        jac=jacobian, rtol=tolerance, atol=small * tolerance,
    )  # fmt: skip
    return Ends(found.y[:, -1], found.nfev, len(found.t) - 1)


def of_robertson(repeats: int) -> list[Row]:
    """Measure every solver; precision is the greatest relative error of a component."""
    truth, rows = by_scipy("Radau", 1e-12).x, []
    with torch.no_grad():
        for solver in solvers():
            for tolerance in TOLERANCES:
                runs = [measured(solver, tolerance) for _ in range(1 + repeats)]
                ends = runs[-1][1]
                row = {
                    "solver": solver.name,
                    "tolerance": tolerance,
                    "seconds": min(seconds for seconds, _ in runs[1:]),
                    "worst error": float(np.abs(ends.x / truth - 1).max()),
                    "evaluations": ends.evaluations,
                    "steps": ends.steps,
                    "rejected": ends.rejected,
                }
                rows.append(told("robertson", row))
    return rows


def steps_beside_radau(rows: list[Row]) -> dict[str, float]:
    """Return the steps of Rodas5P over those of Radau, by tolerance."""
    steps = {(row["solver"], row["tolerance"]): row["steps"] for row in rows}
    return {
        f"{tolerance:.0e}": steps["flowmaps Rodas5P", tolerance] / steps["scipy Radau", tolerance]
        for tolerance in TOLERANCES
    }

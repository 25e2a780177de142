"""Work against precision of adaptive solvers, ours and others: ``python benchmarks/solvers.py``.

Every solver solves the same batch at several tolerances on one thread; the work is process CPU
seconds of the best of some runs, without the first (compilation), the precision the largest error
over batch and components against scipy's DOP853 at 1e-13.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from _record import write_record
from torch import Tensor

import flowmaps as fm

THRESHOLDS = {
    "vdp": {"torchode": 5.0, "torchdiffeq": 20.0, "diffrax": 2.0},
    "lorenz": {"torchode": 10.0, "torchdiffeq": 10.0, "scipy": 1.0},
    "mlp": {"torchode": 1.3, "torchdiffeq": 1.3},
}
"""How many times faster than the best of each library at equal worst-case error."""
TOLERANCES = [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
Run = tuple[float, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A batch to solve; fields of (t, x, parameter), t 0-d or (batch,)."""

    x: Tensor
    parameter: Tensor
    end: float
    torch_field: Callable[..., Tensor]
    array_field: Callable[..., Any]
    """Of one sample, for numpy and jax alike: module, t, x (n,), parameter."""


def van_der_pol() -> Case:
    """Return 4096 oscillators from smooth to nearly stiff."""
    mu = torch.logspace(-1, 1, 4096)
    x = torch.tensor([2.0, 0.0]) + 0.1 * torch.randn(4096, 2)

    def field(t: Tensor, x: Tensor, mu: Tensor) -> Tensor:
        return torch.stack([x[:, 1], mu * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], dim=1)

    def array_field(xp: Any, t: Any, x: Any, mu: Any) -> Any:
        return xp.stack([x[1], mu * (1 - x[0] ** 2) * x[1] - x[0]])

    return Case(x, mu, 10.0, field, array_field)


def lorenz() -> Case:
    """Return one chaotic trajectory."""

    def field(t: Tensor, x: Tensor, _: Tensor) -> Tensor:
        a, b, c = x.unbind(1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=1)

    def array_field(xp: Any, t: Any, x: Any, _: Any) -> Any:
        a, b, c = x
        return xp.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c])

    return Case(torch.ones(1, 3), torch.zeros(1), 5.0, field, array_field)


def mlp() -> Case:
    """Return 4096 samples of a random network's field of time and state."""
    widths = (3, 64, 64, 2)
    layers = [torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
    for layer in layers:
        layer.requires_grad_(False).weight.mul_(3.0)
    arrays = [(layer.weight.numpy(), layer.bias.numpy()) for layer in layers]

    def field(t: Tensor, x: Tensor, _: Tensor) -> Tensor:
        y = torch.cat([x, t.to(x).expand(len(x))[:, None]], dim=1)
        for layer in layers[:-1]:
            y = torch.tanh(layer(y))
        return layers[-1](y)

    def array_field(xp: Any, t: Any, x: Any, _: Any) -> Any:
        y = xp.concatenate([x, xp.asarray(t)[None]])
        for weight, bias in arrays[:-1]:
            y = xp.tanh(weight @ y + bias)
        return arrays[-1][0] @ y + arrays[-1][1]

    return Case(torch.randn(4096, 2), torch.zeros(4096), 1.0, field, array_field)


CASES = {"vdp": van_der_pol, "lorenz": lorenz, "mlp": mlp}


# ---------------------------------------------------------------------------- solvers


def ours(case: Case) -> Iterator[tuple[str, Callable[[float], np.ndarray]]]:
    """Yield our solvers."""
    methods = {"Tsit5": fm.solvers.Tsit5(), "Dop853": fm.solvers.Dop853()}
    for compile in (True, False):
        for name, method in methods.items():

            def solve(tolerance: float, method: Any = method, compile: bool = compile) -> Any:
                found = fm.solvers.solve(
                    case.torch_field, 0.0, case.end, case.x, case.parameter,
                    method=method, rtol=tolerance, atol=tolerance, compile=compile,
                )  # fmt: skip
                return found.x.numpy()

            yield f"flowmaps {name}{' compiled' if compile else ''}", solve
    if len(case.x) > 1:
        shared = fm.solvers.PI(shared=True)
        yield "flowmaps Tsit5 shared steps", lambda tolerance: fm.solvers.solve(
            case.torch_field, 0.0, case.end, case.x, case.parameter,
            rtol=tolerance, atol=tolerance, controller=shared,
        ).x.numpy()  # fmt: skip


def of_torchdiffeq(case: Case) -> Iterator[tuple[str, Callable[[float], np.ndarray]]]:
    """Yield torchdiffeq's adaptive solvers; one step size for the whole batch."""
    from torchdiffeq import odeint

    times = torch.tensor([0.0, case.end])

    def field(t: Tensor, x: Tensor) -> Tensor:
        return case.torch_field(t, x, case.parameter)

    for method in ("dopri5", "tsit5", "dopri8"):

        def solve(tolerance: float, method: str = method) -> Any:
            path = odeint(field, case.x, times, method=method, rtol=tolerance, atol=tolerance)
            return torch.as_tensor(path)[-1].numpy()

        yield f"torchdiffeq {method}", solve


def of_torchode(case: Case) -> Iterator[tuple[str, Callable[[float], np.ndarray]]]:
    """Yield torchode's solvers with both controllers."""
    import torchode as to  # pyright: ignore[reportMissingImports]

    n = len(case.x)
    ends = torch.zeros(n), torch.full((n,), case.end)
    for name in ("Tsit5", "Dopri5"):
        for pid in (False, True):

            def solve(tolerance: float, name: str = name, pid: bool = pid) -> Any:
                term = to.ODETerm(lambda t, x: case.torch_field(t, x, case.parameter))
                controller = (
                    to.PIDController(tolerance, tolerance, 0.2, 0.5, 0.0, term=term)
                    if pid
                    else to.IntegralController(atol=tolerance, rtol=tolerance, term=term)
                )
                solver = to.AutoDiffAdjoint(getattr(to, name)(term=term), controller)
                return solver.solve(to.InitialValueProblem(case.x, *ends)).ys[:, -1].numpy()

            yield f"torchode {name} {'PID' if pid else 'I'}", solve


def of_scipy(case: Case) -> Iterator[tuple[str, Callable[[float], np.ndarray]]]:
    """Yield scipy's solvers, for one sample."""
    if len(case.x) > 1:
        return
    from scipy.integrate import solve_ivp

    start = case.x[0].numpy()

    def field(t: float, x: Any) -> Any:
        a, b, c = x
        return 10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c

    for method in ("RK45", "DOP853", "LSODA"):

        def solve(tolerance: float, method: Any = method) -> Any:
            found = solve_ivp(
                field, (0, case.end), start, method=method, rtol=tolerance, atol=tolerance
            )
            return found.y[:, -1][None]

        yield f"scipy {method}", solve


def of_diffrax(case: Case) -> Iterator[tuple[str, Callable[[float], np.ndarray]]]:
    """Yield diffrax's solvers, compiled and vmapped."""
    import diffrax as dfx  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    numpy = jax.numpy
    term = dfx.ODETerm(lambda t, x, parameter: case.array_field(numpy, t, x, parameter))
    x, parameter = numpy.asarray(case.x.numpy()), numpy.asarray(case.parameter.numpy())
    for name in ("Tsit5", "Dopri5", "Dopri8"):

        def one(x: Any, parameter: Any, tolerance: Any, name: str = name) -> Any:
            found = dfx.diffeqsolve(
                term, getattr(dfx, name)(), 0.0, case.end, None, x, args=parameter,
                stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance),
                saveat=dfx.SaveAt(t1=True), max_steps=100_000,
            )  # fmt: skip
            return found.ys[0]

        batched = jax.jit(jax.vmap(one, in_axes=(0, 0, None)))
        yield (
            f"diffrax {name}",
            lambda tolerance, batched=batched: np.asarray(batched(x, parameter, tolerance)),
        )


LIBRARIES = (ours, of_torchdiffeq, of_torchode, of_scipy, of_diffrax)


# ---------------------------------------------------------------------------- measuring


def reference(case: Case) -> np.ndarray:
    """Return the ends by scipy's DOP853 at 1e-13, of the whole batch as one system."""
    from scipy.integrate import solve_ivp

    shape = case.x.shape

    def field(t: float, flat: Any) -> Any:
        x = torch.from_numpy(flat.reshape(shape))
        return case.torch_field(torch.tensor(t), x, case.parameter).numpy().ravel()

    start = case.x.numpy().ravel()
    found = solve_ivp(field, (0, case.end), start, method="DOP853", rtol=1e-13, atol=1e-13)
    return found.y[:, -1].reshape(shape)


def measured(solve: Callable[[float], np.ndarray], tolerance: float, repeats: int) -> Run:
    """Return the least CPU seconds of some solves, and the ends."""
    ends = solve(tolerance)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        ends = solve(tolerance)
        seconds.append(time.process_time() - start)
    return min(seconds), ends


def one(name: str, repeats: int) -> list[dict[str, Any]]:
    """Measure every solver on one case."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    case = CASES[name]()
    truth, found = reference(case), []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            for label, solve in library(case):
                for tolerance in TOLERANCES:
                    try:
                        seconds, ends = measured(solve, tolerance, repeats)
                    except Exception as error:  # a competitor may give up
                        print(name, label, tolerance, type(error).__name__, file=sys.stderr)
                        continue
                    worst = float(np.abs(ends - truth).max())
                    row = {"solver": label, "tolerance": tolerance, "seconds": seconds}
                    found.append({**row, "worst error": worst})
                    print(f"{name:8s} {label:28s} {tolerance:.0e} {seconds:9.4f} s {worst:.1e}",
                          file=sys.stderr, flush=True)  # fmt: skip
    return found


def at_error(rows: list[dict[str, Any]], error: float) -> float | None:
    """Return the seconds that a solver takes for a worst error, between its runs; None outside."""
    points = sorted((np.log(row["worst error"]), np.log(row["seconds"])) for row in rows)
    errors, seconds = zip(*points, strict=True)
    if not errors[0] <= np.log(error) <= errors[-1]:
        return None
    return float(np.exp(np.interp(np.log(error), errors, seconds)))


def ratios(rows: list[dict[str, Any]], error: float) -> dict[str, float]:
    """Return how many times longer the best of each other library takes."""
    best: dict[str, float] = {}
    for solver in {row["solver"] for row in rows}:
        seconds = at_error([row for row in rows if row["solver"] == solver], error)
        library = solver.split()[0]
        if seconds is not None:
            best[library] = min(seconds, best.get(library, np.inf))
    mine = best.pop("flowmaps", np.inf)
    return {library: seconds / mine for library, seconds in sorted(best.items())}


def picture(figures: dict[str, list[dict[str, Any]]], path: Any) -> None:
    """Draw work against precision, a case a panel."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(figures), figsize=(5 * len(figures), 4.5), squeeze=False)
    for panel, (name, rows) in zip(axes[0], figures.items(), strict=True):
        for solver in dict.fromkeys(row["solver"] for row in rows):
            mine = [row for row in rows if row["solver"] == solver]
            panel.loglog(
                [row["worst error"] for row in mine],
                [row["seconds"] for row in mine],
                marker="o" if solver.startswith("flowmaps") else ".",
                linewidth=2 if solver.startswith("flowmaps") else 1,
                label=solver,
            )
        panel.set_title(name)
        panel.set_xlabel("largest error")
        panel.set_ylabel("CPU seconds")
        panel.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every case in a process of its own, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=[], help=f"of {', '.join(CASES)}; all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help="one case, for this script")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.repeats)))
        return
    figures: dict[str, Any] = {}
    log = ""
    for name in given.cases or CASES:
        command = [sys.executable, __file__, "--one", name, "--repeats", str(given.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        figures[name] = json.loads(done.stdout.splitlines()[-1])
        log += done.stderr
    compared = {
        name: {f"{error:.0e}": ratios(rows, error) for error in (1e-3, 1e-5, 1e-7)}
        for name, rows in figures.items()
    }
    record = write_record("solvers", THRESHOLDS, {"times faster": compared, "runs": figures}, log)
    picture(figures, record / "work-precision.png")
    print(log)
    print(json.dumps(compared, indent=1))
    print(record)


if __name__ == "__main__":
    main()

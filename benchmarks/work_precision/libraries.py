"""The solvers of each library, in the setting that its documentation recommends."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import flowmaps as fm
from work_precision.case import Case

__all__ = ["LIBRARIES", "TORCH_ONLY", "Ends", "Solver", "ours", "scipys", "torchdiffeqs"]


@dataclass(frozen=True)
class Ends:
    """What a solve has found: states at the end (batch, n), and what it cost where that is told."""

    x: Any
    evaluations: int | None = None
    steps: int | None = None
    rejected: int | None = None


@dataclass(frozen=True)
class Solver:
    """A library's solver for one case: from a tolerance to the ends."""

    name: str
    solve: Callable[[float], Ends]


def ours(
    case: Case, methods: tuple[str, ...] = ("Tsit5", "Dop853"), shared: bool = True
) -> Iterator[Solver]:
    """Yield our methods, compiled and not, and with steps shared by the batch."""

    def solver(name: str, method: Any, **options: Any) -> Solver:
        def solve(tolerance: float) -> Ends:
            found = fm.solvers.solve(
                case.torch_field, 0.0, case.end, case.x, case.parameter,
                method=method, rtol=tolerance, atol=tolerance, **options,
            )  # fmt: skip
            counts = found.statistics
            most = [int(a.max()) for a in (counts.evaluations, counts.accepted, counts.rejected)]
            return Ends(found.x, *most)

        return Solver(f"flowmaps {name}", solve)

    made = {name: getattr(fm.solvers, name)() for name in methods}
    for name, method in made.items():
        yield solver(f"{name} compiled", method, compile=True)
    for name, method in made.items():
        yield solver(name, method)
    if shared and len(case.x) > 1:
        steps = fm.solvers.PI(shared=True)
        dopri5 = fm.solvers.Dopri5()
        yield solver("Dopri5 shared, compiled", dopri5, controller=steps, compile=True)
        yield solver("Dopri5 shared", dopri5, controller=steps)


def torchdiffeqs(case: Case, methods: tuple[str, ...] = ("dopri5", "dopri8")) -> Iterator[Solver]:
    """Yield torchdiffeq's adaptive methods; one step size for the whole batch."""
    from torchdiffeq import odeint

    times = torch.tensor([0.0, case.end], device=case.x.device)

    def solver(method: str) -> Solver:
        def solve(tolerance: float) -> Ends:
            calls = 0

            def field(t: Any, x: Any) -> Any:
                nonlocal calls
                calls += 1
                return case.torch_field(t, x, case.parameter)

            path = odeint(field, case.x, times, method=method, rtol=tolerance, atol=tolerance)
            return Ends(torch.as_tensor(path)[-1], calls)

        return Solver(f"torchdiffeq {method}", solve)

    return map(solver, methods)


def torchodes(case: Case) -> Iterator[Solver]:
    """Yield torchode's methods with both of its controllers."""
    import torchode as to  # pyright: ignore[reportMissingImports]

    n = len(case.x)
    ends = case.x.new_zeros(n), case.x.new_full((n,), case.end)

    def solver(name: str, pid: bool) -> Solver:
        def solve(tolerance: float) -> Ends:
            term = to.ODETerm(lambda t, x: case.torch_field(t, x, case.parameter))
            controller = (
                to.PIDController(tolerance, tolerance, 0.2, 0.5, 0.0, term=term)
                if pid
                else to.IntegralController(atol=tolerance, rtol=tolerance, term=term)
            )
            method = to.AutoDiffAdjoint(getattr(to, name)(term=term), controller).to(case.x.device)
            return Ends(method.solve(to.InitialValueProblem(case.x, *ends)).ys[:, -1])

        return Solver(f"torchode {name} {'PID' if pid else 'I'}", solve)

    return (solver(name, pid) for name in ("Tsit5", "Dopri5") for pid in (False, True))


def scipys(case: Case, methods: tuple[str, ...] = ("RK45", "DOP853", "LSODA")) -> Iterator[Solver]:
    """Yield scipy's methods, for one sample; in plain numbers where these are quicker."""
    from scipy.integrate import solve_ivp

    if len(case.x) > 1:
        return
    start = case.x[0].numpy()
    components = case.components

    def field(t: float, x: Any) -> Any:
        if components is None:
            return case.array_field(np, t, x, None)
        return components(math, t, x.tolist(), None)

    def solver(method: Any) -> Solver:
        def solve(tolerance: float) -> Ends:
            found = solve_ivp(field, (0, case.end), start, method, rtol=tolerance, atol=tolerance)
            return Ends(found.y[:, -1][None], found.nfev, len(found.t) - 1)

        return Solver(f"scipy {method}", solve)

    yield from map(solver, methods)


def diffraxes(case: Case) -> Iterator[Solver]:
    """Yield diffrax's methods, compiled and vmapped."""
    import diffrax as dfx  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    numpy = jax.numpy
    term = dfx.ODETerm(lambda t, x, parameter: case.array_field(numpy, t, x, parameter))
    x, parameter = numpy.asarray(case.x.numpy()), numpy.asarray(case.parameter.numpy())

    def solver(name: str) -> Solver:
        def one(x: Any, parameter: Any, tolerance: Any) -> Any:
            found = dfx.diffeqsolve(
                term, getattr(dfx, name)(), 0.0, case.end, None, x, args=parameter,
                stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance),
                saveat=dfx.SaveAt(t1=True), max_steps=100_000,
            )  # fmt: skip
            return found.ys[0]

        batched = jax.jit(jax.vmap(one, in_axes=(0, 0, None)))

        def solve(tolerance: float) -> Ends:
            return Ends(batched(x, parameter, tolerance).block_until_ready())

        return Solver(f"diffrax {name}", solve)

    return map(solver, ("Tsit5", "Dopri5", "Dopri8"))


TORCH_ONLY: tuple[Callable[[Case], Iterator[Solver]], ...] = (ours, torchdiffeqs, torchodes)
LIBRARIES = (*TORCH_ONLY, scipys, diffraxes)

"""What ``fm.testing.verify`` finds in other people's maps: ``python benchmarks/strangers.py``.

Solvers of torchdiffeq, torchode, scipy and diffrax solve a pendulum, each called as its own
documentation says, through the public interface of verification alone. A normalising flow of zuko
and a neural flow of stribor (Bilos et al. 2021, arXiv:2110.13040) are asked whether they are flows.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from _record import write_record
from torch import Tensor

import flowmaps as fm

EXPECTED = {
    "torchdiffeq dopri5": "flow map of the field",
    "torchdiffeq rk4, 40 steps": "flow map of the field",
    "torchode Tsit5": "flow map of the field",
    "scipy DOP853": "flow map of the field",
    "diffrax Tsit5": "flow map of the field",
    "zuko, T(t) after T(s)'s inverse": "a flow",
    "zuko, conditioned on both times": "not a flow",
    "stribor, F(t) after F(s)'s inverse": "a flow",
    "stribor, F(t - s)": "not a flow",
}
"""Verdicts that were written down before the run."""
TOLERANCE = 1e-6


def pendulum(t: Tensor, x: Tensor) -> Tensor:
    """Return the field of the pendulum."""
    return torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)


@dataclass(frozen=True)
class Stranger:
    """A map that is not of this library, and how it is verified."""

    name: str
    flow_map: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    field: Callable[..., Tensor] | None = pendulum


def of_torchdiffeq(**options: Any) -> Callable[..., Tensor]:
    """Return torchdiffeq's odeint, every sample's time mapped to [0, 1]."""
    from torchdiffeq import odeint

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        def scaled(part: Tensor, state: Tensor) -> Tensor:
            return (t - s)[:, None] * pendulum(s + part * (t - s), state)

        return torch.as_tensor(odeint(scaled, x, torch.tensor([0.0, 1.0]), **options))[-1]

    return flow_map


def of_torchode() -> Callable[..., Tensor]:
    """Return torchode's per-sample solve."""
    import torchode as to  # pyright: ignore[reportMissingImports]

    term = to.ODETerm(pendulum)
    method = to.Tsit5(term=term)
    controller = to.IntegralController(atol=TOLERANCE, rtol=TOLERANCE, term=term)
    solver = to.AutoDiffAdjoint(method, controller)

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return solver.solve(to.InitialValueProblem(x, t_start=s, t_end=t)).ys[:, -1]

    return flow_map


def of_scipy() -> Callable[..., Tensor]:
    """Return scipy's solve_ivp, sample by sample."""
    from scipy.integrate import solve_ivp

    def one(s: float, t: float, x: np.ndarray) -> np.ndarray:
        if s == t:
            return x
        tight: dict[str, Any] = dict(method="DOP853", rtol=TOLERANCE, atol=TOLERANCE)
        return solve_ivp(lambda _, y: [y[1], -np.sin(y[0])], (s, t), x, **tight).y[:, -1]

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        rows = zip(s.tolist(), t.tolist(), x.numpy(), strict=True)
        return torch.from_numpy(np.stack([one(*row) for row in rows])).to(x.dtype)

    return flow_map


def of_diffrax() -> Callable[..., Tensor]:
    """Return diffrax's solve, vmapped and compiled by JAX."""
    import diffrax as dfx  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    numpy = jax.numpy
    term = dfx.ODETerm(lambda t, y, _: numpy.stack([y[1], -numpy.sin(y[0])]))
    controller = dfx.PIDController(rtol=TOLERANCE, atol=TOLERANCE)

    def one(s: Any, t: Any, x: Any) -> Any:
        span = numpy.where(s == t, 1e-30, t - s)
        found = dfx.diffeqsolve(
            term, dfx.Tsit5(), s, s + span, None, x, stepsize_controller=controller
        )
        assert found.ys is not None
        return numpy.where(s == t, x, found.ys[-1])

    batched = jax.jit(jax.vmap(one))

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.from_numpy(np.array(batched(s.numpy(), t.numpy(), x.numpy())))

    return flow_map


def of_zuko(both: bool) -> Callable[..., Tensor]:
    """Return a spline flow of zuko, untrained, conditioned on one time or on both."""
    import zuko  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    flow = zuko.flows.NSF(features=2, context=2 if both else 1, transforms=2, hidden_features=(32,))
    flow = flow.double().requires_grad_(False)

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        if both:
            return flow(torch.stack([s, t], dim=1)).transform(x)
        latent = flow(s[:, None]).transform(x)
        return flow(t[:, None]).transform.inv(latent)

    return flow_map


def of_stribor(difference: bool) -> Callable[..., Tensor]:
    """Return a neural flow F(t, .) with F(0, .) = id, untrained, as a map of two times."""
    import stribor as st  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    coupling = st.ContinuousAffineCoupling
    layers = [
        coupling(st.net.MLP(3, [32], 4), st.net.TimeTanh(4), mask)
        for mask in ("ordered_0", "ordered_1")
    ]
    for layer in layers:
        layer.double().requires_grad_(False)

    def forward(t: Tensor, x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x, t=t[:, None])
        return x

    def inverse(t: Tensor, x: Tensor) -> Tensor:
        for layer in reversed(layers):
            x = layer.inverse(x, t=t[:, None])
        return x

    def flow_map(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return forward(t - s, x) if difference else forward(t, inverse(s, x))

    return flow_map


def strangers() -> list[Stranger]:
    """Return all of them."""
    tight = fm.testing.Budget.solver(TOLERANCE, TOLERANCE, order=5)
    solver = {"budget": tight, "derivatives": "differences", "points": 256}
    adaptive = of_torchdiffeq(method="dopri5", rtol=TOLERANCE, atol=TOLERANCE)
    fixed = of_torchdiffeq(method="rk4", options={"step_size": 1 / 40})
    free: dict[str, Any] = {"field": None}
    return [
        Stranger("torchdiffeq dopri5", adaptive, solver),
        Stranger("torchdiffeq rk4, 40 steps", fixed, {"budget": 1e-6, "points": 256}),
        Stranger("torchode Tsit5", of_torchode(), solver),
        Stranger("scipy DOP853", of_scipy(), {**solver, "derivatives": "none", "points": 64}),
        Stranger("diffrax Tsit5", of_diffrax(), solver),
        Stranger("zuko, T(t) after T(s)'s inverse", of_zuko(False), **free),
        Stranger("zuko, conditioned on both times", of_zuko(True), **free),
        Stranger("stribor, F(t) after F(s)'s inverse", of_stribor(False), **free),
        Stranger("stribor, F(t - s)", of_stribor(True), **free),
    ]


def main() -> None:
    """Verify all of them and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    box = fm.testing.Box([-1.5, -1.5], [1.5, 1.5])
    log, found = "", {}
    for one in strangers():
        if given.names and not any(name in one.name for name in given.names):
            continue
        start = time.perf_counter()
        report = fm.testing.verify(one.flow_map, one.field, box, (0.0, 2.0), **one.options)
        seconds = time.perf_counter() - start
        said = f"## {one.name} ({seconds:.1f} s)\n\n{report.to_markdown()}\n"
        print(said, file=sys.stderr, flush=True)
        log += said
        found[one.name] = {
            "verdict": report.verdict,
            "reason": report.reason,
            "as expected": report.verdict == EXPECTED[one.name],
            "failures": {each.name: each.reason for each in report.failures},
            "seconds": round(seconds, 2),
        }
    print(write_record("strangers", {"verdicts": EXPECTED}, found, log))


if __name__ == "__main__":
    main()

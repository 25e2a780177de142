"""Part one: flow maps of real systems, computed, composed, inverted, differentiated, checked."""

import math

import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.cli.report import (
    INK,
    MUTED,
    PALETTE,
    Fact,
    Figure,
    Section,
    TableOf,
    at_most,
    canvas,
    label,
    to_png,
)

__all__ = ["systems"]

_TOLERANCE = 1e-10
_NUDGE, _LORENZ_EXPONENT = 1e-6, 0.9056
_GROWTH = (2.0, 14.0)
"""Times between which distances on the Lorenz attractor grow at one rate."""
_CAUGHT = 1e-2
"""What the residuals of a coarse map must exceed."""
_PORTRAIT = [(-2.9, 0.0), (-2.0, 0.0), (1.0, 0.0), (2.9, 0.0)]
_PORTRAIT += [(-6.0, 7.5), (6.0, -7.5), (-6.0, 6.0), (6.0, -6.0)]
"""Starts of the grey trajectories: angle and velocity."""
_CHECKED = (("damped_pendulum", 2.0, 16), ("lorenz63", 0.5, 8), ("arenstorf_orbit", 1.0, 1))
"""Name, horizon and number of states of the residual table."""


def systems(seed: int) -> Section:
    """Compute and check the flow maps of the pendulum, Lorenz-63 and the Arenstorf orbit."""
    section = Section("Flow maps of real systems")
    section.paragraphs.append(
        "A flow map takes a state at time <i>s</i> to the state at time <i>t</i>. Here it is "
        f"computed by the Tsitouras 5(4) pair with a tolerance of {_TOLERANCE:g}, every sample "
        "with its own steps, and then treated as what it is: a map that composes, inverts and "
        "differentiates."
    )
    _pendulum_picture(section, seed)
    _lorenz_picture(section)
    _arenstorf_picture(section)
    _residuals(section, seed)
    return section


def _solver_map(problem: fm.problems.Problem) -> fm.maps.SolverFlowMap:
    return fm.maps.SolverFlowMap(problem.field, rtol=_TOLERANCE, atol=_TOLERANCE)


def _pendulum_picture(section: Section, seed: int) -> None:
    """A disc of initial states carried along, coloured by stretch, over the phase portrait."""
    problem = fm.problems.get("damped_pendulum")
    flow = _solver_map(problem)
    figure, axes = canvas(1, 1, 7.0, 4.2)
    starts = torch.tensor(_PORTRAIT, dtype=torch.float64)
    rough = fm.maps.SolverFlowMap(problem.field)
    paths = rough.along(0.0, torch.linspace(0, 6, 181, dtype=torch.float64), starts)
    for k in range(len(starts)):
        axes.plot(*paths[:, k].T.numpy(), color=MUTED, linewidth=0.6, alpha=0.7)
    disc = _disc((1.6, 0.0), 0.45)
    points = None
    for time in (0.0, 0.4, 0.8, 1.2, 1.6):
        images = flow(0.0, time, disc)
        stretch = torch.linalg.svdvals(fm.calculus.jacobian(flow, 0.0, time, disc))[:, 0]
        points = axes.scatter(
            *images.T.numpy(),
            c=stretch.numpy(),
            s=2.5,
            cmap="viridis",
            vmin=1.0,
            vmax=5.0,
            linewidths=0,
        )
        x, y = (1.55 * images.mean(0)).tolist()
        axes.annotate(f"t = {time:g}", (x, y), fontsize=9, color=INK, ha="center", va="center")
    assert points is not None
    figure.colorbar(points, ax=axes, label="largest singular value of DX", pad=0.01)
    axes.set(xlim=(-4.5, 4.5), ylim=(-8, 8))
    label(axes, "Damped pendulum: a disc of initial states under the flow map", "angle", "velocity")
    section.figures.append(
        Figure(
            to_png(figure),
            "The disc on the right is carried by X<sub>0,t</sub>; colours show how far the map "
            "stretches there, from forward-mode Jacobians. Grey: trajectories.",
            "pendulum_flow.png",
        )
    )
    half = flow.between(0.8, 1.6) @ flow.between(0.0, 0.8)
    gap = _largest(half(disc) - flow(0.0, 1.6, disc))
    back = _largest(half.inverse()(half(disc)) - disc)
    section.facts += [
        at_most("pendulum: composed over 0.8 + 0.8 against one map", gap, 1e-8),
        at_most("pendulum: there and back", back, 1e-8),
    ]


def _disc(center: tuple[float, float], radius: float, rings: int = 22) -> Tensor:
    """Return points of an ellipse, twice as high as wide, (n, 2)."""
    angles = torch.linspace(0, 2 * math.pi, 121, dtype=torch.float64)[:-1]
    radii = torch.linspace(0, radius, rings, dtype=torch.float64)
    ring = torch.stack([angles.cos(), 2.0 * angles.sin()], dim=1)
    return (torch.tensor(center, dtype=torch.float64) + radii[:, None, None] * ring).reshape(-1, 2)


def _lorenz_picture(section: Section) -> None:
    """Pairs of trajectories that start 1e-6 apart: one pair, and the mean of the distance."""
    problem = fm.problems.get("lorenz63")
    flow = fm.maps.SolverFlowMap(problem.field, rtol=1e-8, atol=1e-8)
    spread = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    starts = flow(0.0, 10.0, 1.0 + spread)
    nudge = torch.tensor([[_NUDGE, 0.0, 0.0]], dtype=torch.float64)
    times = torch.linspace(0, 25, 626, dtype=torch.float64)
    one, other = flow.along(0.0, times, torch.cat([starts, starts + nudge])).chunk(2, dim=1)
    distance = (one - other).norm(dim=2).log().mean(1).exp()
    first, last = ((times - time).abs().argmin() for time in _GROWTH)
    rate = float((distance[last] / distance[first]).log() / (times[last] - times[first]))
    figure, (left, right) = canvas(1, 2, 9.0, 3.6)
    left.plot(times.numpy(), one[:, 0, 0].numpy(), color=PALETTE[0], linewidth=1.0)
    left.plot(
        times.numpy(), other[:, 0, 0].numpy(), color=PALETTE[1], linewidth=1.0, linestyle="--"
    )
    label(left, "Lorenz-63: two starts 1e-6 apart", "time", "x")
    right.semilogy(times.numpy(), distance.numpy(), color=PALETTE[0], label="mean over 64 pairs")
    growth = _NUDGE * torch.exp(_LORENZ_EXPONENT * times[:501])
    right.semilogy(
        times[:501].numpy(), growth.numpy(), color=MUTED, linestyle="--", label="1e-6 exp(0.906 t)"
    )
    right.legend(fontsize=8, frameon=False)
    label(right, "their distance (geometric mean)", "time", "distance")
    section.figures.append(
        Figure(
            to_png(figure),
            f"Chaos: distances grow at a rate of {rate:.2f} until they are as large as the "
            "attractor; the literature's largest Lyapunov exponent is 0.906.",
            "lorenz.png",
        )
    )
    gap = abs(rate - _LORENZ_EXPONENT)
    section.facts.append(
        Fact("lorenz63: growth rate of distances", f"{rate:.2f}", "0.91 within 0.1", gap <= 0.1)
    )


def _arenstorf_picture(section: Section) -> None:
    """The periodic orbit of a satellite between earth and moon, and how well it closes."""
    problem = fm.problems.get("arenstorf_orbit")
    assert isinstance(problem, fm.problems.ArenstorfOrbit)
    flow = fm.maps.SolverFlowMap(problem.field, rtol=1e-12, atol=1e-12)
    start = torch.tensor([problem.initial_state], dtype=torch.float64)
    solution = fm.solvers.solve(
        problem.field, 0.0, problem.period, start, rtol=1e-8, atol=1e-8, dense=True
    )
    path = solution(torch.linspace(0, problem.period, 2001, dtype=torch.float64))[:, 0]
    closing = float((flow(0.0, problem.period, start) - start)[:, :2].norm())
    figure, axes = canvas(1, 1, 5.0, 4.2)
    axes.plot(path[:, 0].numpy(), path[:, 1].numpy(), color=PALETTE[0], linewidth=1)
    axes.plot([0, 1], [0, 0], "o", color=INK, markersize=4)
    axes.annotate("earth", (0, 0), textcoords="offset points", xytext=(6, 6), fontsize=8)
    axes.annotate("moon", (1, 0), textcoords="offset points", xytext=(6, 6), fontsize=8)
    axes.set_aspect("equal")
    label(axes, "Arenstorf orbit, one period", "x", "y")
    section.figures.append(
        Figure(
            to_png(figure),
            f"After one period the orbit closes up to {closing:.1e}.",
            "arenstorf.png",
        )
    )
    section.facts.append(
        at_most("Arenstorf orbit: distance from closing after one period", closing, 1e-6)
    )


def _residuals(section: Section, seed: int) -> None:
    """Every equation that makes a map the flow of its field, for a fine and a coarse solver."""
    header = [
        "system",
        "map",
        "identity",
        "semigroup",
        "inverse",
        "tangent",
        "Lagrangian",
        "Eulerian",
        "Liouville",
    ]
    rows, caught = [], []
    for name, horizon, count in _CHECKED:
        problem = fm.problems.get(name)
        x = _states(problem, count, seed)
        coarse = fm.maps.SolverFlowMap(problem.field, method=fm.solvers.RK4(), steps=1)
        for kind, flow in (("Tsit5", _solver_map(problem)), ("one RK4 step", coarse)):
            values = _scaled_residuals(flow, problem, horizon, x)
            rows.append(
                [problem.name.replace("_", " "), kind, *(f"{value:.0e}" for value in values)]
            )
            if kind == "Tsit5":
                what = f"{problem.name.replace('_', ' ')}: largest scaled residual"
                section.facts.append(at_most(what, max(values), 1e-6))
            else:
                caught.append(max(values))
    section.facts.append(
        Fact(
            "one coarse Runge-Kutta step: largest residual, least of the three systems",
            f"{min(caught):.1e}",
            f"above {_CAUGHT:g}: caught",
            min(caught) > _CAUGHT,
        )
    )
    section.tables.append(
        TableOf(
            header,
            rows,
            "Largest residual, divided by one plus the size of the state or velocity (Liouville's "
            "as it is, of a logarithm). Derivatives are the map's own, taken without the help of "
            "the field: a single coarse Runge-Kutta step is caught.",
        )
    )


def _states(problem: fm.problems.Problem, count: int, seed: int) -> Tensor:
    if isinstance(problem, fm.problems.ArenstorfOrbit):
        return torch.tensor([problem.initial_state], dtype=torch.float64)
    return problem.domain.sample(
        count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def _scaled_residuals(
    flow: fm.maps.FlowMap, problem: fm.problems.Problem, horizon: float, x: Tensor
) -> list[float]:
    r, field, end = fm.residuals, problem.field, horizon
    y = flow(0.0, end, x)
    state = 1 + x.norm(dim=1) + y.norm(dim=1)
    speed = 1 + field(0.0, x).norm(dim=1) + field(0.0, y).norm(dim=1)
    return [
        _largest(r.identity(flow, 0.0, x) / state[:, None]),
        _largest(r.semigroup(flow, 0.0, 0.4 * end, end, x) / state[:, None]),
        _largest(r.inverse(flow, 0.0, end, x) / state[:, None]),
        _largest(r.tangent(flow, field, 0.0, x) / speed[:, None]),
        _largest(r.lagrangian(flow, field, 0.0, end, x) / speed[:, None]),
        _largest(r.eulerian(flow, field, 0.0, end, x) / speed[:, None]),
        _largest(r.liouville(flow, field, 0.0, end, x, nodes=24)),
    ]


def _largest(values: Tensor) -> float:
    return float(values.abs().max())

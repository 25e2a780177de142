"""The surrogate of the damped pendulum against DOP853, and what it says of itself."""

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
from flowmaps.maps import FlowMap
from flowmaps.problems import DampedPendulum
from flowmaps.surrogates import PathError, path_error

__all__ = ["assess_pendulum"]

_HORIZON, _STARTS, _TARGET = 10.0, 500, 1e-2
_SPAN = 0.25
"""Span of the residual map, in seconds."""


def assess_pendulum(surrogate: FlowMap, seed: int, tiny: bool = False) -> Section:
    """Compare a surrogate with DOP853 from many starts, and draw its residuals.

    Args:
        surrogate: a flow map of the damped pendulum, float32, for any span.
        seed: of the starts.
        tiny: few starts: tries the machinery alone.
    """
    section = Section("A surrogate of the damped pendulum")
    problem = DampedPendulum()
    generator = torch.Generator().manual_seed(seed + 1)
    count = 20 if tiny else _STARTS
    starts = problem.energy_set().sample(count, generator=generator, dtype=torch.float64)
    times = torch.linspace(0.1, _HORIZON, 100, dtype=torch.float64)
    reference = problem.reference_along(0.0, times, starts)
    errors = path_error(surrogate, 0.0, times, starts.float(), reference)
    calls = surrogate.evaluations(0.0, 1.0)
    section.paragraphs.append(
        f"A network with {sum(p.numel() for p in surrogate.parameters()):,} weights learned "
        "X<sub>0,h</sub> for short spans h from the Lagrangian residual: no trajectory, only the "
        f"right-hand side. Composed {calls} times a second it predicts {_HORIZON:g} s. Compared "
        f"with DOP853 from {count} starts in the set of bounded energy, the median over the starts "
        f"of the largest error, relative to the largest state, is <b>{errors.median:.1e}</b>."
    )
    section.figures += [_error_picture(errors), _path_picture(errors, reference)]
    section.tables.append(_error_table(errors))
    name = f"pendulum surrogate: median relative error over {_HORIZON:g} s"
    section.facts.append(at_most(name, errors.median, _TARGET))
    _residual_map(section, surrogate, problem, 15 if tiny else 81)
    return section


def _error_picture(errors: PathError) -> Figure:
    figure, axes = canvas(1, 1, 7.0, 3.4)
    levels = errors.relative.quantile(torch.tensor([0.1, 0.5, 0.9]).double(), dim=1)
    low, middle, high = levels.clamp_min(1e-9).numpy()
    times = errors.times.numpy()
    axes.fill_between(times, low, high, color=PALETTE[0], alpha=0.2, label="10 % to 90 % of starts")
    axes.semilogy(times, middle, color=PALETTE[0], label="median")
    axes.axhline(_TARGET, color=MUTED, linestyle="--", linewidth=1, label="target for the median")
    axes.legend(fontsize=8, frameon=False)
    label(
        axes, "Error of the composed surrogate along the horizon", "time (s)", "|error| / max |X|"
    )
    return Figure(to_png(figure), "Error against DOP853 at tolerance 1e-12.", "pendulum_error.png")


def _path_picture(errors: PathError, reference: Tensor) -> Figure:
    figure, axes = canvas(1, 2, 9.0, 3.2)
    order, times = errors.worst.argsort(), errors.times.numpy()
    for panel, rank, name in zip(axes, (0.5, 0.9), ("median", "90 % worst"), strict=True):
        k = int(order[int(rank * (len(order) - 1))])
        exact, learned = reference[:, k, 0].numpy(), errors.path[:, k, 0].numpy()
        panel.plot(times, exact, color=INK, linewidth=2.2, alpha=0.35, label="DOP853")
        panel.plot(times, learned, color=PALETTE[1], linewidth=1, label="surrogate")
        label(panel, f"the start of {name} error", "time (s)", "angle")
    axes[0].legend(fontsize=8, frameon=False)
    return Figure(to_png(figure), "Angle along two of the trajectories.", "pendulum_paths.png")


def _error_table(errors: PathError) -> TableOf:
    rows = []
    for time in (1.0, 2.0, 5.0, 10.0):
        k = int((errors.times - time).abs().argmin())
        at = errors.relative[k]
        rows.append([f"{time:g}", *(f"{float(at.quantile(q)):.1e}" for q in (0.5, 0.9, 1.0))])
    return TableOf(
        ["time (s)", "median", "90 %", "worst"], rows, "Relative error over the starts, by time."
    )


# ---------------------------------------------------------------------------- the residual map


def _residual_map(
    section: Section, surrogate: FlowMap, problem: DampedPendulum, nodes: int
) -> None:
    """Draw residual, semigroup defect and error of one call over the states."""
    angle, velocity = torch.linspace(-3.1, 3.1, nodes), torch.linspace(-6.4, 6.4, nodes)
    x = torch.cartesian_prod(angle, velocity)
    inside = problem.energy_set().contains(x)
    exact = fm.maps.SolverFlowMap(problem.field, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        residual = fm.residuals.lagrangian(surrogate, problem.field, 0.0, _SPAN, x)
        defect = fm.residuals.semigroup(surrogate, 0.0, _SPAN / 2, _SPAN, x)
        error = surrogate(0.0, _SPAN, x).double() - exact(0.0, _SPAN, x.double())
    panels = {"Lagrangian residual": residual, "semigroup defect": defect, "error": error}
    figure, axes = canvas(1, len(panels), 10.5, 3.3, sharey=True)
    for panel, (name, value) in zip(axes, panels.items(), strict=True):
        size = value.double().norm(dim=1).clamp_min(1e-9).log10()
        shown = size.masked_fill(~inside, torch.nan).reshape(nodes, nodes).T
        image = panel.pcolormesh(angle.numpy(), velocity.numpy(), shown.numpy(), cmap="viridis")
        figure.colorbar(image, ax=panel, label="log10 of the norm")
        label(panel, name, "angle", "velocity" if panel is axes[0] else "")
        middle = f"{float(value.double().norm(dim=1)[inside].median()):.1e}"
        section.facts.append(Fact(f"pendulum surrogate: median {name} of a {_SPAN} s call", middle))
    caption = (
        f"X<sub>0,h</sub> with h = {_SPAN} s over the set of bounded energy. The residual and the "
        "semigroup defect need no reference solution; the error is measured against one. All "
        "three in the units of state and velocity."
    )
    section.figures.append(Figure(to_png(figure), caption, "pendulum_residuals.png"))

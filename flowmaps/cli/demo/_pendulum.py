"""Part two: a surrogate of the damped pendulum, learned from its right-hand side alone."""

from dataclasses import replace

import torch
from rich.console import Console

import flowmaps as fm
from flowmaps.cli.demo._plots import INK, MUTED, PALETTE, canvas, label, to_png
from flowmaps.cli.demo._section import Fact, Figure, Section, TableOf
from flowmaps.surrogates import PathError, PendulumRecipe, path_error

__all__ = ["pendulum"]

_HORIZON, _STARTS, _TARGET = 10.0, 500, 3e-2


def pendulum(console: Console, seed: int, tiny: bool) -> tuple[Section, fm.maps.FlowMap]:
    """Train the surrogate, compare it with DOP853 from many starts, and draw what it does."""
    section = Section("A surrogate of the damped pendulum")
    recipe = PendulumRecipe(seed=seed)
    recipe = replace(recipe, steps=30) if tiny else recipe
    console.print(f"learning the pendulum's flow map: {recipe.steps} steps, no trajectory computed")
    surrogate, result = recipe.train(progress=console.is_terminal)
    history = result.history
    problem = fm.problems.DampedPendulum()
    generator = torch.Generator().manual_seed(seed + 1)
    starts = problem.energy_set().sample(
        20 if tiny else _STARTS, generator=generator, dtype=torch.float64
    )
    times = torch.linspace(0.1, _HORIZON, 100, dtype=torch.float64)
    console.print(f"computing {len(starts)} reference trajectories by DOP853 at tolerance 1e-12")
    reference = problem.reference_along(0.0, times, starts)
    errors = path_error(surrogate, 0.0, times, starts.float(), reference)
    section.paragraphs.append(
        f"A network with {sum(p.numel() for p in surrogate.parameters()):,} weights learns "
        f"X<sub>0,h</sub> for h up to {recipe.span} s from the Lagrangian residual: no "
        f"trajectory, only the right-hand side. Composed {1 / recipe.span:g} times a second it "
        f"predicts {_HORIZON:g} s. Compared with DOP853 from {len(starts)} starts in the set of "
        "bounded energy, the median over the starts of the largest error, relative to the largest "
        "state, "
        f"is <b>{errors.median:.1e}</b>."
    )
    section.figures += [_error_picture(errors), _path_picture(errors, reference)]
    section.tables.append(_error_table(errors))
    section.facts.append(
        Fact(
            f"pendulum surrogate: median relative error over {_HORIZON:g} s",
            f"{errors.median:.1e}",
            f"at most {_TARGET:g}",
            errors.median <= _TARGET,
        )
    )
    section.paragraphs.append(
        f"Training took {history.seconds[-1]:.0f} s; the loss fell from {history.loss[0]:.1e} to "
        f"{history.loss[-1]:.1e}."
    )
    return section, surrogate


def _error_picture(errors: PathError) -> Figure:
    figure, axes = canvas(1, 1, 7.0, 3.4)
    levels = (
        errors.relative.quantile(torch.tensor([0.1, 0.5, 0.9]).double(), dim=1)
        .clamp_min(1e-9)
        .numpy()
    )
    times = errors.times.numpy()
    axes.fill_between(
        times, levels[0], levels[2], color=PALETTE[0], alpha=0.2, label="10 % to 90 % of starts"
    )
    axes.semilogy(times, levels[1], color=PALETTE[0], label="median")
    axes.axhline(_TARGET, color=MUTED, linestyle="--", linewidth=1, label="target for the median")
    axes.legend(fontsize=8, frameon=False)
    label(
        axes, "Error of the composed surrogate along the horizon", "time (s)", "|error| / max |X|"
    )
    return Figure(to_png(figure), "Error against DOP853 at tolerance 1e-12.", "pendulum_error.png")


def _path_picture(errors: PathError, reference: torch.Tensor) -> Figure:
    figure, axes = canvas(1, 2, 9.0, 3.2)
    order = errors.worst.argsort()
    for panel, rank, name in zip(axes, (0.5, 0.9), ("median", "90 % worst"), strict=True):
        k = int(order[int(rank * (len(order) - 1))])
        panel.plot(
            errors.times.numpy(),
            reference[:, k, 0].numpy(),
            color=INK,
            linewidth=2.2,
            alpha=0.35,
            label="DOP853",
        )
        panel.plot(
            errors.times.numpy(),
            errors.path[:, k, 0].numpy(),
            color=PALETTE[1],
            linewidth=1,
            label="surrogate",
        )
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

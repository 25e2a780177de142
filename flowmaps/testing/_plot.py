"""Where in state and time the residuals of a verification are large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowmaps._checks import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

    from flowmaps.testing._draws import Draw
    from flowmaps.testing._report import PropertyReport, VerificationReport

__all__ = ["draw_report"]

_MOST = 4
"""Properties that are drawn where none are named."""
_LEAST, _LARGEST = -4.0, 16.0
"""Exponents of residual over allowed, beyond which the colour stays the same."""


def draw_report(report: VerificationReport, names: Sequence[str] | None = None) -> Figure:
    """Return a figure with a row for every property: states on the left, times on the right.

    Points are coloured by the logarithm of the residual over what is allowed: blue within, from
    yellow to dark red beyond. The worst lie on top; a ring marks the counterexample.

    Args:
        report: of ``verify``.
        names: of properties; those that failed by default, or else the worst, at most four.

    Raises:
        KeyError: for a name that is not in the report.
        ValueError: if there is nothing to draw.
    """
    from flowmaps._pages._plots import canvas

    shown = _chosen(report, names)
    figure, grid = canvas(len(shown), 2, 9.0, 3.4 * len(shown), squeeze=False)
    for one, (left, right) in zip(shown, grid, strict=True):
        _draw_property(figure, left, right, one)
    return figure


def _chosen(report: VerificationReport, names: Sequence[str] | None) -> list[PropertyReport]:
    if isinstance(names, str):
        raise TypeError(f"names must be a sequence of properties, got {names!r}; use [{names!r}]")
    if names is not None:
        shown = [report[name] for name in names]
        bare = [one.name for one in shown if one.ratio is None]
        if bare:
            raise ValueError(
                f"{', '.join(bare)} was not measured at points of its own; choose among "
                f"{', '.join(_measured(report)) or 'none: nothing was measured'}"
            )
    else:
        measured = [report[name] for name in _measured(report)]
        failed = [one for one in measured if one.status in ("failed", "expected failure")]
        worst = sorted(measured, key=lambda one: -float(one.worst or 0.0))
        shown = (failed or worst)[:_MOST]
    if not shown:
        got = "no names" if names is not None else "a report in which nothing was measured"
        raise ValueError(f"there is nothing to draw, got {brief(got)}: {report.reason}")
    return shown


def _measured(report: VerificationReport) -> list[str]:
    return [one.name for one in report if one.ratio is not None and one.draw is not None]


def _draw_property(figure: Figure, left: Axes, right: Axes, one: PropertyReport) -> None:
    """Draw states and times of one property's points."""
    from flowmaps._pages._plots import label

    assert one.draw is not None and one.ratio is not None
    exponent = _exponents(one.ratio)
    order = exponent.argsort()
    colours, scale = _colours(exponent)
    example = one.counterexample.draw if one.counterexample is not None else None
    for axes, coordinates in ((left, _states), (right, _times)):
        across, up = coordinates(one.draw)
        points = axes.scatter(
            across[order],
            up[order],
            c=exponent[order],
            cmap=colours,
            norm=scale,
            s=6,
            linewidths=0,
            rasterized=True,
        )
        if example is not None:
            axes.scatter(*coordinates(example), s=70, facecolors="none", edgecolors="black")
    flat = one.draw.x.reshape(len(one.draw.x), -1).shape[1] == 1
    label(left, f"{one.name}: {one.status}", "$x$" if flat else "$x_1$", "$t$" if flat else "$x_2$")
    label(right, f"{one.failing:.1%} of {one.points} points above what is allowed", "$s$", "$t$")
    bar = figure.colorbar(points, ax=[left, right], extend="both", pad=0.01)
    bar.set_label(r"$\log_{10}$ (residual / allowed)", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _states(draw: Draw) -> tuple[Tensor, Tensor]:
    """Return the first two coordinates of the states, or the one there is and the time t."""
    rows = draw.x.detach().cpu().double().reshape(len(draw.x), -1)
    return rows[:, 0], rows[:, 1] if rows.shape[1] > 1 else draw.t.cpu()


def _times(draw: Draw) -> tuple[Tensor, Tensor]:
    return draw.s.cpu(), draw.t.cpu()


def _exponents(ratio: Tensor) -> Tensor:
    """Return the decimal logarithms of residual over allowed, none of them infinite."""
    worst = torch.nan_to_num(ratio.cpu().double(), nan=torch.inf, posinf=torch.inf)
    return worst.log10().clamp(_LEAST, _LARGEST)


def _colours(exponent: Tensor) -> tuple[Colormap, Normalize]:
    """Return a colour map that breaks where the residual is what is allowed, and its scale.

    Where all points are on one side the scale covers what there is on that side.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm

    from flowmaps._pages._plots import PALETTE

    blue, red, _, yellow = PALETTE[:4]
    within, beyond = ("#d5e0ec", blue), (yellow, red, "#5b1020")
    least, most = float(exponent.min().floor()), float(exponent.max().ceil())
    if least >= 0:
        typical = float(exponent.quantile(0.05).floor())  # few points have the least of all
        return LinearSegmentedColormap.from_list("beyond", beyond), Normalize(typical, most + 1e-9)
    if most <= 0:
        return LinearSegmentedColormap.from_list("within", within), Normalize(least, 0.0)
    stops = [(0.0, within[0]), (0.5, within[1]), (0.5, beyond[0]), (0.8, red), (1.0, beyond[2])]
    return LinearSegmentedColormap.from_list("both", stops), TwoSlopeNorm(0.0, least, most)

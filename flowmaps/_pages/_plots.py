"""One style for every picture, and the way from a figure to bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INK", "MUTED", "PALETTE", "canvas", "label", "to_png"]

INK, MUTED = "#1d2733", "#8a97a6"
PALETTE = ("#1f6fb2", "#d1495b", "#2a9d6f", "#e0a030", "#7a5ea8", "#4d4d4d")


def canvas(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Canvas, Any]:
    """Return a figure of width x height inches and its axes, without any global state."""
    figure = Canvas(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    return figure, axes


def label(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Name the axes and take away what distracts."""
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)


def to_png(figure: Canvas) -> bytes:
    """Return the figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

"""Histograms of samples in the plane, kept as lists and drawn as panels."""

from pathlib import Path
from typing import Any

import matplotlib
import torch

EDGE, BINS = 1.25, 80


def histogram(samples: torch.Tensor) -> list[list[int]]:
    """Return counts (BINS, BINS) of samples (n, 2) over [-EDGE, EDGE]^2."""
    number = ((samples.cpu() / EDGE + 1) / 2 * BINS).floor()
    inside = ((number >= 0) & (number < BINS)).all(1)
    cell = number[inside].long()
    counts = torch.bincount(cell[:, 0] * BINS + cell[:, 1], minlength=BINS**2)
    return counts.reshape(BINS, BINS).tolist()


def panels(rows: list[tuple[str, dict[str, Any]]], path: Path) -> None:
    """Draw a row of panels for every title, a number of steps a column."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    columns = max(len(blocks) for _, blocks in rows)
    figure, axes = pyplot.subplots(
        len(rows), columns, figsize=(1.5 * columns, 1.7 * len(rows)), squeeze=False
    )
    for row, (title, blocks) in zip(axes, rows, strict=True):
        for panel, (steps, counts) in zip(row, blocks.items(), strict=True):
            shown = torch.tensor(counts, dtype=torch.float64).T
            panel.imshow(shown, origin="lower", cmap="Blues", vmax=4 * shown.mean())
            panel.set_title(f"{title}: {steps}", fontsize=6)
            panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)

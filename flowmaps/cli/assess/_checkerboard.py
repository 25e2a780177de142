"""A checkerboard from a learned map: pictures, and how far the map is from its own flow."""

import torch

from flowmaps.cli.report import INK, Figure, Section, TableOf, at_most, canvas, to_png
from flowmaps.generative import checkerboard, sample, transport_error
from flowmaps.maps import FlowMap

__all__ = ["assess_checkerboard", "checkerboard_grid"]

_STEPS, _TARGET, _OFF = (1, 2, 4, 8), 2e-2, 0.2
"""Numbers of steps; asked of the transport error, and of the share of samples off the squares."""
_BINS, _EDGE = 96, 1.2
"""Of the histograms: bins a side, a multiple of the board's squares, and half the width shown."""


def assess_checkerboard(learned: FlowMap, seed: int, tiny: bool = False) -> Section:
    """Sample, and compare with the numerical flow of the map's own velocity.

    Args:
        learned: a map from noise to the plane (n, 2).
        seed: of the noise.
        tiny: few samples: tries the machinery alone.
    """
    section = Section("A checkerboard in a few steps")
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(500 if tiny else 10_000, 2, generator=generator)
    errors = {n: transport_error(learned, noise, n) for n in _STEPS}
    light = {n: _share_on_light(sample(learned, noise, n)) for n in _STEPS}
    section.figures.append(checkerboard_grid(learned, _STEPS, seed))
    section.tables.append(
        TableOf(
            ["steps", *map(str, _STEPS)],
            [
                ["transport error", *(f"{errors[n]:.1e}" for n in _STEPS)],
                ["samples off the dark squares", *(f"{light[n]:.1%}" for n in _STEPS)],
            ],
            "E|Y - X|^2 / E|X - x|^2 of samples Y against the numerical flow X of the map's own "
            "velocity; share of the samples outside the squares that carry the law.",
        )
    )
    # The first alone holds for a map that stands still: it is its own flow.
    section.facts += [
        at_most("checkerboard: transport error in one step", errors[1], _TARGET),
        at_most("checkerboard: samples off the dark squares in 4 steps", light[4], _OFF, ".0%"),
    ]
    return section


def _share_on_light(x: torch.Tensor) -> float:
    square = ((x + 1) * 2).floor()
    dark = (square.sum(1) % 2 == 0) & (x.abs() <= 1).all(1)
    return 1 - float(dark.double().mean())


def checkerboard_grid(learned: FlowMap, steps: tuple[int, ...], seed: int) -> Figure:
    """Draw histograms of the data and of samples in each number of steps."""
    generator = torch.Generator().manual_seed(seed + 2)
    blocks = [("data", checkerboard(50_000, generator))]
    noise = torch.randn(50_000, 2, generator=generator)
    for n in steps:
        blocks.append((f"{n} step{'s' * (n > 1)}", sample(learned, noise, n)))
    figure, axes = canvas(1, len(blocks), 2.1 * len(blocks), 2.4)
    for panel, (title, points) in zip(axes, blocks, strict=True):
        extent = [[-_EDGE, _EDGE]] * 2
        panel.hist2d(*points.T.numpy(), bins=_BINS, range=extent, cmap="Blues")
        panel.set_title(title, fontsize=10, color=INK)
        panel.set_aspect("equal")
        panel.set_axis_off()
    caption = "Left: the data. Then the same noise in more and more steps of one learned map."
    return Figure(to_png(figure), caption, "checkerboard.png")

"""Part three: real handwritten digits, generated in a few steps."""

from dataclasses import replace

import torch
from rich.console import Console
from torch import Tensor

import flowmaps as fm
from flowmaps.cli.demo._plots import INK, canvas, to_png
from flowmaps.cli.demo._section import Fact, Figure, Section, TableOf
from flowmaps.generative import ClassJudge, Digits, DigitsRecipe, load_digits, sample

__all__ = ["digits"]

_STEPS = (1, 2, 4, 8)
_SHOWN, _JUDGED = 8, 100
"""Columns of the picture, samples a class for the judge."""
_JUDGE, _TARGET = 0.98, 0.8
"""Asked of the judge on held-out real digits, and of its agreement with four-step samples."""


def digits(console: Console, seed: int, tiny: bool) -> tuple[Section, fm.maps.FlowMap]:
    """Train on scikit-learn's digits by flow matching and self-distillation; sample and judge."""
    section = Section("Handwritten digits in a few steps")
    data = load_digits()
    recipe = DigitsRecipe(seed=seed)
    if tiny:
        recipe = replace(recipe, width=32, depth=1, matching_steps=20, distillation_steps=10)
    console.print(
        f"learning {len(data.train)} real digits: {recipe.matching_steps} steps of flow matching, "
        f"{recipe.distillation_steps} of self-distillation"
    )
    learned = recipe.train(data, progress=console.is_terminal)[-1].learned
    judge = ClassJudge(data)
    labels = torch.arange(10).repeat_interleave(_JUDGED)
    noise = torch.randn(len(labels), 64, generator=torch.Generator().manual_seed(seed + 1))
    samples = {steps: sample(learned, noise, steps, condition=labels) for steps in _STEPS}
    agreement = {steps: judge.agreement(images, labels) for steps, images in samples.items()}
    section.paragraphs.append(
        "One network is trained on real 8x8 digits, given the class: first by flow matching, "
        "which learns the velocity, then by Lagrangian self-distillation, which learns the whole "
        "flow map from the network itself. The same map then samples in any number of steps. A "
        f"support vector machine trained on the real digits (right on {judge.accuracy:.1%} of "
        f"held-out ones) judges {len(labels)} samples: it names the class asked for in "
        f"<b>{agreement[4]:.1%}</b> of those made in four steps."
    )
    section.figures.append(_picture(data, samples))
    section.tables.append(
        TableOf(
            ["steps", *map(str, _STEPS)],
            [["class agreement", *(f"{agreement[steps]:.1%}" for steps in _STEPS)]],
            "Share of samples that the judge names as the class asked for.",
        )
    )
    section.facts += [
        Fact(
            "digits: the judge on held-out real digits",
            f"{judge.accuracy:.1%}",
            f"at least {_JUDGE:.0%}",
            judge.accuracy >= _JUDGE,
        ),
        Fact(
            "digits: class agreement in four steps",
            f"{agreement[4]:.1%}",
            f"at least {_TARGET:.0%}",
            agreement[4] >= _TARGET,
        ),
        Fact("digits: class agreement in one step", f"{agreement[1]:.1%}", "reported", True),
    ]
    return section, learned


def _picture(data: Digits, samples: dict[int, Tensor]) -> Figure:
    """Ten classes in rows; real digits on the left, then the same noise in 1, 2, 4 and 8 steps."""
    blocks = [("real", _real(data))]
    blocks += [
        (f"{steps} step{'s' * (steps > 1)}", _first(images)) for steps, images in samples.items()
    ]
    figure, axes = canvas(1, len(blocks), 2.1 * len(blocks), 2.9)
    for panel, (title, images) in zip(axes, blocks, strict=True):
        panel.imshow(
            _mosaic(images).numpy(), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest"
        )
        panel.set_title(title, fontsize=10, color=INK)
        panel.set_axis_off()
    return Figure(
        to_png(figure),
        "Left: real training digits. Then samples from the same noise in 1, 2, 4 and 8 steps of "
        "one learned map; one class a row.",
        "digits.png",
    )


def _real(data: Digits) -> Tensor:
    return torch.stack([data.train[data.train_labels == k][:_SHOWN] for k in range(10)])


def _first(images: Tensor) -> Tensor:
    return images.reshape(10, _JUDGED, 64)[:, :_SHOWN].clamp(-1, 1)


def _mosaic(images: Tensor) -> Tensor:
    """Lay images (rows, columns, 64) out as one picture with a margin of one pixel."""
    rows, columns = images.shape[:2]
    tiles = torch.nn.functional.pad(images.reshape(rows, columns, 8, 8), (0, 1, 0, 1), value=-1.0)
    return tiles.permute(0, 2, 1, 3).reshape(rows * 9, columns * 9)

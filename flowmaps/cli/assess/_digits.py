"""Handwritten digits from a learned map: pictures, an independent judge, distances to real ones."""

import torch
from torch import Tensor

from flowmaps.cli.report import INK, Fact, Figure, Section, TableOf, canvas, to_png
from flowmaps.generative import (
    ClassJudge,
    Digits,
    frechet_distance,
    load_digits,
    nearest_distance,
    sample,
)
from flowmaps.maps import FlowMap

__all__ = ["assess_digits", "digits_grid"]

_STEPS, _SHOWN = (1, 2, 4, 8), 8
"""Numbers of steps, columns of a picture."""
_JUDGE, _AGREEMENT = 0.98, {1: 0.90, 4: 0.95}
"""Asked of the judge on held-out real digits, and of its agreement with samples by steps."""
_NEAREST, _FRECHET, _MEASURED = (1.0, 1.3), 2.0, 4
"""Asked of the distances at so many steps, in units of those between real digits."""


def assess_digits(learned: FlowMap, seed: int, tiny: bool = False) -> Section:
    """Sample as many digits as were trained on, class by class, and measure them.

    Args:
        learned: a class-conditional map of digits (n, 1, 8, 8).
        seed: of the noise.
        tiny: without effect; the measurement takes seconds.
    """
    section = Section("Handwritten digits in a few steps")
    data, labels = load_digits(), load_digits().train_labels
    judge = ClassJudge(data)
    noise = torch.randn(data.train.shape, generator=torch.Generator().manual_seed(seed + 1))
    samples = {n: sample(learned, noise, n, condition=labels).clamp(-1, 1) for n in _STEPS}
    agreement = {n: judge.agreement(images, labels) for n, images in samples.items()}
    nearest = nearest_distance(data.held_out, data.train)
    near = {n: nearest_distance(images, data.train) / nearest for n, images in samples.items()}
    frechet = frechet_distance(data.train, data.held_out)
    far = {n: frechet_distance(images, data.held_out) / frechet for n, images in samples.items()}
    section.paragraphs.append(
        "One network is trained on real 8x8 digits, given the class: first by flow matching, "
        "which learns the velocity, then by Lagrangian self-distillation, which learns the whole "
        "flow map from the network itself. The same map then samples in any number of steps. A "
        f"support vector machine trained on the real digits (right on {judge.accuracy:.1%} of "
        f"held-out ones) judges {len(labels)} samples: it names the class asked for in "
        f"<b>{agreement[4]:.1%}</b> of those made in four steps."
    )
    section.figures.append(digits_grid(learned, _STEPS, seed))
    section.tables.append(
        TableOf(
            ["steps", *map(str, _STEPS)],
            [
                ["class agreement", *(f"{agreement[n]:.1%}" for n in _STEPS)],
                ["nearest training digit", *(f"{near[n]:.2f}" for n in _STEPS)],
                ["Frechet distance of pixels", *(f"{far[n]:.2f}" for n in _STEPS)],
            ],
            "Share of samples that the judge names as the class asked for. Mean distance to the "
            "nearest training digit, in units of that of held-out real digits: well below one "
            "would mean copies. Frechet distance to held-out digits, in units of that of the "
            "training digits.",
        )
    )
    section.facts += _facts(judge.accuracy, agreement, near, far)
    return section


def _facts(
    judge: float, agreement: dict[int, float], near: dict[int, float], far: dict[int, float]
) -> list[Fact]:
    low, high = _NEAREST
    asked = " and ".join(f"{share:.0%} in {n}" for n, share in _AGREEMENT.items())
    return [
        Fact(
            "digits: the judge on held-out real digits",
            f"{judge:.1%}",
            f"at least {_JUDGE:.0%}",
            judge >= _JUDGE,
        ),
        Fact(
            f"digits: class agreement in {_listed(agreement)} steps",
            " ".join(f"{share:.1%}" for share in agreement.values()),
            f"at least {asked}",
            all(agreement[n] >= share for n, share in _AGREEMENT.items()),
        ),
        Fact(
            f"digits: nearest training digit, in {_listed(near)} steps",
            " ".join(f"{ratio:.2f}" for ratio in near.values()),
            f"{low:g} to {high:g} in {_MEASURED}",
            low <= near[_MEASURED] <= high,
        ),
        Fact(
            f"digits: Frechet distance of pixels, in {_listed(far)} steps",
            " ".join(f"{ratio:.2f}" for ratio in far.values()),
            f"at most {_FRECHET:g} in {_MEASURED}",
            far[_MEASURED] <= _FRECHET,
        ),
    ]


def _listed(by_steps: dict[int, float]) -> str:
    return ", ".join(map(str, by_steps))


def digits_grid(learned: FlowMap, steps: tuple[int, ...], seed: int) -> Figure:
    """Draw ten classes in rows: real digits, then the same noise in each number of steps."""
    data = load_digits()
    labels = torch.arange(10).repeat_interleave(_SHOWN)
    generator = torch.Generator().manual_seed(seed + 2)
    noise = torch.randn(len(labels), 1, 8, 8, generator=generator)
    blocks = [("real", _real(data))]
    for n in steps:
        images = sample(learned, noise, n, condition=labels).clamp(-1, 1)
        blocks.append((f"{n} step{'s' * (n > 1)}", images))
    figure, axes = canvas(1, len(blocks), 2.1 * len(blocks), 2.9)
    for panel, (title, images) in zip(axes, blocks, strict=True):
        picture = _mosaic(images).numpy()
        panel.imshow(picture, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
        panel.set_title(title, fontsize=10, color=INK)
        panel.set_axis_off()
    return Figure(
        to_png(figure),
        "Left: real training digits. Then samples from the same noise in more and more steps of "
        "one learned map; one class a row.",
        "digits.png",
    )


def _real(data: Digits) -> Tensor:
    return torch.cat([data.train[data.train_labels == k][:_SHOWN] for k in range(10)])


def _mosaic(images: Tensor) -> Tensor:
    """Lay images (10 * columns, 1, 8, 8) out as one picture with a margin of one pixel."""
    tiles = torch.nn.functional.pad(images.reshape(10, -1, 8, 8), (0, 1, 0, 1), value=-1.0)
    return tiles.permute(0, 2, 1, 3).reshape(90, -1)

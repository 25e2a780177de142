"""The two histogram protocols of the checkerboard."""

import math

import pytest
import torch

import flowmaps as fm

KL = fm.generative.CheckerboardKL


def test_a_perfect_sampler_scores_the_published_floor() -> None:
    """METHODS of the field: .0660 with a spread of .0015 a draw; the mean of ten is within it."""
    mean, spread = KL.published().floor()
    assert mean == pytest.approx(0.066, abs=0.0015) and 5e-4 < spread < 2e-3


def test_the_aligned_floor_is_that_of_counting() -> None:
    """E KL(p | counts / n) = (cells - 1) / (2 n) to first order: 1152 dark cells."""
    mean, _ = KL(48, 200_000, 1).floor(repeats=5)
    assert mean == pytest.approx(1151 / 400_000, rel=0.05)


def test_a_missing_square_costs_its_mass_times_a_logarithm() -> None:
    x = fm.generative.checkerboard(300_000, torch.Generator().manual_seed(0))
    kept = x[~((x[:, 0] < -0.5) & (x[:, 1] < -0.5))]
    missing = 1 / 8 * math.log(1 / 1152 / 1e-10) + 7 / 8 * math.log(7 / 8)
    assert KL(48, 1, 1).of(kept) == pytest.approx(missing, abs=0.005)


def test_mass_outside_is_lost() -> None:
    x = fm.generative.checkerboard(300_000, torch.Generator().manual_seed(0))
    half = torch.cat([x, x + 10])
    assert KL(48, 1, 1).of(half) - KL(48, 1, 1).of(x) == pytest.approx(math.log(2), abs=1e-9)


def test_samples_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        KL.aligned().of(torch.zeros(3))

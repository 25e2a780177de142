"""The first step is guessed whatever the unit of time; no sliver of a step is left for the end."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import PI, Dopri5, solve


def oscillator(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    return rate[:, None] * torch.stack([x[:, 1], -x[:, 0]], dim=1)


def widths(x: Tensor, end: float, rate: Tensor, **options) -> Tensor:
    """The accepted steps of every sample, as fractions of the span, (n_steps, batch)."""
    found = solve(oscillator, 0.0, end, x, rate, dense=True, **options)
    assert found.dense is not None
    return found.dense.fractions.diff(dim=0)


@given(st.floats(1e-6, 1e6), st.sampled_from([1e-4, 1e-6, 1e-9]))
def test_the_guess_does_not_depend_on_the_unit_of_time(unit: float, tolerance: float) -> None:
    x, rate = torch.tensor([[1.0, 0.2]]), torch.ones(1)
    here = widths(x, 10.0, rate, rtol=tolerance, atol=tolerance)
    there = widths(x, 10.0 * unit, rate / unit, rtol=tolerance, atol=tolerance)
    assert here.shape == there.shape and torch.allclose(here, there, rtol=1e-6)


@pytest.mark.parametrize("method", [fm.solvers.Bosh3(), Dopri5()])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_the_first_step_is_of_the_size_of_the_next(method, tolerance: float) -> None:
    taken = widths(
        torch.tensor([[1.0, 0.2]]),
        30.0,
        torch.ones(1),
        method=method,
        rtol=tolerance,
        atol=tolerance,
    )[:, 0]
    assert taken[0] > taken.median() / 6


@given(st.floats(1.0, 40.0), st.sampled_from([1e-3, 1e-6]), st.booleans())
def test_no_sliver_is_left_for_the_end(end: float, tolerance: float, shared: bool) -> None:
    rates = torch.tensor([1.0, 1.0, 1.0])
    x = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]])
    controller = PI(shared=shared)
    taken = widths(x, end, rates, controller=controller, rtol=tolerance, atol=tolerance)
    for sample in taken.unbind(1):
        kept = sample[sample > 1e-9]
        if len(kept) > 2:
            assert kept[-1] > kept[-2] / 3


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_no_step_is_longer_than_the_longest(longest: float, span: float) -> None:
    x, end = torch.tensor([[1.0, 0.0], [0.0, 1e-3]]), torch.tensor([2.0, 2.0 * span])
    for shared in (False, True):
        controller = PI(max_step=longest, shared=shared)
        found = solve(
            oscillator, 0.0, end, x, torch.ones(2), controller=controller, dense=True, rtol=1e-4
        )
        assert found.dense is not None
        taken = found.dense.fractions.diff(dim=0) * end
        assert taken.max() <= longest * (1 + 1e-9)


def test_shared_steps_start_alike_for_one_sample_and_for_copies_of_it() -> None:
    x, rate = torch.tensor([[1.0, 0.2]]), torch.ones(1)
    options = dict(controller=PI(shared=True), rtol=1e-6, atol=1e-6)
    alone = widths(x, 5.0, rate, **options)
    copies = widths(x.expand(7, 2), 5.0, rate.expand(7), **options)
    assert torch.allclose(alone.expand(-1, 7), copies, rtol=1e-9)
    # The ratios of easier samples are small, so that the mean allows a longer step.
    easier = torch.cat([rate, rate.expand(6) / 100])
    mixed = widths(x.expand(7, 2), 5.0, easier, **options)
    assert alone[0, 0] < mixed[0, 0] < 1.5 * alone[0, 0]
    assert math.isclose(mixed[0, 0].item(), mixed[0, 6].item(), rel_tol=1e-12)

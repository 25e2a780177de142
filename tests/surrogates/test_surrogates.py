"""Surrogates: the error measure against hand values, and a short training that works."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

import flowmaps as fm


def test_path_error_is_relative_to_the_largest_state_of_each_path():
    times = torch.tensor([1.0, 2.0])
    x = torch.tensor([[1.0], [2.0]])
    reference = torch.tensor([[[1.0], [4.0]], [[2.0], [2.0]]])
    errors = fm.surrogates.path_error(fm.maps.Identity(), 0.0, times, x, reference)
    assert errors.relative.tolist() == [[0.0, 0.5], [0.5, 0.0]]
    assert errors.worst.tolist() == [0.5, 0.5]
    assert errors.median == 0.5


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    x = torch.tensor([[1.0], [2.0]])
    reference = torch.tensor([[[1.0], [4.0]]])
    times = torch.tensor([1.0])
    errors = fm.surrogates.path_error(fm.maps.Identity(), 0.0, times, x, reference)
    assert errors.worst.tolist() == [0.0, 0.5] and errors.median == 0.25


def test_the_recipe_leaves_the_callers_random_numbers_alone():
    torch.set_default_dtype(torch.float32)
    before = torch.get_rng_state()
    fm.surrogates.PendulumRecipe(steps=1, width=8, depth=1, batch=8).train(progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@given(seed=st.integers(0, 1000), n=st.integers(1, 9))
def test_the_median_is_numpys(seed, n):
    generator = torch.Generator().manual_seed(seed)
    reference = 1 + torch.rand(4, n, 2, generator=generator)
    x = torch.rand(n, 2, generator=generator)
    errors = fm.surrogates.path_error(fm.maps.Identity(), 0.0, torch.arange(4.0), x, reference)
    assert errors.median == pytest.approx(float(np.median(errors.worst.numpy())))


def test_a_path_that_stays_at_zero_has_no_error_or_an_infinite_one():
    times, x = torch.tensor([0.0, 1.0]), torch.zeros(2, 1)
    shift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
    still = fm.surrogates.path_error(fm.maps.Identity(), 0.0, times, x, torch.zeros(2, 2, 1))
    assert still.median == 0.0 and still.relative.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    moved = fm.surrogates.path_error(shift, 0.0, times, x, torch.zeros(2, 2, 1))
    assert moved.median == math.inf and moved.relative[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_one_path_that_is_not_finite_makes_the_median_nan(value):
    broken = fm.maps.ExactFlowMap(lambda s, t, x: torch.where(x > 5, value, x))
    x = torch.tensor([[1.0], [2.0], [9.0]])
    errors = fm.surrogates.path_error(broken, 0.0, torch.ones(2), x, x.expand(2, 3, 1))
    assert math.isnan(errors.median)


def test_conditions_reach_the_map():
    shift = fm.maps.ExactFlowMap(lambda s, t, x, c: x + c * (t - s)[:, None])
    x, c = torch.ones(2, 1), torch.tensor([[1.0], [3.0]])
    times = torch.tensor([1.0, 2.0])
    reference = x + c * times[:, None, None]
    assert fm.surrogates.path_error(shift, 0.0, times, x, reference, c).median == 0.0


def test_path_error_refuses_another_shape():
    with pytest.raises(ValueError, match="reference must have shape"):
        fm.surrogates.path_error(
            fm.maps.Identity(), 0.0, torch.tensor([1.0]), torch.zeros(2, 1), torch.zeros(2, 1)
        )


@pytest.mark.slow
def test_a_short_training_of_the_pendulum_beats_euler():
    recipe = fm.surrogates.PendulumRecipe(steps=300, batch=512, width=32)
    torch.set_default_dtype(torch.float32)
    trained = recipe.train(progress=False)
    surrogate, result = trained.flow_map, trained.result
    assert result.history.loss[-1] < 1e-2 * result.history.loss[0]
    problem = fm.problems.DampedPendulum()
    starts = problem.energy_set().sample(20, torch.Generator().manual_seed(1), dtype=torch.float64)
    times = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    reference = problem.reference_along(0.0, times, starts)
    learned = fm.surrogates.path_error(surrogate, 0.0, times, starts.float(), reference)
    euler = fm.maps.SolverFlowMap(problem.field, method=fm.solvers.Euler(), steps=4)
    assert (
        learned.median < 0.5 * fm.surrogates.path_error(euler, 0.0, times, starts, reference).median
    )

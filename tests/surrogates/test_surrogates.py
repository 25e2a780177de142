"""Surrogates: the error measure against hand values, and a short training that works."""

import pytest
import torch

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

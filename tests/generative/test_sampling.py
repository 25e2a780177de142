"""Few-step sampling: the steps are those of the map, noise decides alone, bad input is refused."""

from typing import Any

import numpy as np
import pytest
import torch

import flowmaps as fm


def _gaussian_map():
    return fm.problems.get("gaussian_interpolant").flow_map()


@pytest.mark.parametrize("steps", [1, 3, [0.0, 0.2, 1.0], torch.tensor([0.0, 0.9, 1.0])])
def test_samples_of_an_exact_map_do_not_depend_on_the_steps(steps):
    flow_map = _gaussian_map()
    noise = torch.randn(6, fm.problems.get("gaussian_interpolant").dim)
    expected = flow_map(0.0, 1.0, noise)
    assert torch.allclose(fm.generative.sample(flow_map, noise, steps), expected, atol=1e-12)


def test_a_learned_map_is_called_once_a_step():
    calls = []

    class Counting(torch.nn.Module):
        def forward(self, s, t, x, condition):
            calls.append((s[0].item(), t[0].item()))
            return torch.ones_like(x)

    learned = fm.maps.NeuralFlowMap(Counting())
    samples = fm.generative.sample(learned, torch.zeros(2, 1), steps=4)
    assert calls == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert samples.tolist() == [[1.0], [1.0]]


def test_equal_noise_gives_equal_samples_in_any_batch():
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=3, width=16, depth=2, classes=4))
    noise, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    whole = fm.generative.sample(learned, noise, 2, labels)
    alone = fm.generative.sample(learned, noise[3:4], 2, labels[3:4])
    assert torch.allclose(whole[3:4], alone, atol=1e-12)


@pytest.mark.parametrize("steps", [2.5, None, True, "01", torch.tensor(2.0)])
def test_steps_of_another_kind_are_refused(steps):
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
    with pytest.raises(TypeError, match="steps must be a whole number"):
        fm.generative.sample(learned, torch.zeros(2, 1), steps)


@pytest.mark.parametrize("steps", [np.int64(2), torch.tensor(2), np.int8(2)])
def test_whole_numbers_of_any_kind_are_steps(steps):
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
    noise = torch.randn(3, 1)
    assert torch.equal(
        fm.generative.sample(learned, noise, steps), fm.generative.sample(learned, noise, 2)
    )


def test_samples_are_made_in_eval_mode_which_is_left_as_it_was():
    class Dropping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.fixed = torch.nn.Dropout(0.5), torch.nn.Dropout(0.5).eval()

        def forward(self, s, t, x, condition):
            return self.drop(x)

    learned = fm.maps.NeuralFlowMap(Dropping())
    noise = torch.randn(20, 3, requires_grad=True)
    samples = [fm.generative.sample(learned, noise) for _ in range(2)]
    assert torch.equal(*samples) and not samples[0].requires_grad
    network = learned.network
    assert learned.training and network.drop.training and not network.fixed.training


def test_a_function_is_no_flow_map():
    transport: Any = lambda s, t, x: x  # noqa: E731
    with pytest.raises(TypeError, match="wrap a function"):
        fm.generative.sample(transport, torch.zeros(2, 1))


def test_recipes_leave_the_callers_random_numbers_alone():
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float32)
    fm.generative.CheckerboardRecipe(steps=1, width=4, depth=1, batch=8).train(progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("noise", "steps", "message"),
    [
        (torch.zeros(2, 1), 0, "at least 1"),
        (torch.zeros(2, 1), [0.0], "two ends"),
        (torch.zeros(2, 1), [0.5, 0.7], "starts where the noise is, at time 0, got 0.5"),
        (torch.zeros(2, 1), [0.0, 0.5, 0.5, 1.0], "increase"),
        (torch.full((2, 1), torch.nan), 1, "not finite"),
    ],
)
def test_bad_input(noise, steps, message):
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
    with pytest.raises(ValueError, match=message):
        fm.generative.sample(learned, noise, steps)


def test_the_judge_knows_real_digits_and_is_not_fooled_by_noise():
    digits = fm.generative.load_digits()
    judge = fm.generative.ClassJudge(digits)
    assert judge.accuracy >= 0.98
    noise = torch.randn(500, 64, dtype=torch.float32)
    assert judge.agreement(noise, torch.arange(500) % 10) < 0.3


def test_digits_are_split_without_overlap_and_stratified():
    digits = fm.generative.load_digits(held_out=0.5, seed=3)
    assert len(digits.train) + len(digits.held_out) == 1797
    assert digits.train.min() == -1 and digits.train.max() == 1
    shares = torch.bincount(digits.held_out_labels).float() / len(digits.held_out)
    assert (shares - 0.1).abs().max() < 0.01
    with pytest.raises(ValueError, match="share"):
        fm.generative.load_digits(held_out=1.0)

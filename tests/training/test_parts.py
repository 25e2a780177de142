"""Schedules, averages, optimisers and seeds against closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import nn

import flowmaps as fm
from flowmaps.training._compiling import compiled
from flowmaps.training._history import NotFinite, Recorder
from flowmaps.training._optimizers import make_optimizer
from flowmaps.training._schedules import learning_rate_factor, named_schedule

# ---------------------------------------------------------------------------- schedules


def test_cosine_after_a_linear_warmup() -> None:
    steps, warmup = 100, 10
    factors = [learning_rate_factor(fm.training.cosine, k, steps, warmup) for k in range(steps)]
    expected = [(k + 1) / 10 for k in range(10)]
    expected += [0.5 * (1 + math.cos(math.pi * k / 90)) for k in range(90)]
    assert factors == pytest.approx(expected, abs=1e-15)
    assert factors[9] == factors[10] == 1.0 and 0 < factors[-1] < 1e-3


def test_schedules_by_name_and_by_hand() -> None:
    assert named_schedule("constant")(7, 10) == 1.0
    halving = named_schedule(lambda step, steps: 0.5**step)
    assert [learning_rate_factor(halving, k, 4, 0) for k in range(4)] == [1.0, 0.5, 0.25, 0.125]
    with pytest.raises(ValueError, match="schedule must be one of"):
        named_schedule("triangle")


# ---------------------------------------------------------------------------- averages


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_the_normalised_weighted_mean(decay: float) -> None:
    layer = nn.Linear(3, 2)
    average = fm.training.Average(layer, decay)
    seen = []
    for _ in range(20):
        nn.init.normal_(layer.weight)
        average.update()
        seen.append(layer.weight.detach().clone())
    weights = torch.tensor([decay ** (19 - k) for k in range(20)])
    expected = torch.einsum("k,kij->ij", weights / weights.sum(), torch.stack(seen))
    average.apply()
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_constant_weights_are_their_own_average_from_the_start() -> None:
    layer = nn.Linear(1, 1)
    before = layer.weight.detach().clone()
    average = fm.training.Average(layer, 0.9999)
    average.apply()
    assert torch.equal(layer.weight, before)
    average.update()
    average.apply()
    torch.testing.assert_close(layer.weight.detach(), before, rtol=1e-12, atol=0)


def test_half_precision_weights_are_averaged_in_single() -> None:
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    average = fm.training.Average(layer, 0.999)
    for k in range(2000):  # in bfloat16 the small updates would be lost
        nn.init.constant_(layer.weight, 1.0 if k < 1000 else 2.0)
        average.update()
    average.apply()
    share = (1 - 0.999**1000) / (1 - 0.999**2000)
    assert layer.weight.item() == pytest.approx(1 + share, rel=4e-3)
    assert layer.weight.dtype == torch.bfloat16


def test_frozen_weights_stay() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    average = fm.training.Average(layer, 0.5)
    average.update()
    nn.init.ones_(layer.bias)
    average.apply()
    assert torch.equal(layer.bias, torch.ones(2))


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay of an average"):
        fm.training.Average(nn.Linear(1, 1), decay)


# ---------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name(name: str, kind: type) -> None:
    assert isinstance(make_optimizer(name, nn.Linear(1, 1).parameters(), 0.1), kind)


def test_an_optimiser_by_factory_gets_what_asks_for_gradients() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    made = make_optimizer(lambda p, lr: torch.optim.RAdam(p, lr=lr), layer.parameters(), 0.25)
    assert made.param_groups[0]["params"] == [layer.weight] and made.param_groups[0]["lr"] == 0.25


def test_bad_optimisers_are_refused() -> None:
    layer = nn.Linear(2, 2)
    nothing: Any = lambda p, lr: None  # noqa: E731
    with pytest.raises(ValueError, match="optimizer must be one of"):
        make_optimizer("newton", layer.parameters(), 0.1)
    with pytest.raises(TypeError, match="must return a torch optimizer"):
        make_optimizer(nothing, layer.parameters(), 0.1)
    with pytest.raises(ValueError, match="nothing to train"):
        make_optimizer("adam", layer.requires_grad_(False).parameters(), 0.1)


# ---------------------------------------------------------------------------- compiling


def test_a_process_may_compile_any_number_of_losses() -> None:
    """torch refuses to compile one piece of code more often than its limit, 8 times."""

    def named(name: str) -> Any:
        return lambda x: {name: x + 1}

    for k in range(2 * torch._dynamo.config.recompile_limit):  # pyright: ignore
        assert compiled(named(f"loss {k}"), "eager")(torch.ones(())) == {f"loss {k}": 2}


# ---------------------------------------------------------------------------- seeds


def test_every_step_of_a_run_has_its_own_numbers() -> None:
    first = [fm.training.step_generator(5, k).initial_seed() for k in range(20_000)]
    assert len(set(first)) == len(first)
    draws = torch.stack(
        [torch.rand(1, generator=fm.training.step_generator(5, k)) for k in range(4000)]
    )
    assert abs(draws.mean().item() - 0.5) < 4 * (1 / 12 / 4000) ** 0.5
    neighbours = torch.corrcoef(torch.cat([draws[:-1], draws[1:]], 1).T)[0, 1]
    assert neighbours.abs() < 4 / 4000**0.5


def test_seeds_differ_in_every_bit() -> None:
    firsts = {
        fm.training.step_generator(seed, 0).initial_seed()
        for seed in (0, 1, 2, 2**31, 2**32, 2**40, 2**63)
    }
    assert len(firsts) == 7


# ---------------------------------------------------------------------------- records


def recorded(
    window: int, losses: list[float], norms: list[float]
) -> tuple[Recorder, list[NotFinite]]:
    recorder, bad = Recorder(window, every=1, last=len(losses) - 1), []
    for k, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        recorder.add(
            k, torch.tensor(loss), torch.tensor(norm), {"a": torch.tensor(2 * loss)}, 0.1, float(k)
        )
        if recorder.full:
            bad.append(recorder.read())
    bad.append(recorder.read())
    return recorder, [found for found in bad if found is not None]


def test_reading_late_records_the_same() -> None:
    losses, norms = [3.0, 2.0, 1.0, 0.5, 0.25], [1.0] * 5
    at_once, late = recorded(1, losses, norms)[0], recorded(3, losses, norms)[0]
    history = at_once.history
    assert history == late.history and at_once.fresh == late.fresh
    assert history.loss == losses and history.parts == {"a": [2 * a for a in losses]}


@pytest.mark.parametrize("window", [1, 2, 100])
def test_the_first_step_that_is_not_finite_is_named(window: int) -> None:
    recorder, bad = recorded(window, [3.0, 2.0, math.nan, math.nan], [1.0] * 4)
    assert bad[0].step == 2 and "loss is nan at step 2 (learning rate 0.1)" in bad[0].what
    assert recorder.history.loss == [3.0, 2.0]
    _, bad = recorded(window, [3.0, 2.0, 1.0], [1.0, math.inf, 1.0])
    assert bad[0].step == 1 and "gradient's norm is inf at step 1" in bad[0].what


def test_every_so_many_steps_and_the_last_are_kept() -> None:
    recorder = Recorder(1, every=4, last=9)
    for step in range(10):
        recorder.add(step, torch.tensor(1.0), torch.tensor(1.0), {}, 0.1, float(step))
        recorder.read()
    assert recorder.history.step == [0, 4, 8, 9]
    recorder.restart(5)
    assert recorder.history.step == [0, 4] and [r["step"] for r in recorder.fresh] == [0, 4]

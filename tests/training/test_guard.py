"""What is not finite, or explodes, changes no weights, is told, and in the end stops the run."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import TrainingError
from flowmaps.training import Guard
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._log import JsonLines

ByHand = Callable[[list[tuple[int, float]]], list[Tensor]]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.fixture(scope="module")
def by_hand(guarded: SimpleNamespace) -> ByHand:
    """The averaged weights of the plain loop over steps with factors of their rates."""

    def descend(steps: list[tuple[int, float]]) -> list[Tensor]:
        learned, objective, source = (
            guarded.make_map(),
            fm.objectives.flow_matching(),
            guarded.make_source(),
        )
        update = torch.optim.AdamW(learned.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
        average = fm.training.Average(learned, guarded.decay)
        for step, factor in steps:
            generator = fm.training.step_generator(0, step)
            draw = objective.draw(source, batch=guarded.batch, generator=generator)
            update.zero_grad()
            objective(learned, draw).total.backward()
            nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
            update.param_groups[0]["lr"] = (
                factor * guarded.rate * fm.training.cosine(step, guarded.steps)
            )
            update.step()
            average.update()
        average.apply()
        return guarded.weights(learned)

    return descend


# ---------------------------------------------------------------------------- skipped


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("steps", [(0,), (5,), (2, 3), (1, 4, 9), (11,)], ids=str)
def test_what_is_not_finite_is_skipped_counted_and_told(
    how: str, steps: tuple[int, ...], tmp_path: Path, guarded: SimpleNamespace, by_hand: ByHand
) -> None:
    objective, called = guarded.Spoiled(guarded.always(*steps), how), []
    result = guarded.train(
        objective, folder=tmp_path, callback=lambda report: called.append(report.step)
    )
    good = [k for k in range(guarded.steps) if k not in steps]
    assert result.skipped == steps and result.rollbacks == 0
    assert called == good == result.history.step
    assert same(guarded.weights(result.learned), by_hand([(k, 1.0) for k in good]))
    before = dict(objective.seen)  # the weights that each step met
    assert all(same(before[k], before[k + 1]) for k in steps if k + 1 < guarded.steps)
    told = guarded.events(tmp_path)
    assert [(e["event"], e["at_step"]) for e in told] == [("skipped", k) for k in steps]
    what = {"gradient": "the gradient's norm is nan at step"}.get(how, f"the loss is {how} at step")
    assert all(e["why"].startswith(f"{what} {e['at_step']} (learning rate") for e in told)


def test_rows_that_are_not_finite_spoil_only_their_draws(guarded: SimpleNamespace) -> None:
    source = guarded.make_source()
    source.x1[3] = math.nan
    draws = [
        source.sample(guarded.batch, fm.training.step_generator(0, step))[1].isfinite().all()
        for step in range(200)
    ]
    bad = tuple(step for step, whole in enumerate(draws) if not whole)
    assert len(bad) > 5
    result = fm.training.fit(
        guarded.make_map(), fm.objectives.flow_matching(), source, steps=200, batch=guarded.batch
    )
    assert all(p.isfinite().all() for p in result.learned.parameters())
    assert result.skipped == bad


def test_a_skipped_step_leaves_the_buffers_too(guarded: SimpleNamespace) -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(1), nn.Linear(1, 1)

        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Tensor:
            return self.out(self.norm(x))

    source = guarded.make_source()
    source.x1[3] = math.nan
    learned = fm.maps.NeuralFlowMap(Normed())
    result = fm.training.fit(
        learned, fm.objectives.flow_matching(), source, steps=60, batch=guarded.batch
    )
    assert result.skipped
    assert learned(0.0, 1.0, torch.ones(2, 1)).isfinite().all()


# ---------------------------------------------------------------------------- rolled back


def test_several_in_a_row_roll_back_with_a_lower_rate(
    tmp_path: Path, guarded: SimpleNamespace, by_hand: ByHand
) -> None:
    objective = guarded.Spoiled({6: 1, 7: 1, 8: 1, 10: 1})
    result = guarded.train(objective, folder=tmp_path, guard=Guard(skips=2, slowdown=0.25))
    assert (result.rollbacks, result.skipped) == (1, (10,))
    steps = [(k, 1.0) for k in range(4)] + [(k, 0.25) for k in (4, 5, 6, 7, 8, 9, 11)]
    assert same(guarded.weights(result.learned), by_hand(steps))
    assert result.history.step == [k for k, _ in steps]
    rates = [factor * guarded.rate * fm.training.cosine(k, guarded.steps) for k, factor in steps]
    assert result.history.learning_rate == pytest.approx(rates)
    told = guarded.events(tmp_path)
    assert [e["event"] for e in told] == ["skipped", "skipped", "rolled back", "skipped"]
    why = told[2].pop("why")
    assert told[2] == {"event": "rolled back", "at_step": 9, "to_step": 4, "slowdown": 0.25}
    assert why.startswith("the loss is nan at step 8 ")
    records = [r for r in JsonLines(tmp_path / "log.jsonl").read() if "loss" in r]
    assert [r["step"] for r in records] == result.history.step


def test_without_skips_the_first_one_rolls_back(guarded: SimpleNamespace) -> None:
    result = guarded.train(guarded.Spoiled({6: 1}), guard=Guard(skips=0, rollbacks=1))
    assert (result.rollbacks, result.skipped) == (1, ())
    assert result.history.step == list(range(guarded.steps))


# ---------------------------------------------------------------------------- stopped


@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_a_run_that_cannot_go_on_names_step_reason_place_and_cure(
    save_seconds: float, tmp_path: Path, guarded: SimpleNamespace
) -> None:
    learned, objective = guarded.make_map(), guarded.Spoiled(guarded.always(6, 7, 8))
    with pytest.raises(TrainingError) as caught:
        guarded.train(
            objective,
            learned,
            folder=tmp_path,
            guard=Guard(skips=2, rollbacks=2),
            save_seconds=save_seconds,
        )
    message = str(caught.value)
    assert "\n" not in message and len(message) < 550
    for part in (
        "training stopped: the loss is nan at step 8 (learning rate",
        "after 2 roll-backs and 3 skipped steps",
        f"the last good checkpoint is that of step 4 in {tmp_path / 'checkpoints'}",
        "lower learning_rate, lengthen warmup or set clip, and check that data and field are ",
    ):
        assert part in message
    kept = Checkpoints(tmp_path / "checkpoints").newest()
    assert kept is not None and kept.step == 4
    last_good = list(kept.state["state"]["learned"].values())
    assert same(guarded.weights(learned), last_good) and same(last_good, dict(objective.seen)[4])
    assert not any(module.training for module in (*learned.modules(), *objective.modules()))
    assert not (tmp_path / "map").exists()
    assert [e["event"] for e in guarded.events(tmp_path)] == [
        "skipped",
        "skipped",
        "rolled back",
    ] * 2 + [
        "skipped",
        "skipped",
    ]


def test_without_a_folder_the_last_good_weights_are_in_the_map(guarded: SimpleNamespace) -> None:
    learned, objective = guarded.make_map(), guarded.Spoiled(guarded.always(5, 6))
    where = "of step 4, is left in the map (no folder was given); lower learning_rate"
    with pytest.raises(TrainingError) as caught:
        guarded.train(objective, learned, guard=Guard(skips=1, rollbacks=0))
    assert where in str(caught.value)
    assert same(guarded.weights(learned), dict(objective.seen)[4]) and not learned.training


def test_a_run_that_was_stopped_stops_again_when_resumed(
    tmp_path: Path, guarded: SimpleNamespace
) -> None:
    messages = []
    for resume in (False, True):
        with pytest.raises(TrainingError) as caught:
            guarded.train(
                guarded.Spoiled(guarded.always(5, 6)),
                folder=tmp_path,
                resume=resume,
                guard=Guard(skips=1),
            )
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (None, r"the (loss|gradient's norm) is (nan|inf) at step \d+ \(learning rate \S+e\+\d\d\)"),
        (1.0, r"the median loss of steps 0 to 39 is \S+e\+\d\d, against \S+ at first"),
    ],
)
def test_a_diverging_rate_is_caught(
    clip: float | None, reason: str, tmp_path: Path, guarded: SimpleNamespace
) -> None:
    learned, options = guarded.make_map(), {"optimizer": "sgd", "learning_rate": 1e20, "clip": clip}
    start = guarded.weights(learned)
    with pytest.raises(TrainingError, match=f"{reason}, after 3 roll.*checkpoint .* of step 0 in"):
        guarded.train(
            fm.objectives.flow_matching(),
            learned,
            folder=tmp_path,
            steps=40,
            keep_every=40,
            **options,
        )
    assert same(guarded.weights(learned), start) and not learned.training


def test_an_explosion_of_finite_losses_is_caught(tmp_path: Path, guarded: SimpleNamespace) -> None:
    learned = guarded.make_map()
    start = guarded.weights(learned)
    message = r"the median loss of steps 0 to 3 is \S+e\+\d+, against \S+ at first, after 3 roll"
    with pytest.raises(TrainingError, match=message):
        guarded.train(
            fm.objectives.flow_matching(),
            learned,
            folder=tmp_path,
            optimizer="adam",
            learning_rate=1e4,
        )
    assert same(guarded.weights(learned), start) and not learned.training
    told = guarded.events(tmp_path)
    assert [(e["event"], e["to_step"], e["slowdown"]) for e in told] == [
        ("rolled back", 0, 0.5),
        ("rolled back", 0, 0.25),
        ("rolled back", 0, 0.125),
    ]


def test_a_lower_rate_cures_an_explosion(guarded: SimpleNamespace) -> None:
    exploding: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e4}
    guard = Guard(slowdown=1e-3)
    result = guarded.train(fm.objectives.flow_matching(), guard=guard, **exploding)
    assert result.rollbacks > 0 and result.skipped == ()
    slower = guarded.train(
        fm.objectives.flow_matching(),
        optimizer="adam",
        learning_rate=1e4 * math.prod([1e-3] * result.rollbacks),
    )
    assert result.history.loss == pytest.approx(slower.history.loss, rel=1e-9)


def test_any_explosion_is_let_be(guarded: SimpleNamespace) -> None:
    """With explosion=inf only numbers that are not finite matter."""
    result = guarded.train(
        fm.objectives.flow_matching(),
        optimizer="adam",
        learning_rate=1e4,
        guard=Guard(explosion=math.inf),
    )
    assert result.rollbacks == 0 and max(result.history.loss) > 1e6


def test_any_explosion_is_let_be_in_a_folder(tmp_path: Path, guarded: SimpleNamespace) -> None:
    guard = Guard(explosion=math.inf)
    guarded.train(fm.objectives.flow_matching(), folder=tmp_path, guard=guard)
    assert guarded.train(fm.objectives.flow_matching(), folder=tmp_path, guard=guard, resume=True)


# ---------------------------------------------------------------------------- bad guards

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "negative skips": ({"skips": -1}, "skips must be a whole number from 0, got -1"),
    "half a skip": ({"skips": 1.5}, "skips must be a whole number from 0, got 1.5"),
    "skips as a flag": ({"skips": True}, "skips must be a whole number from 0, got True"),
    "negative roll-backs": ({"rollbacks": -1}, "rollbacks must be a whole number from 0, got -1"),
    "endless roll-backs": ({"rollbacks": math.inf}, "rollbacks must be a whole number from 0"),
    "standing still": ({"slowdown": 0.0}, r"slowdown must be in \(0, 1\], got 0.0"),
    "speeding up": ({"slowdown": 1.5}, r"slowdown must be in \(0, 1\], got 1.5"),
    "no slowdown": ({"slowdown": math.nan}, r"slowdown must be in \(0, 1\], got nan"),
    "explosion of one": ({"explosion": 1.0}, "explosion must be greater than 1, got 1.0"),
    "no explosion": ({"explosion": math.nan}, "explosion must be greater than 1, got nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_guard_that_cannot_be_is_refused(case: str, refused: Callable[..., None]) -> None:
    numbers, message = BAD[case]
    refused(lambda: Guard(**numbers), ValueError, message)


def test_a_guard_s_limits_will_do() -> None:
    Guard(skips=0, rollbacks=0, slowdown=1.0, explosion=1.0001)
    Guard(skips=10**9, rollbacks=10**9, slowdown=1e-9, explosion=math.inf)

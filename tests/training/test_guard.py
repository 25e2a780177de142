"""What is not finite, or explodes, changes no weights, is told, and in the end stops the run."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import TrainingError
from flowmaps.training import Guard
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._history import Recorder
from flowmaps.training._log import JsonLines
from flowmaps.training._loop import Loop

STEPS, BATCH, RATE, DECAY = 12, 4, 2e-2, 0.8


class Spoiled(fm.objectives.Objective):
    """Flow matching whose loss, or gradient, is not finite at some steps.

    Args:
        at: the steps, each with how often it is spoiled before it is as it should be.
        how: "nan" or "inf" for the loss, "gradient" for a finite loss with a gradient of NaN.
    """

    def __init__(self, at: dict[int, float], how: str = "nan", steps: int = STEPS):
        super().__init__()
        self.inner = fm.objectives.flow_matching()
        self.left, self.how, self.steps, self.step = dict(at), how, steps, 0
        self.seen: list[tuple[int, list[Tensor]]] = []

    def draw(self, source: Any, *, progress: float = 0.0, **options: Any) -> fm.objectives.Draw:
        self.step = round(progress * self.steps)
        return self.inner.draw(source, progress=progress, **options)

    def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
        self.seen.append((self.step, weights(learned)))
        loss = self.inner(learned, draw, target)
        if self.left.get(self.step, 0) < 1:
            return loss
        self.left[self.step] -= 1
        factor = {"nan": math.nan, "inf": math.inf}.get(self.how, 1.0)
        root = (0 * loss.total).sqrt() if self.how == "gradient" else 0.0  # slope 0 * inf
        return loss._replace(total=loss.total * factor + root)


class Stop(Exception):
    """Ends a run from its callback."""


def always(*steps: int) -> dict[int, float]:
    return dict.fromkeys(steps, math.inf)


def make_map() -> fm.maps.NeuralFlowMap:
    torch.manual_seed(1)
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1, frequencies=()))


def make_source() -> fm.objectives.Pairs:
    return fm.objectives.Pairs(None, torch.randn(40, 1, generator=torch.Generator().manual_seed(2)))


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def train(
    objective: fm.objectives.Objective, learned: fm.maps.FlowMap | None = None, **more: Any
) -> fm.training.FitResult:
    options = {
        "steps": STEPS,
        "batch": BATCH,
        "learning_rate": RATE,
        "ema": DECAY,
        "keep_every": 4,
        "save_seconds": 0,
    }
    return fm.training.fit(learned or make_map(), objective, make_source(), **(options | more))


def events(folder: Path) -> list[dict[str, Any]]:
    return [record for record in JsonLines(folder / "log.jsonl").read() if "event" in record]


def by_hand(steps: list[tuple[int, float]]) -> list[Tensor]:
    """Return the averaged weights of the plain loop over steps with factors of their rates."""
    learned, objective, source = make_map(), fm.objectives.flow_matching(), make_source()
    update = torch.optim.AdamW(learned.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    average = fm.training.Average(learned, DECAY)
    for step, factor in steps:
        generator = fm.training.step_generator(0, step)
        draw = objective.draw(source, batch=BATCH, generator=generator)
        update.zero_grad()
        objective(learned, draw).total.backward()
        nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        update.param_groups[0]["lr"] = factor * RATE * fm.training.cosine(step, STEPS)
        update.step()
        average.update()
    average.apply()
    return weights(learned)


# ---------------------------------------------------------------------------- skipped


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("steps", [(0,), (5,), (2, 3), (1, 4, 9), (11,)], ids=str)
def test_what_is_not_finite_is_skipped_counted_and_told(
    how: str, steps: tuple[int, ...], tmp_path: Path
) -> None:
    objective, called = Spoiled(always(*steps), how), []
    result = train(objective, folder=tmp_path, callback=lambda report: called.append(report.step))
    good = [k for k in range(STEPS) if k not in steps]
    assert result.skipped == steps and result.rollbacks == 0
    assert called == good == result.history.step
    assert same(weights(result.learned), by_hand([(k, 1.0) for k in good]))
    before = dict(objective.seen)  # the weights that each step met
    assert all(same(before[k], before[k + 1]) for k in steps if k + 1 < STEPS)
    told = events(tmp_path)
    assert [(e["event"], e["at_step"]) for e in told] == [("skipped", k) for k in steps]
    what = {"gradient": "the gradient's norm is nan at step"}.get(how, f"the loss is {how} at step")
    assert all(e["why"].startswith(f"{what} {e['at_step']} (learning rate") for e in told)


def test_rows_that_are_not_finite_spoil_only_their_draws() -> None:
    source = make_source()
    source.x1[3] = math.nan
    draws = [
        source.sample(BATCH, fm.training.step_generator(0, step))[1].isfinite().all()
        for step in range(200)
    ]
    bad = tuple(step for step, whole in enumerate(draws) if not whole)
    assert len(bad) > 5
    result = fm.training.fit(
        make_map(), fm.objectives.flow_matching(), source, steps=200, batch=BATCH
    )
    assert all(p.isfinite().all() for p in result.learned.parameters())
    assert result.skipped == bad


def test_a_skipped_step_leaves_the_buffers_too() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(1), nn.Linear(1, 1)

        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any) -> Tensor:
            return self.out(self.norm(x))

    source = make_source()
    source.x1[3] = math.nan
    learned = fm.maps.NeuralFlowMap(Normed())
    result = fm.training.fit(learned, fm.objectives.flow_matching(), source, steps=60, batch=BATCH)
    assert result.skipped
    assert learned(0.0, 1.0, torch.ones(2, 1)).isfinite().all()


# ---------------------------------------------------------------------------- rolled back


def test_several_in_a_row_roll_back_with_a_lower_rate(tmp_path: Path) -> None:
    objective = Spoiled({6: 1, 7: 1, 8: 1, 10: 1})
    result = train(objective, folder=tmp_path, guard=Guard(skips=2, slowdown=0.25))
    assert (result.rollbacks, result.skipped) == (1, (10,))
    steps = [(k, 1.0) for k in range(4)] + [(k, 0.25) for k in (4, 5, 6, 7, 8, 9, 11)]
    assert same(weights(result.learned), by_hand(steps))
    assert result.history.step == [k for k, _ in steps]
    rates = [factor * RATE * fm.training.cosine(k, STEPS) for k, factor in steps]
    assert result.history.learning_rate == pytest.approx(rates)
    told = events(tmp_path)
    assert [e["event"] for e in told] == ["skipped", "skipped", "rolled back", "skipped"]
    why = told[2].pop("why")
    assert told[2] == {"event": "rolled back", "at_step": 9, "to_step": 4, "slowdown": 0.25}
    assert why.startswith("the loss is nan at step 8 ")
    records = [r for r in JsonLines(tmp_path / "log.jsonl").read() if "loss" in r]
    assert [r["step"] for r in records] == result.history.step


def test_without_skips_the_first_one_rolls_back() -> None:
    result = train(Spoiled({6: 1}), guard=Guard(skips=0, rollbacks=1))
    assert (result.rollbacks, result.skipped) == (1, ())
    assert result.history.step == list(range(STEPS))


# ---------------------------------------------------------------------------- stopped


@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_a_run_that_cannot_go_on_names_step_reason_place_and_cure(
    save_seconds: float, tmp_path: Path
) -> None:
    learned, objective = make_map(), Spoiled(always(6, 7, 8))
    with pytest.raises(TrainingError) as caught:
        train(
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
    assert same(weights(learned), last_good) and same(last_good, dict(objective.seen)[4])
    assert not any(module.training for module in (*learned.modules(), *objective.modules()))
    assert not (tmp_path / "map").exists()
    assert [e["event"] for e in events(tmp_path)] == ["skipped", "skipped", "rolled back"] * 2 + [
        "skipped",
        "skipped",
    ]


def test_without_a_folder_the_last_good_weights_are_in_the_map() -> None:
    learned, objective = make_map(), Spoiled(always(5, 6))
    where = "of step 4, is left in the map (no folder was given); lower learning_rate"
    with pytest.raises(TrainingError) as caught:
        train(objective, learned, guard=Guard(skips=1, rollbacks=0))
    assert where in str(caught.value)
    assert same(weights(learned), dict(objective.seen)[4]) and not learned.training


def test_a_run_that_was_stopped_stops_again_when_resumed(tmp_path: Path) -> None:
    messages = []
    for resume in (False, True):
        with pytest.raises(TrainingError) as caught:
            train(Spoiled(always(5, 6)), folder=tmp_path, resume=resume, guard=Guard(skips=1))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (None, r"the (loss|gradient's norm) is (nan|inf) at step \d+ \(learning rate \S+e\+\d\d\)"),
        (1.0, r"the median loss of steps 0 to 39 is \S+e\+\d\d times the first loss"),
    ],
)
def test_a_diverging_rate_is_caught(clip: float | None, reason: str, tmp_path: Path) -> None:
    learned, options = make_map(), {"optimizer": "sgd", "learning_rate": 1e20, "clip": clip}
    start = weights(learned)
    with pytest.raises(TrainingError, match=f"{reason}, after 3 roll.*checkpoint .* of step 0 in"):
        train(
            fm.objectives.flow_matching(),
            learned,
            folder=tmp_path,
            steps=40,
            keep_every=40,
            **options,
        )
    assert same(weights(learned), start) and not learned.training


def test_an_explosion_of_finite_losses_is_caught(tmp_path: Path) -> None:
    learned = make_map()
    start = weights(learned)
    message = r"the median loss of steps 0 to 3 is \d\.\de\+\d+ times the first loss, after 3 roll"
    with pytest.raises(TrainingError, match=message):
        train(
            fm.objectives.flow_matching(),
            learned,
            folder=tmp_path,
            optimizer="adam",
            learning_rate=1e4,
        )
    assert same(weights(learned), start) and not learned.training
    told = events(tmp_path)
    assert [(e["event"], e["to_step"], e["slowdown"]) for e in told] == [
        ("rolled back", 0, 0.5),
        ("rolled back", 0, 0.25),
        ("rolled back", 0, 0.125),
    ]


def test_a_lower_rate_cures_an_explosion() -> None:
    exploding: dict[str, Any] = {"optimizer": "adam", "learning_rate": 1e4}
    guard = Guard(slowdown=1e-3)
    result = train(fm.objectives.flow_matching(), guard=guard, **exploding)
    assert result.rollbacks == 2 and result.skipped == ()
    slower = train(
        fm.objectives.flow_matching(), optimizer="adam", learning_rate=1e4 * (1e-3 * 1e-3)
    )
    assert result.history.loss == pytest.approx(slower.history.loss, rel=1e-9)


def test_any_explosion_is_let_be() -> None:
    """With explosion=inf only numbers that are not finite matter."""
    result = train(
        fm.objectives.flow_matching(),
        optimizer="adam",
        learning_rate=1e4,
        guard=Guard(explosion=math.inf),
    )
    assert result.rollbacks == 0 and max(result.history.loss) > 1e6


def test_any_explosion_is_let_be_in_a_folder(tmp_path: Path) -> None:
    guard = Guard(explosion=math.inf)
    train(fm.objectives.flow_matching(), folder=tmp_path, guard=guard)
    assert train(fm.objectives.flow_matching(), folder=tmp_path, guard=guard, resume=True)


# ---------------------------------------------------------------------------- windows, resuming


def outcome(result: fm.training.FitResult) -> dict[str, Any]:
    history = {k: v for k, v in asdict(result.history).items() if k != "seconds"}
    return {
        "weights": [p.tolist() for p in result.learned.parameters()],
        "history": history,
        "troubles": (result.skipped, result.rollbacks),
    }


def ending(*arguments: Any, **options: Any) -> Any:
    """Return how a run ends: its outcome, or why it was stopped and the weights it left."""
    learned = make_map()
    try:
        return outcome(train(*arguments, learned=learned, **options))
    except TrainingError as error:
        return str(error).split("; ")[0], [p.tolist() for p in learned.parameters()]


def read_late(patch: pytest.MonkeyPatch, window: int) -> None:
    """Have losses read many at a time, as on an accelerator."""
    patch.setattr(
        Loop, "_new_recorder", lambda loop: Recorder(window, loop.log_every, loop.steps - 1)
    )


RATES = {"adamw": RATE, "adam": 20.0, "sgd": 3.0}  # two of them explode
TROUBLES: dict[str, Any] = {
    "bad": st.sets(st.integers(0, STEPS - 1)),
    "options": st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(sorted(RATES)),
            "keep_every": st.sampled_from([1, 3, 4, 5, STEPS]),
            "guard": st.builds(
                Guard,
                skips=st.integers(0, 3),
                rollbacks=st.integers(0, 3),
                explosion=st.sampled_from([1.5, 20.0, 1e4]),
            ),
        }
    ).map(lambda chosen: chosen | {"learning_rate": RATES[chosen["optimizer"]], "clip": None}),
}


@given(window=st.sampled_from([2, 3, 5, 32]), **TROUBLES)
def test_reading_late_ends_in_the_same_weights(
    window: int, bad: set[int], options: dict[str, Any]
) -> None:
    at_once = ending(Spoiled(always(*bad)), **options)
    with pytest.MonkeyPatch.context() as patch:
        read_late(patch, window)
        assert ending(Spoiled(always(*bad)), **options) == at_once


@given(stop=st.integers(0, STEPS - 1), save_seconds=st.sampled_from([0.0, 1e9]), **TROUBLES)
def test_a_resumed_run_ends_in_the_same_weights(
    stop: int,
    save_seconds: float,
    bad: set[int],
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folders, options = tmp_path_factory.mktemp("runs"), options | {"save_seconds": save_seconds}
    whole = ending(Spoiled(always(*bad)), folder=folders / "whole", **options)
    assert stop_and_go(folders / "resumed", stop, bad, options) == whole
    if not save_seconds:  # else see test_a_resumed_run_tells_of_what_was_before_its_checkpoint
        assert events(folders / "resumed") == events(folders / "whole")


def stop_and_go(folder: Path, stop: int, bad: set[int], options: dict[str, Any]) -> Any:
    """Return how a run ends that is stopped once, after so many calls of its callback."""
    calls = iter(range(1000))

    def stopping(report: fm.training.StepReport) -> None:
        if next(calls) == stop:
            raise Stop

    try:
        return ending(Spoiled(always(*bad)), folder=folder, callback=stopping, **options)
    except Stop:
        return ending(Spoiled(always(*bad)), folder=folder, resume=True, **options)


LAST_OF_AN_INTERVAL: dict[str, Any] = {"guard": Guard(skips=1, rollbacks=0), "keep_every": 4}


def test_a_skip_at_the_end_of_an_interval_read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = always(3, 5, 6)
    at_once = ending(Spoiled(bad), **LAST_OF_AN_INTERVAL)
    read_late(monkeypatch, 3)
    assert ending(Spoiled(bad), **LAST_OF_AN_INTERVAL) == at_once


def test_a_skip_at_the_end_of_an_interval_resumed(tmp_path: Path) -> None:
    bad, options = {3, 5, 6}, LAST_OF_AN_INTERVAL | {"save_seconds": 1e9}
    whole = ending(Spoiled(always(*bad)), **options)
    cured = tmp_path / "run"
    assert stop_and_go(cured, 3, bad, options)[1] == whole[1]


def test_an_explosion_before_a_last_step_that_is_skipped() -> None:
    result = train(
        Spoiled(always(STEPS - 1)),
        optimizer="adam",
        learning_rate=1e4,
        keep_every=STEPS,
        guard=Guard(slowdown=1e-4),
    )
    assert result.history.step == list(range(STEPS - 1))


def test_a_resumed_run_tells_of_a_skip_once(tmp_path: Path) -> None:
    train(Spoiled(always(6)), folder=tmp_path / "whole")
    stop_and_go(tmp_path / "resumed", 6, {6}, {})
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


@pytest.mark.parametrize("bad", [{6: math.inf}, {5: 1, 6: 1}], ids=["skipped", "rolled back"])
def test_a_resumed_run_tells_of_what_was_before_its_checkpoint(
    bad: dict[int, float], tmp_path: Path
) -> None:
    def stop(report: fm.training.StepReport) -> None:
        if report.step == 7:
            raise Stop

    options: dict[str, Any] = {"save_seconds": 1e9, "guard": Guard(skips=1)}
    whole = train(Spoiled(bad), folder=tmp_path / "whole", **options)
    objective = Spoiled(bad)
    with pytest.raises(Stop):
        train(objective, folder=tmp_path / "resumed", callback=stop, **options)
    resumed = train(objective, folder=tmp_path / "resumed", resume=True, **options)
    assert outcome(resumed) == outcome(whole)
    assert events(tmp_path / "resumed") == events(tmp_path / "whole")


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

"""A guarded run ends the same where losses are read late, and where it is stopped and resumed."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps.errors import TrainingError
from flowmaps.training import Guard
from flowmaps.training._history import Recorder
from flowmaps.training._loop import Loop

STEPS, RATE = 12, 2e-2  # those of the guarded runs


class Stop(Exception):
    """Ends a run from its callback."""


def outcome(result: fm.training.FitResult) -> dict[str, Any]:
    history = {k: v for k, v in asdict(result.history).items() if k != "seconds"}
    return {
        "weights": [p.tolist() for p in result.learned.parameters()],
        "history": history,
        "troubles": (result.skipped, result.rollbacks),
    }


@pytest.fixture(scope="module")
def ending(guarded: SimpleNamespace) -> Callable[..., Any]:
    """How a run ends: its outcome, or why it was stopped and the weights it left."""

    def end(*arguments: Any, **options: Any) -> Any:
        learned = guarded.make_map()
        try:
            return outcome(guarded.train(*arguments, learned=learned, **options))
        except TrainingError as error:
            return str(error).split("; ")[0], [p.tolist() for p in learned.parameters()]

    return end


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
    window: int,
    bad: set[int],
    options: dict[str, Any],
    guarded: SimpleNamespace,
    ending: Callable[..., Any],
) -> None:
    at_once = ending(guarded.Spoiled(guarded.always(*bad)), **options)
    with pytest.MonkeyPatch.context() as patch:
        read_late(patch, window)
        assert ending(guarded.Spoiled(guarded.always(*bad)), **options) == at_once


@given(stop=st.integers(0, STEPS - 1), save_seconds=st.sampled_from([0.0, 1e9]), **TROUBLES)
def test_a_resumed_run_ends_in_the_same_weights(
    stop: int,
    save_seconds: float,
    bad: set[int],
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    guarded: SimpleNamespace,
    ending: Callable[..., Any],
    stop_and_go: Callable[..., Any],
) -> None:
    folders, options = tmp_path_factory.mktemp("runs"), options | {"save_seconds": save_seconds}
    whole = ending(guarded.Spoiled(guarded.always(*bad)), folder=folders / "whole", **options)
    assert stop_and_go(folders / "resumed", stop, bad, options) == whole
    if not save_seconds:  # else see test_a_resumed_run_tells_of_what_was_before_its_checkpoint
        assert guarded.events(folders / "resumed") == guarded.events(folders / "whole")


@pytest.fixture(scope="module")
def stop_and_go(guarded: SimpleNamespace, ending: Callable[..., Any]) -> Callable[..., Any]:
    """How a run ends that is stopped once, after so many calls of its callback."""

    def go(folder: Path, stop: int, bad: set[int], options: dict[str, Any]) -> Any:
        calls = iter(range(1000))

        def stopping(report: fm.training.StepReport) -> None:
            if next(calls) == stop:
                raise Stop

        try:
            return ending(
                guarded.Spoiled(guarded.always(*bad)), folder=folder, callback=stopping, **options
            )
        except Stop:
            return ending(
                guarded.Spoiled(guarded.always(*bad)), folder=folder, resume=True, **options
            )

    return go


LAST_OF_AN_INTERVAL: dict[str, Any] = {"guard": Guard(skips=1, rollbacks=0), "keep_every": 4}


def test_a_skip_at_the_end_of_an_interval_read_late(
    monkeypatch: pytest.MonkeyPatch, guarded: SimpleNamespace, ending: Callable[..., Any]
) -> None:
    bad = guarded.always(3, 5, 6)
    at_once = ending(guarded.Spoiled(bad), **LAST_OF_AN_INTERVAL)
    read_late(monkeypatch, 3)
    assert ending(guarded.Spoiled(bad), **LAST_OF_AN_INTERVAL) == at_once


def test_a_skip_at_the_end_of_an_interval_resumed(
    tmp_path: Path,
    guarded: SimpleNamespace,
    ending: Callable[..., Any],
    stop_and_go: Callable[..., Any],
) -> None:
    bad, options = {3, 5, 6}, LAST_OF_AN_INTERVAL | {"save_seconds": 1e9}
    whole = ending(guarded.Spoiled(guarded.always(*bad)), **options)
    cured = tmp_path / "run"
    assert stop_and_go(cured, 3, bad, options)[1] == whole[1]


def test_an_explosion_before_a_last_step_that_is_skipped(guarded: SimpleNamespace) -> None:
    result = guarded.train(
        guarded.Spoiled(guarded.always(STEPS - 1)),
        optimizer="adam",
        learning_rate=1e4,
        keep_every=STEPS,
        guard=Guard(slowdown=1e-4),
    )
    assert result.history.step == list(range(STEPS - 1))


def test_a_resumed_run_tells_of_a_skip_once(
    tmp_path: Path, guarded: SimpleNamespace, stop_and_go: Callable[..., Any]
) -> None:
    guarded.train(guarded.Spoiled(guarded.always(6)), folder=tmp_path / "whole")
    stop_and_go(tmp_path / "resumed", 6, {6}, {})
    assert guarded.events(tmp_path / "resumed") == guarded.events(tmp_path / "whole")


@pytest.mark.parametrize("bad", [{6: math.inf}, {5: 1, 6: 1}], ids=["skipped", "rolled back"])
def test_a_resumed_run_tells_of_what_was_before_its_checkpoint(
    bad: dict[int, float], tmp_path: Path, guarded: SimpleNamespace
) -> None:
    def stop(report: fm.training.StepReport) -> None:
        if report.step == 7:
            raise Stop

    options: dict[str, Any] = {"save_seconds": 1e9, "guard": Guard(skips=1)}
    whole = guarded.train(guarded.Spoiled(bad), folder=tmp_path / "whole", **options)
    objective = guarded.Spoiled(bad)
    with pytest.raises(Stop):
        guarded.train(objective, folder=tmp_path / "resumed", callback=stop, **options)
    resumed = guarded.train(objective, folder=tmp_path / "resumed", resume=True, **options)
    assert outcome(resumed) == outcome(whole)
    assert guarded.events(tmp_path / "resumed") == guarded.events(tmp_path / "whole")

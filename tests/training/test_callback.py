"""What a callback may do: look at live and averaged weights, change modes, end the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flowmaps as fm
from flowmaps.training import StepReport, StopTraining

pytestmark = pytest.mark.usefixtures("as_users_do")


def test_a_callback_that_evaluates_changes_nothing(runs: SimpleNamespace) -> None:
    """Dropout goes on, whatever mode the callback leaves, and the live weights stay."""
    expected, modes = runs.outcome(runs.train("noise")), []
    x = torch.zeros(3, 2)

    def look(report: StepReport) -> None:
        modes.append(report.learned.training)
        report.learned.eval()(0.0, 1.0, x)
        with report.averaged() as learned:
            assert not learned.training and not learned(0.0, 1.0, x).requires_grad

    assert runs.outcome(runs.train("noise", callback=look)) == expected
    assert modes == [True] * runs.settings["steps"]


def test_the_averaged_weights_are_those_that_a_run_would_leave(runs: SimpleNamespace) -> None:
    seen: list[dict[str, bytes]] = []

    def look(report: StepReport) -> None:
        live = runs.bits(report.learned)
        with report.averaged() as learned:
            seen.append(runs.bits(learned))
        with pytest.raises(ZeroDivisionError), report.averaged():
            raise ZeroDivisionError
        assert runs.bits(report.learned) == live
        assert report.step == 0 or seen[-1] != live
        assert report.learned.training

    result = runs.train(callback=look, ema=0.7)
    assert seen[-1] == runs.bits(result.learned)


@pytest.mark.parametrize("step", [0, 4, 5, 9])
def test_a_callback_ends_the_run(step: int, tmp_path: Path, runs: SimpleNamespace) -> None:
    seen: list[dict[str, bytes]] = []

    def stop(report: StepReport) -> None:
        with report.averaged() as learned:
            seen.append(runs.bits(learned))
        if report.step == step:
            raise StopTraining

    result = runs.train(folder=tmp_path, callback=stop)
    assert result.history.step == list(range(step + 1)) and result.steps == 10
    assert result.cut_short == (step < 9) and runs.bits(result.learned) == seen[-1]
    assert result.history.loss == runs.train().history.loss[: step + 1]
    again = runs.train(folder=tmp_path, resume=True)  # it stays ended
    assert runs.outcome(again) == runs.outcome(result)


def test_a_resumed_run_is_ended_as_one_that_was_not_stopped(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    def stop(report: StepReport) -> None:
        if report.step == 7:
            raise StopTraining

    runs.stopped(4, "adamw", tmp_path)
    more: dict[str, Any] = {"callback": stop}
    resumed = runs.train(folder=tmp_path, resume=True, **more)
    assert runs.outcome(resumed) == runs.outcome(runs.train(**more))


def test_before_any_update_an_average_is_what_it_began_with() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    began = layer.weight.item()
    average = fm.training.Average(layer, 0.5)
    torch.nn.init.constant_(layer.weight, 7.0)
    average.apply()
    assert layer.weight.item() == began

"""A run that is stopped anywhere and taken up again ends with the bits of one that never was."""

import contextlib
import importlib.util
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps.errors import CheckpointError, RunFolderError, RunFolderExistsError
from flowmaps.training import _loop
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("as_users_do")
needs_soap = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_optimizer") is None, reason="needs pytorch-optimizer"
)

# ---------------------------------------------------------------------------- stopped in process


@pytest.mark.parametrize("case", ["adamw", "sgd", pytest.param("soap", marks=needs_soap), "noise"])
def test_a_stop_after_any_step_changes_nothing(
    case: str, tmp_path: Path, runs: SimpleNamespace
) -> None:
    whole = runs.train(case, folder=tmp_path / "whole")
    expected, left = runs.outcome(whole), runs.on_disk(tmp_path / "whole")
    for step in range(runs.settings["steps"]):
        folder = tmp_path / str(step)
        runs.stopped(step, case, folder)
        resumed = runs.train(case, folder=folder, resume=True)
        assert runs.outcome(resumed) == expected, step
        assert runs.on_disk(folder) == left, step
        shutil.rmtree(folder)


def test_a_map_of_other_weights_takes_up_those_of_the_run(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    expected = runs.outcome(runs.train())
    runs.stopped(7, "adamw", tmp_path)
    other = runs.make_map(seed=5)
    assert runs.outcome(runs.train(learned=other, folder=tmp_path, resume=True)) == expected


STOPS = st.lists(
    st.tuples(st.sampled_from(["step", "draw", "loss"]), st.integers(0, 9)), min_size=1, max_size=4
)


@settings(max_examples=15)
@given(
    stops=STOPS,
    keep_every=st.integers(1, 11),
    save_seconds=st.sampled_from([0.0, 1e9]),
    log_every=st.integers(1, 5),
    case=st.sampled_from(["adamw", "noise"]),
)
def test_any_stops_in_a_row_change_nothing(
    stops: list[tuple[str, int]],
    keep_every: int,
    save_seconds: float,
    log_every: int,
    case: str,
    runs: SimpleNamespace,
) -> None:
    more: dict[str, Any] = {"keep_every": keep_every, "log_every": log_every}
    expected = runs.outcome(runs.train(case, **more))
    more["save_seconds"] = save_seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        for where, count in stops:
            objective, network = runs.make_objective(), runs.cases[case].get("network", "mlp")
            learned = runs.make_map(network, seed=random.randrange(9) if folder.exists() else 1)
            callback = runs.at(count) if where == "step" else None
            if callback is None:
                objective.left[where] = count
            with contextlib.suppress(runs.Stop):
                runs.train(
                    case,
                    learned=learned,
                    objective=objective,
                    folder=folder,
                    resume=True,
                    callback=callback,
                    **more,
                )
                continue
            # Stopped: the map holds the last kept weights, which are on the disk.
            newest = Checkpoints(folder / "checkpoints").newest()
            if (where, count) == ("draw", 0):  # before the first step, nothing is changed
                continue
            assert newest is not None and not (learned.training or objective.training)
            assert runs.bits(learned) == {
                k: runs.bytes_of(v) for k, v in newest.state["state"]["learned"].items()
            }
        assert runs.outcome(runs.train(case, folder=folder, resume=True, **more)) == expected


def test_a_run_with_a_budget_is_resumed_with_the_steps_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: SimpleNamespace
) -> None:
    monkeypatch.setattr(_loop, "affordable_steps", lambda *_: 11)
    budget: dict[str, Any] = {"steps": None, "seconds": 1e6}
    runs.stopped(6, "adamw", tmp_path, **budget)
    monkeypatch.setattr(_loop, "affordable_steps", lambda *_: pytest.fail("asked again"))
    resumed = runs.train(folder=tmp_path, resume=True, **budget)
    assert resumed.steps == 11
    assert runs.outcome(resumed) == runs.outcome(runs.train(steps=11))


# ---------------------------------------------------------------------------- damaged checkpoints


def test_a_truncated_checkpoint_is_passed_over_by_name(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    expected = runs.outcome(runs.train())
    runs.stopped(8, "adamw", tmp_path)
    before, newest = sorted((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{newest.name} is truncated.*using {before.name}"):
        resumed = runs.train(folder=tmp_path, resume=True)
    assert runs.outcome(resumed) == expected
    assert newest.name not in {path.name for path in (tmp_path / "checkpoints").iterdir()} or (
        Checkpoints(tmp_path / "checkpoints").read(newest)
    )


def test_without_a_whole_checkpoint_nothing_is_resumed(
    tmp_path: Path, refused: Callable[..., None], runs: SimpleNamespace
) -> None:
    runs.stopped(8, "adamw", tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    left, learned = runs.files(tmp_path), runs.make_map(seed=5)
    before = runs.bits(learned)
    with pytest.raises(CheckpointError, match="no whole checkpoint: step-.*step-.*overwrite=True"):
        runs.train(learned=learned, folder=tmp_path, resume=True)
    assert runs.bits(learned) == before and runs.files(tmp_path) == left


# ---------------------------------------------------------------------------- what is resumed

ANOTHER: dict[str, tuple[dict[str, Any], str]] = {
    "steps": ({"steps": 11}, "settings.steps was 10, now 11"),
    "budget": ({"seconds": 1e6}, "settings.seconds was None, now 1000000.0"),
    "batch": ({"batch": 16}, "settings.batch was 8, now 16"),
    "optimizer": ({"optimizer": "adam"}, "settings.optimizer was 'adamw', now 'adam'"),
    "factory": ({"optimizer": torch.optim.NAdam}, "settings.optimizer was 'adamw', now 'NAdam'"),
    "learning rate": ({"learning_rate": 1e-3}, "settings.learning_rate was 0.02, now 0.001"),
    "schedule": ({"schedule": "constant"}, "settings.schedule was 'cosine', now 'constant'"),
    "warm-up": ({"warmup": 2}, "settings.warmup was 3, now 2"),
    "average": ({"ema": None}, "settings.ema was 0.9, now None"),
    "clip": ({"clip": 2.0}, "settings.clip was 1.0, now 2.0"),
    "seed": ({"seed": 1}, "settings.seed was 0, now 1"),
    "compile": ({"compile": "eager"}, "settings.compile was False, now 'eager'"),
    "guard": (
        {"guard": fm.training.Guard(skips=1)},
        r"settings.guard.skips was 5, now 1; resume it with the same ones",
    ),
    "keeping": ({"keep_every": 4}, "settings.keep_every was 3, now 4"),
    "width": ({"width": 7}, "learned.config.network.config.width was 6, now 7"),
    "objective": ({"objective": fm.objectives.lsd()}, "objective was .*, now "),
    "about": ({"about": {"who": "me"}}, "about.who was None, now 'me'"),
    "two": ({"seed": 1, "batch": 9}, "batch was 8, now 9; settings.seed was 0, now 1; resume"),
}


@pytest.fixture(scope="module")
def begun(runs: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 7."""
    folder = tmp_path_factory.mktemp("begun")
    runs.stopped(7, "adamw", folder)
    return folder


@pytest.mark.parametrize("case", ANOTHER)
def test_a_run_of_other_settings_is_refused_by_naming_them(
    case: str, begun: Path, refused: Callable[..., None], runs: SimpleNamespace
) -> None:
    changed, message = ANOTHER[case]
    learned = runs.make_map(width=changed.get("width", 6))
    before, left = runs.bits(learned), runs.files(begun)
    options = {k: v for k, v in changed.items() if k != "width"}
    refused(
        lambda: runs.train(learned=learned, folder=begun, resume=True, **options),
        OSError,
        f"was started with other settings: .*{message}",
        RunFolderError,
    )
    assert runs.bits(learned) == before and runs.files(begun) == left


def test_what_a_run_is_watched_by_may_change(
    begun: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder, seen = tmp_path / "copy", []
    shutil.copytree(begun, folder)
    resumed = runs.train(
        folder=folder, resume=True, save_seconds=3.0, progress=False, callback=seen.append
    )
    assert runs.outcome(resumed) == runs.outcome(runs.train())
    assert [report.step for report in seen] == list(range(6, 10))  # from the checkpoint on


def test_a_finished_run_is_returned_at_once(tmp_path: Path, runs: SimpleNamespace) -> None:
    first = runs.train(folder=tmp_path)
    left, other = runs.files(tmp_path), runs.make_map(seed=5)
    again = runs.train(
        learned=other, folder=tmp_path, resume=True, callback=lambda _: pytest.fail("a step")
    )
    assert runs.outcome(again) == runs.outcome(first) and again.history == first.history
    assert runs.files(tmp_path) == left and not other.training
    assert runs.bits(fm.load(tmp_path / "map")) == runs.bits(first.learned)


@pytest.mark.parametrize("kind", ["missing", "empty", "entered"])
def test_where_there_is_nothing_a_resumed_run_starts(
    kind: str, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder = tmp_path / "a" / "run"
    if kind != "missing":
        folder.mkdir(parents=True)
    if kind == "entered":  # killed in its first moment: there is nothing but the lock
        with RunFolder(folder):
            pass
    assert runs.outcome(runs.train(folder=folder, resume=True)) == runs.outcome(runs.train())
    assert (folder / "configuration.json").exists() and (folder / "map").exists()


def test_half_a_configuration_is_no_obstacle(tmp_path: Path, runs: SimpleNamespace) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "configuration.json.new").write_text('{"settings"')
    assert runs.outcome(runs.train(folder=tmp_path, resume=True)) == runs.outcome(runs.train())


def test_an_overwriting_run_killed_in_its_first_moment_is_resumed(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    runs.train(folder=tmp_path)
    with RunFolder(tmp_path, overwrite=True):  # and no further
        pass
    assert runs.outcome(runs.train(folder=tmp_path, resume=True)) == runs.outcome(runs.train())


@pytest.mark.parametrize("name", ["thesis.txt", "map/flowmap.json", "log.jsonl"])
def test_what_is_no_run_is_not_resumed(
    name: str, tmp_path: Path, refused: Callable[..., None], runs: SimpleNamespace
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("do not lose me")
    top = Path(name).parts[0]
    refused(
        lambda: runs.train(folder=tmp_path, resume=True),
        OSError,
        rf"holds no run to resume \(there is {top}, but no configuration.json\); give a run's",
        RunFolderError,
    )
    assert runs.files(tmp_path) == {name: b"do not lose me"}


def test_resuming_and_overwriting_exclude_each_other(
    begun: Path, refused: Callable[..., None], runs: SimpleNamespace
) -> None:
    left = runs.files(begun)
    act = lambda: runs.train(folder=begun, resume=True, overwrite=True)  # noqa: E731
    refused(act, ValueError, "give resume=True .* or overwrite=True .*, not both")
    act = lambda: runs.train(folder=begun)  # noqa: E731
    refused(act, FileExistsError, "already holds a run", RunFolderExistsError)
    assert runs.files(begun) == left


def test_an_overwritten_run_is_as_a_first_one(
    begun: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(begun, folder)
    runs.train(folder=folder, overwrite=True)
    runs.train(folder=tmp_path / "new")
    assert runs.on_disk(folder) == runs.on_disk(tmp_path / "new")

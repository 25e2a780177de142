"""A run that is stopped anywhere and taken up again ends with the bits of one that never was.

Run as a program, this file is a nursery: a process that has imported everything and forks a child
for each run it is asked for, so that runs can be killed by the dozen.
"""

import contextlib
import importlib.util
import json
import math
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import CheckpointError, RunFolderError, RunFolderExistsError
from flowmaps.training import _loop
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._log import JsonLines
from flowmaps.training._run_folder import RunFolder

HAS_SOAP = importlib.util.find_spec("pytorch_optimizer") is not None


@pytest.fixture(autouse=True)
def as_users_do(strict_torch: None) -> None:
    """Train in float32, here and in the nursery."""
    torch.set_default_dtype(torch.float32)


class Noisy(nn.Module):
    """A network that draws random numbers at every call, as dropout does."""

    def __init__(self, dim: int = 2, width: int = 6):
        super().__init__()
        self.into, self.out = nn.Linear(dim + 2, width), nn.Linear(width, dim)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        hidden = torch.tanh(self.into(torch.cat([s[:, None], t[:, None], x], dim=1)))
        return self.out(hidden * (torch.rand(hidden.shape[1]) < 0.8))


class Stop(BaseException):
    """Ends a run wherever it is, as an interruption does."""


class Stopping(fm.objectives.Objective):
    """An objective with weights of its own, which raises Stop at the n-th draw or loss."""

    def __init__(self, inner: fm.objectives.Objective) -> None:
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.zeros(()))
        self.left = {"draw": math.inf, "loss": math.inf}

    def _count(self, what: str) -> None:
        self.left[what] -= 1
        if self.left[what] < 0:
            raise Stop

    def draw(self, *arguments: Any, **options: Any) -> fm.objectives.Draw:
        self._count("draw")
        return self.inner.draw(*arguments, **options)

    def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
        self._count("loss")
        loss = self.inner(learned, draw, target)
        return loss._replace(total=loss.total * torch.exp(-self.scale) + self.scale)


def make_map(network: str = "mlp", width: int = 6, seed: int = 1) -> fm.maps.NeuralFlowMap:
    torch.manual_seed(seed)
    if network == "noisy":
        return fm.maps.NeuralFlowMap(Noisy(width=width))
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=width, depth=1, frequencies=()))


def make_objective() -> Stopping:
    return Stopping(fm.objectives.lsd(pretrain=0.3))


def make_source() -> fm.objectives.Pairs:
    return fm.objectives.Pairs(None, torch.randn(40, 2, generator=torch.Generator().manual_seed(2)))


CASES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw"},
    "sgd": {"optimizer": "sgd", "ema": None, "schedule": "constant", "clip": None, "log_every": 4},
    "soap": {"optimizer": "soap", "width": 33},  # wide enough for products to round differently
    "noise": {"network": "noisy", "ema": 0.99, "warmup": 0},
}
SHORT: dict[str, Any] = {
    "steps": 10,
    "batch": 8,
    "learning_rate": 2e-2,
    "warmup": 3,
    "ema": 0.9,
    "keep_every": 3,
    "save_seconds": 0,
}


def train(
    case: str = "adamw", *, learned: fm.maps.FlowMap | None = None, **more: Any
) -> fm.training.FitResult:
    """Run a case; the map starts with weights by its seed unless it is given."""
    options = {**SHORT, **CASES[case], **more}
    network, width = options.pop("network", "mlp"), options.pop("width", 6)
    return fm.training.fit(
        make_map(network, width) if learned is None else learned,
        options.pop("objective", None) or make_objective(),
        make_source(),
        **options,
    )


def at(step: int) -> Callable[[fm.training.StepReport], None]:
    """Return a callback that stops the run after a step."""

    def stop(report: fm.training.StepReport) -> None:
        if report.step == step:
            raise Stop

    return stop


def stopped(step: int, case: str, folder: Path, **more: Any) -> None:
    with pytest.raises(Stop):
        train(case, folder=folder, callback=at(step), **more)


def bits(module: nn.Module) -> dict[str, bytes]:
    return {name: bytes_of(value) for name, value in module.state_dict().items()}


def bytes_of(value: Tensor) -> bytes:
    return value.contiguous().numpy().tobytes()


def outcome(result: fm.training.FitResult) -> dict[str, Any]:
    """Return all that a run has left but times of day: weights, numbers, troubles."""
    history = {k: v for k, v in asdict(result.history).items() if k != "seconds"}
    troubles = (result.skipped, result.rollbacks, result.cut_short)
    return {
        "weights": bits(result.learned),
        "history": json.loads(json.dumps(history)),
        "troubles": troubles,
        "steps": result.steps,
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def without_seconds(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_seconds(v) for k, v in tree.items() if k != "seconds"}
    if isinstance(tree, list | tuple):
        return [without_seconds(item) for item in tree]
    return bytes_of(tree) if isinstance(tree, Tensor) else tree


def on_disk(folder: Path) -> dict[str, Any]:
    """Return what a finished run has left in its folder, but for times of day."""
    newest = Checkpoints(folder / "checkpoints").newest()
    assert newest is not None
    return {
        "log": without_seconds(JsonLines(folder / "log.jsonl").read()),
        "last": (newest.step, without_seconds(newest.state)),
        "map": {path.name: path.read_bytes() for path in (folder / "map").iterdir()},
    }


def optimizers() -> list[Any]:
    marks = pytest.mark.skipif(not HAS_SOAP, reason="needs pytorch-optimizer")
    return [case if case != "soap" else pytest.param(case, marks=marks) for case in CASES]


# ---------------------------------------------------------------------------- stopped in process


@pytest.mark.parametrize("case", optimizers())
def test_a_stop_after_any_step_changes_nothing(case: str, tmp_path: Path) -> None:
    whole = train(case, folder=tmp_path / "whole")
    expected, left = outcome(whole), on_disk(tmp_path / "whole")
    for step in range(SHORT["steps"]):
        folder = tmp_path / str(step)
        stopped(step, case, folder)
        resumed = train(case, folder=folder, resume=True)
        assert outcome(resumed) == expected, step
        assert on_disk(folder) == left, step
        shutil.rmtree(folder)


def test_a_map_of_other_weights_takes_up_those_of_the_run(tmp_path: Path) -> None:
    expected = outcome(train())
    stopped(7, "adamw", tmp_path)
    other = make_map(seed=5)
    assert outcome(train(learned=other, folder=tmp_path, resume=True)) == expected


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
    stops: list[tuple[str, int]], keep_every: int, save_seconds: float, log_every: int, case: str
) -> None:
    more: dict[str, Any] = {"keep_every": keep_every, "log_every": log_every}
    expected = outcome(train(case, **more))
    more["save_seconds"] = save_seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        for where, count in stops:
            objective, network = make_objective(), CASES[case].get("network", "mlp")
            learned = make_map(network, seed=random.randrange(9) if folder.exists() else 1)
            callback = at(count) if where == "step" else None
            if callback is None:
                objective.left[where] = count
            with contextlib.suppress(Stop):
                train(
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
            assert newest is not None and not (learned.training or objective.training)
            assert bits(learned) == {
                k: bytes_of(v) for k, v in newest.state["state"]["learned"].items()
            }
        assert outcome(train(case, folder=folder, resume=True, **more)) == expected


def test_a_run_with_a_budget_is_resumed_with_the_steps_that_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop, "affordable_steps", lambda seconds, spent, trial: 11)
    budget: dict[str, Any] = {"steps": None, "seconds": 1e6}
    stopped(6, "adamw", tmp_path, **budget)
    monkeypatch.setattr(_loop, "affordable_steps", lambda *_: pytest.fail("asked again"))
    resumed = train(folder=tmp_path, resume=True, **budget)
    assert resumed.steps == 11
    assert outcome(resumed) == outcome(train(steps=11))


# ---------------------------------------------------------------------------- damaged checkpoints


def test_a_truncated_checkpoint_is_passed_over_by_name(tmp_path: Path) -> None:
    expected = outcome(train())
    stopped(8, "adamw", tmp_path)
    before, newest = sorted((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{newest.name} is truncated.*using {before.name}"):
        resumed = train(folder=tmp_path, resume=True)
    assert outcome(resumed) == expected
    assert newest.name not in {path.name for path in (tmp_path / "checkpoints").iterdir()} or (
        Checkpoints(tmp_path / "checkpoints").read(newest)
    )


def test_without_a_whole_checkpoint_nothing_is_resumed(
    tmp_path: Path, refused: Callable[..., None]
) -> None:
    stopped(8, "adamw", tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[::-1])
    left, learned = files(tmp_path), make_map(seed=5)
    before = bits(learned)
    with pytest.raises(CheckpointError, match="no whole checkpoint: step-.*step-.*overwrite=True"):
        train(learned=learned, folder=tmp_path, resume=True)
    assert bits(learned) == before and files(tmp_path) == left


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
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 7."""
    folder = tmp_path_factory.mktemp("begun")
    stopped(7, "adamw", folder)
    return folder


@pytest.mark.parametrize("case", ANOTHER)
def test_a_run_of_other_settings_is_refused_by_naming_them(
    case: str, begun: Path, refused: Callable[..., None]
) -> None:
    changed, message = ANOTHER[case]
    learned = make_map(width=changed.get("width", 6))
    before, left = bits(learned), files(begun)
    options = {k: v for k, v in changed.items() if k != "width"}
    refused(
        lambda: train(learned=learned, folder=begun, resume=True, **options),
        OSError,
        f"was started with other settings: .*{message}",
        RunFolderError,
    )
    assert bits(learned) == before and files(begun) == left


def test_what_a_run_is_watched_by_may_change(begun: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "copy", []
    shutil.copytree(begun, folder)
    resumed = train(
        folder=folder, resume=True, save_seconds=3.0, progress=False, callback=seen.append
    )
    assert outcome(resumed) == outcome(train())
    assert [report.step for report in seen] == list(range(6, 10))  # from the checkpoint on


def test_a_finished_run_is_returned_at_once(tmp_path: Path) -> None:
    first = train(folder=tmp_path)
    left, other = files(tmp_path), make_map(seed=5)
    again = train(
        learned=other, folder=tmp_path, resume=True, callback=lambda _: pytest.fail("a step")
    )
    assert outcome(again) == outcome(first) and again.history == first.history
    assert files(tmp_path) == left and not other.training
    assert bits(fm.load(tmp_path / "map")) == bits(first.learned)


@pytest.mark.parametrize("kind", ["missing", "empty", "entered"])
def test_where_there_is_nothing_a_resumed_run_starts(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    if kind != "missing":
        folder.mkdir(parents=True)
    if kind == "entered":  # killed in its first moment: there is nothing but the lock
        with RunFolder(folder):
            pass
    assert outcome(train(folder=folder, resume=True)) == outcome(train())
    assert (folder / "configuration.json").exists() and (folder / "map").exists()


def test_half_a_configuration_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "configuration.json.new").write_text('{"settings"')
    assert outcome(train(folder=tmp_path, resume=True)) == outcome(train())


def test_an_overwriting_run_killed_in_its_first_moment_is_resumed(tmp_path: Path) -> None:
    train(folder=tmp_path)
    with RunFolder(tmp_path, overwrite=True):  # and no further
        pass
    assert outcome(train(folder=tmp_path, resume=True)) == outcome(train())


@pytest.mark.parametrize("name", ["thesis.txt", "map/flowmap.json", "log.jsonl"])
def test_what_is_no_run_is_not_resumed(
    name: str, tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("do not lose me")
    top = Path(name).parts[0]
    refused(
        lambda: train(folder=tmp_path, resume=True),
        OSError,
        rf"holds no run to resume \(there is {top}, but no configuration.json\); give a run's",
        RunFolderError,
    )
    assert files(tmp_path) == {name: b"do not lose me"}


def test_resuming_and_overwriting_exclude_each_other(
    begun: Path, refused: Callable[..., None]
) -> None:
    left = files(begun)
    act = lambda: train(folder=begun, resume=True, overwrite=True)  # noqa: E731
    refused(act, ValueError, "give resume=True .* or overwrite=True .*, not both")
    act = lambda: train(folder=begun)  # noqa: E731
    refused(act, FileExistsError, "already holds a run", RunFolderExistsError)
    assert files(begun) == left


def test_an_overwritten_run_is_as_a_first_one(begun: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(begun, folder)
    train(folder=folder, overwrite=True)
    train(folder=tmp_path / "new")
    assert on_disk(folder) == on_disk(tmp_path / "new")


# ---------------------------------------------------------------------------- killed


class Nursery:
    """The process that forks a child for each run, one at a time."""

    def __init__(self, errors: Path):
        self.errors = errors
        with open(errors, "wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                bufsize=0,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )

    def start(self, **order: Any) -> int:
        """Start a run and return its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
        return int(self._line())

    def ended(self) -> bool:
        """Tell whether the run has ended."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def status(self) -> int:
        """Wait for the run's end and return how it ended: -9 killed, 0 finished."""
        status = int(self._line())
        assert status in (0, -signal.SIGKILL), self.errors.read_text()
        return status

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()
        return line

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    opened = Nursery(tmp_path_factory.mktemp("nursery") / "errors.txt")
    yield opened
    opened.close()


posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


def tell(outcome_path: Path, result: fm.training.FitResult) -> None:
    history = {k: v for k, v in asdict(result.history).items() if k != "seconds"}
    outcome_path.write_text(json.dumps({"history": history, "steps": result.steps}))


def left_by(folder: Path) -> dict[str, Any]:
    return on_disk(folder) | json.loads(folder.with_suffix(".json").read_text())


def grown(path: Path, by: int) -> Callable[[], bool]:
    size = path.stat().st_size if path.exists() else 0
    return lambda: path.exists() and path.stat().st_size > size + by


def moment(kind: str, folder: Path, chance: random.Random) -> Callable[[], bool]:
    """Return a condition to kill a run at, by what it has written since now."""
    if kind == "start-up":
        known = time.time_ns()
        return lambda: (folder / "lock").stat().st_mtime_ns > known
    if kind == "step":
        return grown(folder / "log.jsonl", chance.randrange(6000))
    if kind == "checkpoint":
        written = grown(folder / "log.jsonl", chance.randrange(3000))
        return lambda: written() and any((folder / "checkpoints").glob("*.new"))
    return (folder / "map").exists


@posix
@pytest.mark.slow
@pytest.mark.parametrize("case", [*optimizers()[1:], "seconds"])
def test_killed_again_and_again_a_run_ends_as_if_it_never_was(
    case: str, nursery: Nursery, tmp_path: Path
) -> None:
    folder, chance = tmp_path / "killed", random.Random(case)
    order: dict[str, Any] = {"case": case, "steps": 100, "keep_every": 4}
    if case == "seconds":
        order |= {"case": "noise", "seconds": 3.0}  # for so many steps at most
    kills = 0
    for kind in ("step", "checkpoint", "start-up", "checkpoint", "step", "map"):
        reached = moment(kind, folder, chance)
        pid = nursery.start(folder=folder, **order)
        wait_for(nursery, reached)
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(pid, signal.SIGKILL)
        kills += nursery.status() == -signal.SIGKILL
    assert kills >= 3
    nursery.start(folder=folder, **order)
    assert nursery.status() == 0
    written = json.loads((folder / "configuration.json").read_text())["steps"]
    nursery.start(folder=tmp_path / "whole", **{**order, "steps": written, "seconds": None})
    assert nursery.status() == 0
    assert left_by(folder) == left_by(tmp_path / "whole")


def wait_for(nursery: Nursery, condition: Callable[[], bool]) -> None:
    while not (condition() or nursery.ended()):
        time.sleep(1e-4)  # a file that is being written is there for a millisecond


@posix
@pytest.mark.slow
def test_killed_before_any_touch_of_its_folder_a_run_can_go_on(
    nursery: Nursery, tmp_path: Path
) -> None:
    """Every opening, renaming, removing and syncing of a file, from the first to the last."""
    order: dict[str, Any] = {"case": "adamw", "steps": 3, "warmup": 0, "keep_every": 2}
    nursery.start(folder=tmp_path / "whole", **order)
    assert nursery.status() == 0
    expected, touches, early = left_by(tmp_path / "whole"), 0, 0
    while True:
        folder = tmp_path / f"killed{touches}"
        nursery.start(folder=folder, touches=touches, **order)
        if nursery.status() == 0:
            break
        touches += 1
        if (folder / "configuration.json.new").exists():
            early += 1  # see test_half_a_configuration_is_no_obstacle
            continue
        nursery.start(folder=folder, **order)
        assert nursery.status() == 0
        assert left_by(folder) == expected, touches
        shutil.rmtree(folder)
    assert touches > 30 and early < 4


@posix
def test_a_folder_in_use_names_the_process(
    nursery: Nursery, tmp_path: Path, refused: Callable[..., None]
) -> None:
    pid = nursery.start(case="adamw", steps=100_000, folder=tmp_path)
    wait_for(nursery, (tmp_path / "configuration.json").exists)
    learned = make_map()
    before = bits(learned)
    for options in ({"resume": True}, {"overwrite": True}):
        refused(
            lambda options=options: train(learned=learned, folder=tmp_path, **options),
            OSError,
            f"is in use by process {pid} on .*; wait for it, stop it, or give another folder",
            RunFolderError,
        )
    assert bits(learned) == before and not nursery.ended()
    os.kill(pid, signal.SIGKILL)
    assert nursery.status() == -signal.SIGKILL


# ---------------------------------------------------------------------------- the nursery


def kill_at(touches: int, folder: str) -> None:
    """Have this process killed just before it touches the folder for the n-th time."""
    left = iter(range(touches, -1, -1))

    def touch() -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and folder in str(arguments[0]):
            touch()

    sync = os.fsync
    os.fsync = lambda descriptor: (touch(), sync(descriptor))[1]
    sys.addaudithook(watch)


def work(case: str, folder: str, touches: int | None = None, **more: Any) -> None:
    if touches is not None:
        kill_at(touches, folder)
    result = train(case, folder=folder, resume=True, **more)
    tell(Path(folder).with_suffix(".json"), result)


def nurse() -> None:
    torch.set_num_threads(1)
    _loop._OVERTIME = math.inf  # a busy machine must not cut a run short
    train(steps=4)  # so that the children need not warm up
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(**json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    nurse()

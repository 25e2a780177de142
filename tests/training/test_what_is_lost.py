"""Nothing is lost: not the old run to a wrong argument, not a state, not what a user deleted."""

import errno
import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import CheckpointError, RunFolderError, TrainingError
from flowmaps.training import Guard
from flowmaps.training._checkpoints import Checkpoints
from flowmaps.training._history import Recorder

pytestmark = pytest.mark.usefixtures("as_users_do")

# ---------------------------------------------------------------------------- overwriting

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "average": ({"ema": 1.5}, ValueError, r"ema must be in \[0, 1\)"),
    "negative average": ({"ema": -1}, ValueError, "ema must be in"),
    "average in words": ({"ema": "x"}, TypeError, "ema must be a number"),
    "schedule": ({"schedule": "cosinee"}, ValueError, "schedule must be one of"),
    "no schedule": ({"schedule": None}, ValueError, "schedule must be one of"),
    "infinite schedule": ({"schedule": lambda k, n: math.nan}, ValueError, "must be finite and"),
    "climbing schedule": ({"schedule": lambda k, n: -1.0}, ValueError, "not negative, got -1"),
    "optimizer": ({"optimizer": "adamwx"}, ValueError, "optimizer must be one of"),
    "optimizers": ({"optimizer": ["adam"]}, TypeError, "optimizer must be a name or a factory"),
    "closure": ({"optimizer": torch.optim.LBFGS}, TypeError, "LBFGS evaluates the loss several"),
    "about a tuple": ({"about": {"a": (1,)}}, TypeError, "is a tuple, which JSON does not have"),
    "about": ({"about": 3}, TypeError, "about must be a dict, got 3"),
    "half a seed": ({"seed": 1.5}, TypeError, "seed must be a whole number"),
    "a negative seed": ({"seed": -1}, ValueError, "seed must be a whole number of at least 0"),
    "a long seed": ({"seed": 2**70}, ValueError, r"seed must be less than 2\*\*64"),
    "a rate in words": ({"learning_rate": "1e-3"}, TypeError, "learning_rate must be a number"),
    "clip": ({"clip": "x"}, TypeError, "clip must be a number"),
    "half a warm-up": ({"warmup": 2.5}, TypeError, "warmup must be a whole number"),
    "compile": ({"compile": None}, TypeError, "compile must be True, False or a backend's name"),
    "guard": ({"guard": 5}, TypeError, "guard must be an fm.training.Guard, got 5"),
    "callback": ({"callback": 3}, TypeError, "callback must be callable with a StepReport"),
    "save_seconds": ({"save_seconds": "x"}, TypeError, "save_seconds must be a number"),
    "log_every": ({"log_every": 0}, ValueError, "log_every must be a whole number"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_leaves_the_run_that_was_to_be_overwritten(
    case: str, finished: Path, runs: SimpleNamespace
) -> None:
    changed, error, message = WRONG[case]
    left = runs.files(finished)
    with pytest.raises(error, match=message):
        runs.train(folder=finished, overwrite=True, **changed)
    assert runs.files(finished) == left


def test_a_wrong_source_leaves_the_run_too(finished: Path, runs: SimpleNamespace) -> None:
    left = runs.files(finished)
    box = fm.objectives.Domain(fm.domains.Box([-1.0, -1.0], [1.0, 1.0]), (0.0, 1.0))
    with pytest.raises(TypeError, match="Pairs"):
        objective = fm.objectives.lsd()
        fm.training.fit(runs.make_map(), objective, box, steps=3, folder=finished, overwrite=True)
    assert runs.files(finished) == left


@pytest.fixture(scope="module")
def finished(runs: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("finished") / "run"
    runs.train(folder=folder)
    torch.set_default_dtype(before)
    return folder


NUMPY = """
import sys, numpy as np, torch, flowmaps as fm
losses = []
for whole, real, resume in ((int, float, False), (np.int64, np.float64, True)):
    torch.manual_seed(0)
    learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
    data = fm.objectives.Pairs(None, torch.linspace(-1, 1, 30)[:, None])
    numbers = {"steps": whole(5), "batch": whole(8), "seed": whole(3), "learning_rate": real(1e-2)}
    numbers |= {"folder": sys.argv[1], "clip": real(1), "ema": real(0.5), "resume": resume}
    losses.append(fm.training.fit(learned, fm.objectives.lsd(), data, **numbers).history.loss)
assert losses[0] == losses[1]
"""


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NUMPY, str(tmp_path)]  # without checks of types
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------------- state


class Running(nn.Module):
    """A network with running statistics, in a buffer that a state_dict may leave out."""

    mean: Tensor

    def __init__(self, persistent: bool = True):
        super().__init__()
        self.inner = fm.networks.MLP(dim=2, width=4, depth=1, frequencies=())
        self.register_buffer("mean", torch.zeros(2), persistent=persistent)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return self.inner(s, t, x - self.mean.clone(), condition)


class Scaled(fm.objectives.Objective):
    """A loss in units of its own running mean; beside it a frozen teacher with a buffer."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = fm.objectives.flow_matching()
        self.register_buffer("scale", torch.ones(()))
        self.teacher = nn.BatchNorm1d(2).requires_grad_(False)

    def draw(self, *arguments: Any, **options: Any) -> fm.objectives.Draw:
        return self.inner.draw(*arguments, **options)

    def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
        loss = self.inner(learned, draw, target)
        with torch.no_grad():
            self.scale.mul_(0.9).add_(0.1 * loss.total.detach())
        return loss._replace(total=loss.total / self.scale.clone())


@pytest.mark.parametrize("persistent", [True, False])
def test_every_buffer_is_resumed(persistent: bool, tmp_path: Path, runs: SimpleNamespace) -> None:
    def make() -> dict[str, Any]:
        torch.manual_seed(3)
        learned = fm.maps.NeuralFlowMap(Running(persistent))
        return {"learned": learned, "objective": Scaled()}

    whole = runs.train(**make())
    runs.stopped(7, "adamw", tmp_path, **make())
    resumed = runs.train(folder=tmp_path, resume=True, **make())
    assert runs.outcome(resumed) == runs.outcome(whole)
    newest = Checkpoints(tmp_path / "checkpoints").newest()
    assert newest is not None and not any("teacher" in k for k in newest.state["state"]["buffers"])


class Extra(Running):
    """A network whose own state no checkpoint can hold."""

    def get_extra_state(self) -> Any:
        return {"seen": {1, 2}}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_what_no_checkpoint_holds_is_told_before_the_first_step(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    steps: list[int] = []
    learned, objective = fm.maps.NeuralFlowMap(Extra()), fm.objectives.flow_matching()
    options: dict[str, Any] = {"callback": lambda report: steps.append(report.step)}
    with pytest.raises(TypeError, match="extra_state.*set"):
        runs.train(learned=learned, objective=objective, folder=tmp_path / "run", **options)
    assert steps == []
    runs.train(learned=learned, objective=objective, **options)
    assert steps == list(range(10))


# ---------------------------------------------------------------------------- rates


def test_every_group_keeps_the_proportion_of_its_rate(runs: SimpleNamespace) -> None:
    made: list[torch.optim.Optimizer] = []

    def factory(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        groups = [{"params": parameters[:1], "lr": 0.0}, {"params": parameters[1:2], "lr": lr / 4}]
        made.append(torch.optim.SGD([*groups, {"params": parameters[2:]}], lr=lr))
        return made[-1]

    seen: list[list[float]] = []
    learned = runs.make_map()
    frozen = next(learned.parameters()).detach().clone()
    result = runs.train(
        learned=learned,
        optimizer=factory,
        ema=None,
        callback=lambda _: seen.append([group["lr"] for group in made[0].param_groups]),
    )
    assert torch.equal(next(learned.parameters()), frozen)
    rates = result.history.learning_rate
    assert seen == [[0.0, pytest.approx(rate / 4), pytest.approx(rate)] for rate in rates]


# ---------------------------------------------------------------------------- what explodes


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("first", [0.0, 1e-30, 1e-12, 1e-4, 1.0, 1e6])
def test_only_a_rise_is_an_explosion(first: float, sign: float) -> None:
    recorder, start = Recorder(1, 1, 9), sign * first
    recorder.first = start
    scale = max(first, 1e-3)
    for change, exploded in ((-1e9, False), (0.0, False), (0.99e4, False), (1.01e4, True)):
        recorder.recent = [start + change * scale] * 3
        assert (recorder.explosion(1e4) is not None) == exploded, change


def test_weights_that_blow_up_at_the_end_are_not_left(
    tmp_path: Path, runs: SimpleNamespace
) -> None:
    def late(step: int, steps: int) -> float:
        return 1.0 if step < 9 else 1e40

    options: dict[str, Any] = {"schedule": late, "optimizer": "sgd", "clip": None, "warmup": 0}
    options |= {"learning_rate": 1e-2, "objective": fm.objectives.lsd(), "steps": 11}
    for ema in (0.9, None):
        learned = runs.make_map()
        with pytest.raises(TrainingError, match="after 1 roll-backs"):
            runs.train(learned=learned, guard=Guard(rollbacks=1), ema=ema, **options)
        assert all(p.isfinite().all() and p.abs().max() < 1e6 for p in learned.parameters())
    cured = runs.train(learned=learned, guard=Guard(slowdown=1e-40), **options)
    assert cured.rollbacks == 1
    assert all(p.isfinite().all() for p in cured.learned.parameters())


# ---------------------------------------------------------------------------- what is gone


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_folder_removed_during_a_run_stays_away(
    log_every: int, tmp_path: Path, runs: SimpleNamespace
) -> None:
    def remove(report: fm.training.StepReport) -> None:
        if report.step == 7:
            shutil.rmtree(tmp_path / "run")

    learned = runs.make_map()
    with pytest.raises(RunFolderError, match="cannot (be )?writ"):
        runs.train(learned=learned, folder=tmp_path / "run", log_every=log_every, callback=remove)
    assert not (tmp_path / "run").exists() and not learned.training


@pytest.mark.parametrize(
    ("place", "cure"),
    [("_archive.save", "go on with resume=True"), ("_run_folder.replace", "free space there")],
)
def test_a_full_disk_is_told_with_what_to_do(
    place: str, cure: str, tmp_path: Path, runs: SimpleNamespace
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        if str(tmp_path) in str(arguments):  # not the trial elsewhere
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"flowmaps.training.{place}", full)
        with pytest.raises(RunFolderError, match=f"No space left on device.*{cure}"):
            runs.train(folder=tmp_path / "run")
    assert runs.outcome(runs.train(folder=tmp_path / "run", resume=True)) == runs.outcome(
        runs.train()
    )


# ---------------------------------------------------------------------------- what was changed

CHANGED: dict[str, dict[str, Any]] = {
    "text": {"steps": "many"},
    "none": {"steps": None},
    "zero": {"steps": 0},
    "negative": {"steps": -3},
    "others": {"steps": 50},
    "a flag": {"steps": True},
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_number_of_steps_is_told(
    case: str, finished: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "configuration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | CHANGED[case]))
    with pytest.raises(RunFolderError, match=r"configuration.json is corrupt \(it names .* steps"):
        runs.train(folder=folder, resume=True)


@pytest.mark.parametrize("line", ['{"step": 1, "loss": 3}', '{"step": "x", "loss": null}'])
def test_a_changed_log_is_told(
    line: str, finished: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    with open(folder / "log.jsonl", "a") as log:
        log.write(line + "\n")
    with pytest.raises(RunFolderError, match="holds what is no step's record"):
        runs.train(folder=folder, resume=True)


@pytest.mark.parametrize("state", [{}, [1], {"state": {}, "seconds": 0}], ids=str)
def test_a_checkpoint_of_another_kind_is_told(
    state: Any, finished: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    Checkpoints(folder / "checkpoints").write(10, state)
    with pytest.raises(CheckpointError, match="is not a checkpoint of this run .*--overwrite"):
        runs.train(folder=folder, resume=True)


def test_a_checkpoint_of_endless_depth_is_passed_over(
    finished: Path, tmp_path: Path, runs: SimpleNamespace
) -> None:
    folder, text = shutil.copytree(finished, tmp_path / "run"), b"[" * 100_000
    entry = {"dtype": "U8", "shape": [len(text)], "data_offsets": [0, len(text)]}
    head = json.dumps({"structure": entry}).encode()
    head += b" " * (-len(head) % 8)
    content = struct.pack("<Q", len(head)) + head + text
    name = f"step-000000030-{hashlib.sha256(content).hexdigest()}.safetensors"
    (folder / "checkpoints" / name).write_bytes(content)
    with pytest.warns(UserWarning, match=f"{name} was not written by flowmaps"):
        assert runs.outcome(runs.train(folder=folder, resume=True)) == runs.outcome(runs.train())


def test_other_data_and_a_lost_about_are_told(tmp_path: Path, runs: SimpleNamespace) -> None:
    objective, source = fm.objectives.lsd(), fm.objectives.Pairs(None, torch.randn(30, 2))
    options: dict[str, Any] = {"steps": 3, "batch": 4, "folder": tmp_path, "about": {"data": "A"}}
    fm.training.fit(runs.make_map(), objective, source, **options)
    options["resume"] = True
    with pytest.raises(RunFolderError, match="about.data was 'A', now None"):
        fm.training.fit(runs.make_map(), objective, source, **options | {"about": None})
    for x1 in (source.x1 + 0.1, source.x1.flip(0), source.x1 * 1.01):
        other = fm.objectives.Pairs(None, x1)
        with pytest.raises(RunFolderError, match="other data: .*points.* of the first draw differ"):
            fm.training.fit(runs.make_map(), objective, other, **options)
    rounded = fm.objectives.Pairs(None, source.x1 * (1 + 1e-6))  # as another machine might
    fm.training.fit(runs.make_map(), objective, rounded, **options)

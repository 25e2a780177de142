"""What tests of training share: small checkpoints, runs to stop and resume, runs to spoil."""

import json
import math
import struct
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.training._checkpoints import Checkpoint, Checkpoints
from flowmaps.training._log import JsonLines

# ---------------------------------------------------------------------------- checkpoints


def same(a: Any, b: Any) -> bool:
    """Compare types and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and raw(a) == raw(b)
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def raw(x: Tensor) -> list[int]:
    return x.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def small(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((2,), float(step)), 1: (None,)}


def written(folder: Path, *steps: int, keep: int = 9) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.write(step, small(step))
    return checkpoints


def quiet_newest(checkpoints: Checkpoints) -> Checkpoint:
    """Return the newest where nothing may be refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checkpoints.newest()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def kept() -> SimpleNamespace:
    """Checkpoints of small states, and how they are read and compared."""
    return SimpleNamespace(same=same, small=small, written=written, quiet_newest=quiet_newest)


# ---------------------------------------------------------------------------- stopped and resumed


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


@pytest.fixture
def as_users_do(strict_torch: None) -> None:
    """Train in float32, as the nursery does."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def runs() -> SimpleNamespace:
    """Short runs that can be stopped anywhere, and what they leave."""
    return SimpleNamespace(
        Stop=Stop,
        cases=CASES,
        settings=SHORT,
        make_map=make_map,
        make_objective=make_objective,
        train=train,
        at=at,
        stopped=stopped,
        bits=bits,
        bytes_of=bytes_of,
        outcome=outcome,
        files=files,
        on_disk=on_disk,
    )


# ---------------------------------------------------------------------------- spoiled

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


def always(*steps: int) -> dict[int, float]:
    return dict.fromkeys(steps, math.inf)


def make_line_map() -> fm.maps.NeuralFlowMap:
    torch.manual_seed(1)
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1, frequencies=()))


def make_line_source() -> fm.objectives.Pairs:
    return fm.objectives.Pairs(None, torch.randn(40, 1, generator=torch.Generator().manual_seed(2)))


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def train_guarded(
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
    return fm.training.fit(
        learned or make_line_map(), objective, make_line_source(), **(options | more)
    )


def events(folder: Path) -> list[dict[str, Any]]:
    return [record for record in JsonLines(folder / "log.jsonl").read() if "event" in record]


@pytest.fixture(scope="session")
def guarded() -> SimpleNamespace:
    """Short runs whose objective can be spoiled, and what they leave."""
    return SimpleNamespace(
        steps=STEPS,
        batch=BATCH,
        rate=RATE,
        decay=DECAY,
        Spoiled=Spoiled,
        always=always,
        make_map=make_line_map,
        make_source=make_line_source,
        weights=weights,
        train=train_guarded,
        events=events,
    )

"""The moving average that an objective compares with: its recursion, resumption, compilation."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import RunFolderError

pytestmark = pytest.mark.usefixtures("as_users_do")


class Seen(fm.objectives.Objective):
    """Keeps what the target was at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = fm.objectives.lsd()
        self.targets: list[Any] = []
        self.learned: list[list[Tensor]] = []

    def draw(self, *arguments: Any, **options: Any) -> fm.objectives.Draw:
        return self.inner.draw(*arguments, **options)

    def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
        self.targets.append(None if target is None else copies(target))
        self.learned.append(copies(learned))
        if target is not None:
            assert not target.training and learned.training
            assert not any(weight.requires_grad for weight in target.parameters())
        return self.inner(learned, draw, target=target)


def copies(module: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in module.parameters()]


def seen(runs: SimpleNamespace, **options: Any) -> Seen:
    objective = Seen()
    runs.train(objective=objective, **options)
    return objective


@pytest.mark.parametrize("decay", [0.0, 0.75, lambda progress: 0.9 * progress])
def test_the_target_follows_its_recursion(decay: Any, runs: SimpleNamespace) -> None:
    objective = seen(runs, target=decay, steps=6)
    expected = [weight.double() for weight in objective.learned[0]]
    for step in range(6):
        for own, mean in zip(objective.targets[step], expected, strict=True):
            torch.testing.assert_close(own.double(), mean, rtol=1e-6, atol=1e-7)
        if step < 5:
            kept = decay(step / 6) if callable(decay) else decay
            after = objective.learned[step + 1]
            pairs = zip(expected, after, strict=True)
            expected = [kept * mean + (1 - kept) * live.double() for mean, live in pairs]


def test_without_decay_the_target_is_the_learned_map(runs: SimpleNamespace) -> None:
    """Bit for bit: the map has no dropout that eval mode would switch off."""
    assert set(seen(runs).targets) == {None}
    objective = seen(runs, target=0.0)
    assert all(
        torch.equal(own, live)
        for step in range(len(objective.learned))
        for own, live in zip(objective.targets[step], objective.learned[step], strict=True)
    )
    itself = runs.outcome(runs.train(target=None))
    assert runs.outcome(runs.train(target=0.0))["weights"] == itself["weights"]
    assert runs.outcome(runs.train(target=0.9))["weights"] != itself["weights"]


def growing(progress: float) -> float:
    return 0.5 + 0.4 * progress


@pytest.mark.parametrize("target", [0.9, growing])
def test_a_resumed_run_is_the_same_bit_for_bit(
    target: Any, tmp_path: Path, runs: SimpleNamespace
) -> None:
    whole = runs.train(folder=tmp_path / "whole", target=target)
    expected, left = runs.outcome(whole), runs.on_disk(tmp_path / "whole")
    for step in (0, 4, 8):
        folder = tmp_path / str(step)
        runs.stopped(step, "adamw", folder, target=target)
        assert runs.outcome(runs.train(folder=folder, resume=True, target=target)) == expected
        assert runs.on_disk(folder) == left


def test_the_run_folder_tells_the_target(tmp_path: Path, runs: SimpleNamespace) -> None:
    for name, target, told in (("a", 0.9, 0.9), ("b", growing, "growing"), ("c", None, None)):
        runs.train(folder=tmp_path / name, target=target)
        settings = json.loads((tmp_path / name / "configuration.json").read_text())["settings"]
        assert settings.get("target") == told
    with pytest.raises(RunFolderError, match="settings.target was 0.9, now 0.8"):
        runs.train(folder=tmp_path / "a", resume=True, target=0.8)


def test_the_target_works_compiled(runs: SimpleNamespace) -> None:
    plain = runs.train(objective=fm.objectives.psd_m(), target=0.8, steps=4)
    compiled = runs.train(objective=fm.objectives.psd_m(), target=0.8, steps=4, compile="aot_eager")
    pairs = zip(plain.history.loss, compiled.history.loss, strict=True)
    assert all(abs(a - b) < 1e-5 * abs(a) for a, b in pairs)


class Counting(nn.Module):
    """A network with a buffer that every call in training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 2).to(torch.bfloat16)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        if self.training:
            self.calls = self.calls + 1
        return self.out(x.to(torch.bfloat16)).to(x.dtype)


def test_buffers_are_copied_and_half_precision_is_averaged_in_single() -> None:
    from flowmaps.training._target import Target

    learned = fm.maps.NeuralFlowMap(Counting())
    target = Target(learned, 0.999)
    start = target.means()[0].clone()
    with torch.no_grad():
        learned.network.out.weight.add_(1.0)
        learned.network.calls += 3
    for _ in range(100):
        target.update(0.0)
    assert target.map.network.calls == 3
    moved = (target.means()[0] - start).mean().item()
    assert abs(moved - (1 - 0.999**100)) < 5e-3


BAD: dict[str, tuple[Any, type[Exception]]] = {
    "one": (1.0, ValueError),
    "negative": (-0.1, ValueError),
    "a word": ("ema", TypeError),
    "true": (True, TypeError),
    "a schedule out of range": (lambda progress: 2.0, ValueError),
    "a schedule of words": (lambda progress: "half", TypeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(
    name: str, runs: SimpleNamespace, refused: Callable[..., None]
) -> None:
    value, error = BAD[name]
    refused(lambda: runs.train(target=value), error, r"target must be a decay in \[0, 1\)")

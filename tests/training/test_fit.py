"""The training loop: it learns, repeats itself, reports, saves, and stops with a clear message."""

import io
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.errors import TrainingError, UntrainedTimes
from flowmaps.training._progress import ProgressBar

MEAN, SIGMA = 0.7, 0.5


def small_map(dim: int = 1, width: int = 16) -> fm.maps.NeuralFlowMap:
    torch.manual_seed(1)
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=dim, width=width, depth=2, frequencies=()))


def gaussian_pairs(n: int = 4000) -> fm.objectives.Pairs:
    return fm.objectives.Pairs(None, MEAN + SIGMA * torch.randn(n, 1))


def run(learned: fm.maps.FlowMap | None = None, **settings: Any) -> fm.training.FitResult:
    settings = {"steps": 12, "batch": 16, "learning_rate": 1e-2, **settings}
    return fm.training.fit(
        learned or small_map(),
        fm.objectives.lsd(),
        settings.pop("source", gaussian_pairs(64)),
        **settings,
    )


def weights(learned: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in learned.parameters()]


# ---------------------------------------------------------------------------- it learns


def test_a_gaussian_is_learned_to_its_closed_form() -> None:
    """X_{0,1}(x) = m + sigma x; one step and four steps against it, on two spreads of the base."""
    torch.set_default_dtype(torch.float32)
    learned = small_map(width=32)
    result = fm.training.fit(
        learned,
        fm.objectives.lsd(),
        gaussian_pairs(20_000),
        steps=500,
        batch=512,
        learning_rate=2e-2,
        warmup=20,
        ema=0.98,
        compile="aot_eager",
    )
    loss, parts = result.history.loss, result.history.parts
    assert sum(loss[-50:]) < 0.85 * sum(loss[:50])  # what cannot be learned included
    assert sum(parts["flow matching"][-50:]) / 50 == pytest.approx(math.pi / 4, abs=0.06)
    assert sum(parts["lagrangian"][-50:]) / 50 < 0.01
    x = torch.linspace(-2, 2, 41)[:, None]
    exact = MEAN + SIGMA * x
    with torch.no_grad():
        one = (learned(0.0, 1.0, x) - exact).abs().max()
        four = (learned.through([0.0, 0.25, 0.5, 0.75, 1.0])(0.0, 1.0, x) - exact).abs().max()
    assert one < 0.1 and four < 0.06, (one, four)


def test_a_flow_is_learned_from_its_right_hand_side() -> None:
    learned = small_map()
    objective = fm.objectives.lagrangian_residual(lambda t, x: -x)
    source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 1.0))
    result = fm.training.fit(
        learned,
        objective,
        source,
        steps=400,
        batch=128,
        learning_rate=2e-2,
        ema=0.9,
        compile="aot_eager",
    )
    assert result.history.loss[-1] < 2e-3 * result.history.loss[0]
    x = torch.linspace(-1, 1, 9)[:, None]
    assert (learned(0.0, 1.0, x) - math.exp(-1) * x).abs().max() < 0.02


# ---------------------------------------------------------------------------- it repeats itself


def test_equal_calls_give_equal_weights() -> None:
    source = gaussian_pairs(64)
    first, again = run(source=source), run(source=source)
    assert first.history.loss == again.history.loss
    assert all(map(torch.equal, weights(first.learned), weights(again.learned)))
    other = run(source=source, seed=1)
    assert first.history.loss[0] != other.history.loss[0]


def test_the_global_generator_plays_no_part() -> None:
    source = gaussian_pairs(64)
    learned = [small_map(), small_map()]
    first = run(learned[0], source=source)
    torch.rand(100)
    assert run(learned[1], source=source).history.loss == first.history.loss


def test_compiled_training_is_eager_training() -> None:
    source = gaussian_pairs(64)
    eager, compiled = run(source=source, steps=4), run(source=source, steps=4, compile="aot_eager")
    assert compiled.history.loss == pytest.approx(eager.history.loss, rel=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_training_is_eager_training() -> None:
    """Forward mode's zero tensors break plain inductor: see _compiling.py."""
    objective = fm.objectives.lagrangian_residual(lambda t, x: -x)
    source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 1.0))
    losses = [
        fm.training.fit(
            small_map(), objective, source, steps=3, batch=16, compile=compile
        ).history.loss
        for compile in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-7)


# ---------------------------------------------------------------------------- it reports


def test_history_has_every_step() -> None:
    history = run(warmup=4).history
    assert history.step == list(range(12))
    assert set(history.parts) == {"flow matching", "lagrangian"}
    for numbers in (
        history.loss,
        history.gradient_norm,
        history.learning_rate,
        history.seconds,
        *history.parts.values(),
    ):
        assert len(numbers) == 12 and all(map(math.isfinite, numbers))
    expected = [1e-2 * (k + 1) / 4 for k in range(4)]
    expected += [1e-2 * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert history.learning_rate == pytest.approx(expected)
    assert history.seconds == sorted(history.seconds)


def test_the_average_is_left_in_the_map() -> None:
    seen: list[list[Tensor]] = []
    reports: list[fm.training.StepReport] = []

    def watch(report: fm.training.StepReport) -> None:
        reports.append(report)
        seen.append(weights(report.learned))

    result = run(ema=0.8, callback=watch)
    share = torch.tensor([0.8 ** (11 - k) for k in range(12)])
    for i, final in enumerate(weights(result.learned)):
        mean = (
            torch.stack([w[i] for w in seen])
            .mul((share / share.sum()).reshape(-1, *[1] * final.ndim))
            .sum(0)
        )
        torch.testing.assert_close(final, mean)
    assert [r.step for r in reports] == list(range(12)) and reports[0].steps == 12
    assert [r.loss.total.item() for r in reports] == result.history.loss
    assert not result.learned.training


@pytest.mark.parametrize("ema", [None, 0.0])
def test_without_an_average_the_last_weights_stay(ema: float | None) -> None:
    seen: list[list[Tensor]] = []
    result = run(ema=ema, callback=lambda report: seen.append(weights(report.learned)))
    assert all(map(torch.equal, weights(result.learned), seen[-1]))


def test_clipping_limits_the_step_and_records_the_norm_before_it() -> None:
    learned = small_map()
    before = weights(learned)
    history = run(
        learned,
        steps=1,
        optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr),
        learning_rate=1.0,
        clip=1e-3,
    ).history
    moved = torch.cat(
        [(a - b).flatten() for a, b in zip(weights(learned), before, strict=True)]
    ).norm()
    assert history.gradient_norm[0] > 0.1
    assert moved.item() == pytest.approx(1e-3, rel=1e-2)


def test_frozen_weights_are_not_trained() -> None:
    learned = small_map()
    bias = dict(learned.named_parameters())["network.head.bias"].requires_grad_(False)
    run(learned)
    assert torch.equal(bias, torch.zeros(1))


def test_nothing_is_printed_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_loss_and_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    watched, alone = Terminal(), Terminal()
    history = fm.training.History(loss=[0.125], seconds=[2.0])
    monkeypatch.setattr(sys, "stderr", watched)
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar(10) as bar:
        bar.update(10, history)
    assert "10/10" in watched.getvalue() and "loss 1.250e-01" in watched.getvalue()
    assert "5.0 steps/s" in watched.getvalue()
    monkeypatch.setattr(sys, "stderr", alone)
    with ProgressBar(10, shown=False) as bar:
        bar.update(10, history)
    assert alone.getvalue() == ""


# ---------------------------------------------------------------------------- it saves


def test_the_map_is_saved_and_loads(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    learned = run(folder=tmp_path / "run").learned
    again = fm.load(tmp_path / "run" / "map")
    x = torch.randn(5, 1)
    assert torch.equal(again(0.0, 1.0, x), learned(0.0, 1.0, x))


# ---------------------------------------------------------------------------- it stops


def test_a_diverging_run_names_the_step_and_the_cure() -> None:
    learned = small_map()
    with pytest.raises(
        TrainingError, match=r"at step \d \(learning rate \S+e\+19.*lower learning_rate"
    ):
        run(learned, optimizer="sgd", learning_rate=1e20, clip=None, steps=50)


def test_data_that_is_not_finite_stops_before_the_update() -> None:
    learned = small_map()
    before = weights(learned)
    with pytest.raises(TrainingError, match="loss is nan at step 5.*is left in the map"):
        run(learned, source=fm.objectives.Pairs(None, torch.full((8, 1), torch.nan)))
    assert all(map(torch.equal, weights(learned), before))


def taken(folder: Path) -> Path:
    folder.mkdir()
    (folder / "thesis.txt").write_text("do not lose me")
    return folder


CASES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no steps": ({"steps": 0}, ValueError, "steps must be a whole number of at least 1"),
    "no rows": ({"batch": 0}, ValueError, "batch must be a whole number of at least 1"),
    "half a step": ({"steps": 1.5}, TypeError, "steps must be a whole number of at least 1"),
    "learning rate": ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive"),
    "optimiser": ({"optimizer": "magic"}, ValueError, "optimizer must be one of"),
    "schedule": ({"schedule": "magic"}, ValueError, "schedule must be one of"),
    "warm-up": ({"warmup": 12}, ValueError, "shorter than the run"),
    "average": ({"ema": 1.0}, ValueError, r"ema must be in \[0, 1\)"),
    "clip": ({"clip": 0.0}, ValueError, "clip must be positive"),
    "source": (
        {"source": fm.objectives.Domain(fm.domains.Box([0.0], [1.0]), (0.0, 1.0))},
        TypeError,
        "Pairs",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_settings_are_refused_and_nothing_moves(case: str) -> None:
    settings, error, message = CASES[case]
    learned = small_map()
    before = weights(learned)
    with pytest.raises(error, match=message):
        run(learned, **settings)
    assert all(map(torch.equal, weights(learned), before))


def test_things_of_another_kind_are_refused(tmp_path: Path) -> None:
    objective, source = fm.objectives.lsd(), gaussian_pairs(8)
    network: Any = fm.networks.MLP(dim=1, width=4, depth=1)
    recipe: Any = fm.objectives.lsd
    with pytest.raises(TypeError, match="wrap a network in fm.maps.NeuralFlowMap"):
        fm.training.fit(network, objective, source, steps=1)
    with pytest.raises(TypeError, match="objective must be an fm.objectives.Objective"):
        fm.training.fit(small_map(), recipe, source, steps=1)
    with pytest.raises(ValueError, match="nothing to train"):
        fm.training.fit(fm.maps.ExactFlowMap(lambda s, t, x: x), objective, source, steps=1)
    with pytest.raises(FileExistsError, match="what no run writes"):
        run(folder=taken(tmp_path / "taken"))
    with pytest.raises(OSError, match="is a file"):
        run(folder=tmp_path / "taken" / "thesis.txt")


class Undescribed(fm.maps.FlowMap):
    """A map of a user's own that cannot say how it is rebuilt."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.zeros(()))

    def _transport(self, s: Any, t: Any, x: Tensor, condition: Any) -> Tensor:
        return x + (t - s)[:, None] * self.rate * x


def test_what_cannot_be_saved_is_not_trained(tmp_path: Path) -> None:
    steps: list[int] = []
    (tmp_path / "file").touch()
    for learned, folder in ((Undescribed(), "new"), (small_map(), "file/run")):
        with pytest.raises((TypeError, OSError)):
            run(learned, folder=tmp_path / folder, callback=lambda r: steps.append(r.step))
    assert steps == []


def test_times_that_the_map_is_not_for_are_named(tmp_path: Path) -> None:
    network = fm.networks.MLP(dim=1, width=4, depth=1)
    objective = fm.objectives.lagrangian_residual(lambda t, x: -x)
    source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 1.0))
    growing = fm.objectives.FromStart(fm.objectives.GrowingSpan(0.1, 0.5))
    late = fm.objectives.lagrangian_residual(lambda t, x: -x, times=growing)
    steps: list[int] = []
    for times, chosen in (
        (fm.maps.TimeSet(0.0, 0.25), objective),
        (fm.maps.TimeSet(0.0, 1.0, forward=False), objective),
        (fm.maps.TimeSet(0.0, 1.0, max_span=0.3), late),
    ):
        learned = fm.maps.NeuralFlowMap(network, times=times)
        with pytest.raises(UntrainedTimes, match=r"samples .* of the draw; give the map times="):
            fm.training.fit(
                learned, chosen, source, steps=20, callback=lambda r: steps.append(r.step)
            )
    assert not steps  # the last map's, whose spans are outgrown later, is refused at once too


def test_a_field_that_mixes_samples_is_refused_before_a_compiled_step() -> None:
    mixing = fm.objectives.lagrangian_residual(lambda t, x: x - x.mean(0))
    source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 1.0))
    steps: list[int] = []
    with pytest.raises(ValueError, match="every sample alone"):
        fm.training.fit(
            small_map(),
            mixing,
            source,
            steps=2,
            compile="aot_eager",
            callback=lambda r: steps.append(r.step),
        )
    assert steps == []


def test_a_condition_may_hold_none(tmp_path: Path) -> None:
    data = fm.objectives.Pairs(None, torch.randn(20, 1), {"label": torch.randn(20, 1), "no": None})

    class Network(torch.nn.Linear):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: dict[str, Any]) -> Tensor:
            return super().forward(x) + condition["label"]

    learned = fm.maps.NeuralFlowMap(Network(1, 1))
    options: dict[str, Any] = {"steps": 2, "batch": 4, "progress": False}
    result = fm.training.fit(learned, fm.objectives.lsd(), data, **options)
    assert len(result.history.loss) == 2

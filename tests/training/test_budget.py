"""A budget of time becomes a number of steps, once; time is told by a clock that the tests wind."""

import contextlib
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.errors import TrainingError
from flowmaps.training import _budget, _loop
from flowmaps.training._budget import affordable_steps
from flowmaps.training._checkpoints import Checkpoints

COST = 0.125  # seconds of a step; a power of two, so that sums of it are exact


class Clock:
    """Stands still but for what is added."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    wound = Clock()
    for module in (_loop, _budget):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=wound))
    return wound


class Costly(fm.objectives.Objective):
    """An objective with a weight of its own, which takes time.

    Args:
        clock: that it winds.
        cost: seconds by progress.
        first: seconds more of the first loss, as of a compilation.
        inner: what is minimised.
    """

    def __init__(
        self,
        clock: Clock,
        cost: Callable[[float], float] = lambda progress: COST,
        first: float = 0.0,
        inner: fm.objectives.Objective | None = None,
    ):
        super().__init__()
        self.inner = inner or fm.objectives.flow_matching()
        self.scale = nn.Parameter(torch.zeros(()))
        self.clock, self.cost, self.first = clock, cost, first
        self.progress: list[float] = []

    def draw(self, source: Any, *, progress: float = 0.0, **options: Any) -> fm.objectives.Draw:
        self.progress.append(progress)
        return self.inner.draw(source, progress=progress, **options)

    def forward(self, learned: Any, draw: Any, target: Any = None) -> fm.objectives.Loss:
        self.clock.now += self.cost(self.progress[-1]) + self.first
        self.first = 0.0
        loss = self.inner(learned, draw, target)
        return loss._replace(total=loss.total * torch.exp(-self.scale) + self.scale)


class Counting(nn.Module):
    """A network that counts its calls in a buffer and draws random numbers."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = fm.networks.MLP(dim=1, width=4, depth=1, frequencies=())
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        self.calls += 1
        return self.inner(s, t, x, condition) * (1 + 0.1 * torch.rand(()))


def make_map(network: str = "mlp") -> fm.maps.NeuralFlowMap:
    torch.manual_seed(1)
    if network == "counting":
        return fm.maps.NeuralFlowMap(Counting())
    return fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1, frequencies=()))


def train(
    objective: fm.objectives.Objective, learned: fm.maps.FlowMap | None = None, **more: Any
) -> fm.training.FitResult:
    source = fm.objectives.Pairs(None, torch.linspace(-1, 1, 30)[:, None])
    options = {"batch": 4, "learning_rate": 2e-2, "ema": 0.9, "keep_every": 4, "save_seconds": 0}
    return fm.training.fit(learned or make_map(), objective, source, **(options | more))


def state(result: fm.training.FitResult, objective: nn.Module) -> list[list[float]]:
    tensors = [*result.learned.state_dict().values(), *objective.state_dict().values()]
    return [tensor.flatten().tolist() for tensor in tensors]


# ---------------------------------------------------------------------------- how many


def spending(clock: Clock, cost: Callable[[float], float], compiling: float) -> Any:
    """Return a trial step that winds the clock, and more so at the first of each stage."""
    met: set[float] = set()

    def trial(progress: float) -> None:
        clock.now += cost(progress) + (0.0 if progress in met else compiling)
        met.add(progress)

    return trial


@pytest.mark.parametrize("compiling", [0.0, 2.0])
@pytest.mark.parametrize("seconds", [1.5, 5.0, 30.0, 100.0, 1000.0])
def test_trials_take_a_tenth_and_a_budget_affords_what_is_left(
    seconds: float, compiling: float, clock: Clock
) -> None:
    """Steps of 1/8 s in the first half of a run and 1/4 s in the second: 0.175 s by 5 stages."""
    cost = lambda progress: COST if progress < 0.5 else 2 * COST  # noqa: E731
    start, spent, trial = clock.now, 0.5, spending(clock, cost, compiling)
    if compiling >= seconds:
        with pytest.raises(TrainingError):
            affordable_steps(seconds, spent, trial)
        return
    steps = affordable_steps(seconds, spent, trial)
    tried = clock.now - start
    assert tried <= max(0.1 * seconds, 4 * COST) + 5 * compiling
    left = 0.97 * (seconds - spent - tried)
    assert int(left / (2 * COST)) <= steps <= int(left / COST)  # never more than is left
    if seconds >= 100.0:  # there is time to try all stages
        assert steps == int(left / (COST * 8 / 5))


@given(pace=st.floats(1e-3, 10.0), seconds=st.floats(0.1, 1e4), most=st.integers(1, 10**6))
def test_steps_that_clearly_fit_need_two_trials(pace: float, seconds: float, most: int) -> None:
    wound, made = Clock(), []

    def trial(progress: float) -> None:
        wound.now += pace
        made.append(progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_budget, "time", SimpleNamespace(perf_counter=wound))
        with contextlib.suppress(TrainingError):
            steps = affordable_steps(seconds, 0.0, trial, most)
            assert steps == most or steps * pace <= seconds
    assert len(made) * pace <= max(0.1 * seconds, 2 * pace) * (1 + 1e-9)
    if 4 * most * pace < seconds and 8 * pace < seconds:
        assert steps == most and len(set(made)) == 1


def test_a_step_longer_than_the_budget_is_told(clock: Clock, refused: Callable[..., None]) -> None:
    for seconds, spent in ((0.25, 0.0), (10.0, 9.9)):
        trial = spending(clock, lambda progress: COST, 0.0)
        refused(
            lambda s=seconds, b=spent, t=trial: affordable_steps(s, b, t),
            RuntimeError,
            rf"budget of {seconds:g} s leaves no time for a step of 0.12 s after \d+ s of "
            "preparation; give more seconds, or steps=",
            TrainingError,
        )


# ---------------------------------------------------------------------------- a run


needs_soap = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_optimizer") is None, reason="needs pytorch-optimizer"
)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", pytest.param("soap", marks=needs_soap)])
@pytest.mark.parametrize("network", ["mlp", "counting"])
def test_trial_steps_leave_no_trace(
    optimizer: str, network: str, clock: Clock, tmp_path: Path
) -> None:
    """The run is that with as many steps=: weights, buffers, numbers, progress, rates."""
    inner = fm.objectives.flow_matching if network == "counting" else fm.objectives.lsd
    objective = Costly(clock, first=1.0, inner=inner())
    before = torch.random.get_rng_state()
    result = train(
        objective, make_map(network), seconds=10.0, optimizer=optimizer, folder=tmp_path / "run"
    )
    trials = len(objective.progress) - 3 - result.steps  # three draws are looked at alone
    left = 10.0 - 1.0 - trials * COST
    assert trials * COST <= 1.0 and result.steps == (steps := int(0.97 * left / COST))
    written = json.loads((tmp_path / "run" / "configuration.json").read_text())
    assert written["steps"] == steps
    assert (written["settings"]["steps"], written["settings"]["seconds"]) == (None, 10.0)
    newest = Checkpoints(tmp_path / "run" / "checkpoints").newest()
    assert newest is not None and newest.step == steps and not result.cut_short

    plain = Costly(clock, inner=inner())
    torch.random.set_rng_state(before)
    expected = train(plain, make_map(network), steps=steps, optimizer=optimizer)
    assert state(result, objective) == state(expected, plain)
    history, numbers = result.history, expected.history
    for name in ("step", "loss", "parts", "gradient_norm", "learning_rate"):
        assert str(getattr(history, name)) == str(getattr(numbers, name))  # NaN equals NaN
    assert objective.progress[-steps:] == plain.progress[3:] == [k / steps for k in range(steps)]
    rates = [2e-2 * fm.training.cosine(k, steps) for k in range(steps)]
    assert history.learning_rate == pytest.approx(rates)
    # Preparation counts: a budget is what the user waits for.
    assert history.seconds[0] == pytest.approx(10.0 - left + COST)
    assert 9.0 < history.seconds[-1] <= 10.0


def test_the_callers_random_numbers_stay(clock: Clock) -> None:
    learned = make_map("counting")
    objective = Costly(clock)
    before = torch.random.get_rng_state()
    train(objective, learned, seconds=4.0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("steps", "made"), [(5, 5), (10**9, 69)])
def test_steps_beside_seconds_are_the_most(
    steps: int, made: int, clock: Clock, tmp_path: Path
) -> None:
    result = train(Costly(clock), seconds=10.0, steps=steps, folder=tmp_path)
    assert result.steps == made == len(result.history.step) and not result.cut_short
    written = json.loads((tmp_path / "configuration.json").read_text())
    assert written["steps"] == made and written["settings"]["steps"] == steps


def test_a_long_warm_up_is_shortened_to_half_the_run(clock: Clock) -> None:
    rates = train(Costly(clock), seconds=4.0, warmup=1000).history.learning_rate
    half = len(rates) // 2
    assert rates[:half] == pytest.approx([2e-2 * (k + 1) / half for k in range(half)])
    assert rates[half] == 2e-2 and rates[-1] < 2e-3


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_that_cannot_be_is_refused(
    seconds: float, clock: Clock, refused: Callable[..., None]
) -> None:
    message = f"seconds must be positive and finite, got {seconds}"
    refused(lambda: train(Costly(clock), seconds=seconds), ValueError, message)


def test_no_number_of_steps_and_no_budget_is_refused(refused: Callable[..., None]) -> None:
    refused(lambda: train(fm.objectives.lsd()), ValueError, "give steps=, .* or seconds=, a budget")


def test_a_budget_too_small_starts_no_run(clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a budget of 0.3 s leaves no time for a step of 0.12"):
        train(Costly(clock), seconds=0.3, folder=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    result = train(Costly(clock), seconds=4.0, folder=tmp_path / "run")  # the folder is free
    assert result.history.step == list(range(result.steps))


def test_a_budget_too_small_leaves_the_map_as_it_was(clock: Clock) -> None:
    learned = make_map().eval()
    before = [p.tolist() for p in learned.parameters()]
    with pytest.raises(TrainingError):
        train(Costly(clock), learned, seconds=0.3)
    assert [p.tolist() for p in learned.parameters()] == before
    assert not learned.training


# ---------------------------------------------------------------------------- the watchdog


def slowing(clock: Clock, after: int, by: float) -> Callable[[fm.training.StepReport], None]:
    """Return a callback that makes every step from one on longer."""

    def slow(report: fm.training.StepReport) -> None:
        if report.step >= after:
            clock.now += by

    return slow


def test_a_run_that_takes_half_as_much_again_is_cut_short(clock: Clock, tmp_path: Path) -> None:
    """Steps of 1/8 s for 10 s; from step 10 on they take 1 s: over after the one beyond 15 s."""
    seen: list[list[Tensor]] = []

    def watch(report: fm.training.StepReport) -> None:
        slowing(clock, 10, 1.0 - COST)(report)
        seen.append([p.detach().clone() for p in report.learned.parameters()])

    options: dict[str, Any] = {"folder": tmp_path, "keep_every": 1000}
    result = train(Costly(clock), seconds=10.0, callback=watch, **options)
    made = len(result.history.step)
    assert result.cut_short and result.steps > 24
    assert 15.0 < result.history.seconds[-1] < 16.0 + COST
    assert not result.learned.training
    newest = Checkpoints(tmp_path / "checkpoints").newest()
    assert newest is not None and newest.step == made and newest.state["cut_short"]
    averaged = make_map()
    mean = fm.training.Average(averaged, 0.9)
    mean.load_state_dict(newest.state["state"]["average"])
    mean.apply()
    assert all(map(torch.equal, averaged.parameters(), result.learned.parameters()))
    last = newest.state["state"]["learned"].values()
    assert all(map(torch.equal, seen[-1], last))
    # Up to there it is the run of all steps.
    whole = train(Costly(clock), steps=result.steps)
    assert result.history.loss == whole.history.loss[:made]
    assert (tmp_path / "map" / "flowmap.json").exists()


def test_a_run_cut_short_stays_so_when_resumed(clock: Clock, tmp_path: Path) -> None:
    options: dict[str, Any] = {"seconds": 10.0, "folder": tmp_path}
    first = train(Costly(clock), callback=slowing(clock, 10, 1.0), **options)
    again = train(Costly(clock), make_map("mlp"), resume=True, **options)
    assert first.cut_short and again.cut_short
    assert again.history == first.history
    assert all(map(torch.equal, first.learned.parameters(), again.learned.parameters()))


def test_breaks_do_not_count(clock: Clock, tmp_path: Path) -> None:
    """A run of 10 s that is stopped half-way and resumed the next day is not cut short."""

    class Stop(Exception):
        pass

    def stop(report: fm.training.StepReport) -> None:
        if report.step == 30:
            raise Stop

    options: dict[str, Any] = {"seconds": 10.0, "folder": tmp_path}
    with pytest.raises(Stop):
        train(Costly(clock), callback=stop, **options)
    clock.now += 86400.0
    result = train(Costly(clock), resume=True, **options)
    assert not result.cut_short and result.history.step == list(range(result.steps))
    assert result.history.seconds == sorted(result.history.seconds)
    assert result.history.seconds[-1] < 11.0


def test_without_a_budget_nothing_is_cut_short(clock: Clock) -> None:
    result = train(Costly(clock, first=1e9), steps=9, callback=slowing(clock, 0, 1e9))
    assert not result.cut_short and len(result.history.step) == 9


def test_a_run_that_ends_late_is_not_cut_short(clock: Clock) -> None:
    result = train(Costly(clock), seconds=10.0, callback=slowing(clock, 68, 20.0))
    assert result.history.step == list(range(result.steps))
    assert not result.cut_short

"""The one training loop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from flowmaps._saving import save
from flowmaps.errors import UntrainedTimes
from flowmaps.maps import FlowMap
from flowmaps.objectives import Draw, Loss, Objective
from flowmaps.training._compiling import compiled
from flowmaps.training._ema import Average
from flowmaps.training._history import History, Recorder
from flowmaps.training._optimizers import OptimizerFactory, make_optimizer
from flowmaps.training._progress import ProgressBar
from flowmaps.training._schedules import Schedule, learning_rate_factor, named_schedule
from flowmaps.training._seeds import step_generator

__all__ = ["FitResult", "StepReport", "fit"]


@dataclass(frozen=True)
class StepReport:
    """What a callback is told after a step.

    Args:
        step: number of the step, from 0.
        steps: how many there will be.
        loss: on the step's draw, before its update; tensors on the device.
        learning_rate: of the step.
        learned: the map in training, with its live weights.
    """

    step: int
    steps: int
    loss: Loss
    learning_rate: float
    learned: FlowMap


@dataclass(frozen=True)
class FitResult:
    """The outcome of a run.

    Args:
        learned: the map given to ``fit``, now with averaged weights and in eval mode.
        history: numbers of every step.
    """

    learned: FlowMap
    history: History


def fit(
    learned: FlowMap,
    objective: Objective,
    source: Any,
    *,
    steps: int,
    batch: int = 256,
    optimizer: str | OptimizerFactory = "adamw",
    learning_rate: float = 1e-3,
    schedule: str | Schedule = "cosine",
    warmup: int = 0,
    ema: float | None = 0.999,
    clip: float | None = 1.0,
    seed: int = 0,
    progress: bool = True,
    folder: str | Path | None = None,
    compile: bool | str = False,
    callback: Callable[[StepReport], object] | None = None,
) -> FitResult:
    """Train a map in place by stochastic gradient descent on an objective.

    The draw of a step depends on (seed, step) alone and the learning rate on the step alone, so
    equal calls give equal weights. On the CPU every loss is checked before its update, elsewhere 32
    at a time.

    Args:
        learned: the map; trained are its parameters, and the objective's own, that ask for
            gradients.
        objective: what to minimise.
        source: of data or points, as the objective asks: ``Pairs`` or ``Domain``.
        steps: number of updates.
        batch: rows of a draw.
        optimizer: ``"adam"``, ``"adamw"`` (betas 0.9 and 0.99, weight decay 1e-3 for the second),
            ``"sgd"`` (momentum 0.9), or a factory ``(parameters, lr=...)``.
        learning_rate: the peak.
        schedule: ``"cosine"``, ``"constant"``, or a callable ``(step, steps) -> factor`` of the
            peak, called with what is left after the warm-up.
        warmup: steps of a linear rise to the peak.
        ema: decay of the average of weights that is left in ``learned`` at the end (half-life
            log(1/2) / log(ema) steps, start-up bias divided out); None or 0 for the last weights.
        clip: largest norm of the gradient; None for no limit.
        seed: of every draw.
        progress: show a progress bar on a terminal.
        folder: where to save the map at the end with ``fm.save``; None for nowhere.
        compile: compile the loss as one graph: True for inductor, or a backend's name;
            ``"aot_eager"`` needs no C++ compiler and already spares small networks most of forward
            mode's overhead.
        callback: called with a ``StepReport`` after every step.

    Returns:
        The map and the run's numbers.

    Raises:
        TypeError, ValueError: for arguments that make no run, before the first step.
        FileExistsError, OSError: if the folder already holds something or cannot be written,
            before the first step.
        UntrainedTimes: if the objective draws times that the map is not for.
        TrainingError: if a loss or gradient is not finite; names the step and the cure.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=16, depth=1))
        >>> data = fm.objectives.Pairs(None, torch.full((64, 1), 2.0))
        >>> result = fm.training.fit(
        ...     learned, fm.objectives.lsd(), data, steps=20, batch=32, learning_rate=1e-2
        ... )
        >>> result.history.loss[-1] < result.history.loss[0]
        True
    """
    _check_run(learned, objective, steps, batch, learning_rate, warmup, clip, folder)
    parameters = [*learned.parameters(), *objective.parameters()]
    device = parameters[0].device if parameters else torch.device("cpu")
    chosen = named_schedule(schedule)
    evaluate = compiled(lambda draw: objective(learned, draw), compile)
    run = _Run(
        learned,
        lambda draw: evaluate(draw.to(device)),
        make_optimizer(optimizer, parameters, learning_rate),
        lambda step: learning_rate * learning_rate_factor(chosen, step, steps, warmup),
        Average(learned, ema or 0.0),
        Recorder(every=1 if device.type == "cpu" else 32),
        clip,
    )
    if folder is not None:
        _try_saving(learned, folder)
    objective.to(device)
    learned.train()
    with ProgressBar(steps, shown=progress) as bar:
        for step in range(steps):
            draw = objective.draw(
                source, batch=batch, generator=step_generator(seed, step), progress=step / steps
            )
            if step == 0 or draw.s.device.type == "cpu":  # elsewhere it would synchronise
                _require_times(learned, draw)
            report = run.step(step, steps, draw)
            bar.update(step + 1, run.recorder.history)
            if callback is not None:
                callback(report)
    run.recorder.flush()
    run.average.apply()
    learned.eval()
    if folder is not None:
        save(learned, folder)
    return FitResult(learned, run.recorder.history)


@dataclass
class _Run:
    """What a step changes, and what it is made of."""

    learned: FlowMap
    evaluate: Callable[[Draw], Loss]
    update: torch.optim.Optimizer
    rate: Callable[[int], float]
    average: Average
    recorder: Recorder
    clip: float | None
    start: float = field(default_factory=time.perf_counter)

    def step(self, step: int, steps: int, draw: Draw) -> StepReport:
        """Go down the gradient of one draw; raise TrainingError before an update by NaN."""
        rate = self.rate(step)
        loss = self.evaluate(draw)
        norm = _gradient(self.update, loss.total, self.clip)
        seconds = time.perf_counter() - self.start
        self.recorder.add(step, loss.total, norm, loss.parts, rate, seconds)
        for group in self.update.param_groups:
            group["lr"] = rate
        self.update.step()
        self.average.update()
        return StepReport(step, steps, loss, rate, self.learned)


def _gradient(update: torch.optim.Optimizer, total: Tensor, clip: float | None) -> Tensor:
    """Fill in the gradient, clipped, and return its norm before clipping."""
    update.zero_grad(set_to_none=True)
    total.backward()
    trained = [p for group in update.param_groups for p in group["params"]]
    return nn.utils.clip_grad_norm_(trained, float("inf") if clip is None else clip)


def _check_run(
    learned: Any,
    objective: Any,
    steps: int,
    batch: int,
    learning_rate: float,
    warmup: int,
    clip: float | None,
    folder: str | Path | None,
) -> None:
    if not isinstance(learned, FlowMap):
        raise TypeError(
            f"learned must be a flow map, got {type(learned).__name__}; "
            "wrap a network in fm.maps.NeuralFlowMap"
        )
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective must be an fm.objectives.Objective, got {type(objective).__name__}; "
            "for example fm.objectives.lsd()"
        )
    for name, value in (("steps", steps), ("batch", batch)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate}")
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be in 0..{steps - 1}, shorter than the run, got {warmup}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive, or None for no limit, got {clip}")
    if folder is not None and Path(folder).exists() and not _is_empty_folder(Path(folder)):
        raise FileExistsError(
            f"{str(folder)!r} is a file or a folder that is not empty; "
            "give another one to save the map in"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _try_saving(learned: FlowMap, folder: str | Path) -> None:
    """Save the map for a moment: what cannot be saved must not be learned after hours."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as trial:
        save(learned, trial)


def _require_times(learned: FlowMap, draw: Draw) -> None:
    """Raise UntrainedTimes if the map would answer NaN at the times of a draw."""
    try:
        learned.times.require(draw.s, draw.t)
    except UntrainedTimes as error:
        raise UntrainedTimes(
            f"{error} of the draw; give the map times=TimeSet(...) that hold those of the "
            "objective and its source, or limit the objective's times"
        ) from None

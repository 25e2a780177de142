"""Training a flow map: the one door to the one loop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowmaps._checks import as_count, brief
from flowmaps._saving._description import Describer
from flowmaps.maps import FlowMap
from flowmaps.objectives import Objective
from flowmaps.training._archive import Archive, open_archive
from flowmaps.training._fingerprint import fingerprint
from flowmaps.training._guard import Guard
from flowmaps.training._history import History
from flowmaps.training._log import require_json
from flowmaps.training._loop import Loop
from flowmaps.training._optimizers import OptimizerFactory
from flowmaps.training._progress import ProgressBar
from flowmaps.training._report import StepReport
from flowmaps.training._schedules import Schedule
from flowmaps.training._settings import Settings, as_real
from flowmaps.training._target import Decay

__all__ = ["FitResult", "fit"]


@dataclass(frozen=True)
class FitResult:
    """The outcome of a run.

    Args:
        learned: the map given to ``fit``, now with averaged weights and in eval mode.
        history: numbers of every logged step, those before a resumption included.
        steps: how many steps the run was planned for.
        skipped: steps whose loss or gradient was not finite, and which changed nothing.
        rollbacks: how often the run went back and on with a lower learning rate.
        cut_short: whether a budget of time, or ``StopTraining``, ended it before its last step.
        folder: of the run; None if it wrote nothing.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> data = fm.objectives.Pairs(None, torch.zeros(8, 1))
        >>> result = fm.training.fit(learned, fm.objectives.lsd(), data, steps=3, batch=4)
        >>> result.steps, result.skipped, result.cut_short, result.learned is learned
        (3, (), False, True)
    """

    learned: FlowMap
    history: History
    steps: int
    skipped: tuple[int, ...] = ()
    rollbacks: int = 0
    cut_short: bool = False
    folder: Path | None = None


def fit(
    learned: FlowMap,
    objective: Objective,
    source: Any,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 256,
    optimizer: str | OptimizerFactory = "adamw",
    learning_rate: float = 1e-3,
    schedule: str | Schedule = "cosine",
    warmup: int = 0,
    ema: float | None = 0.999,
    target: Decay | None = None,
    clip: float | None = 1.0,
    seed: int = 0,
    compile: bool | str = False,
    guard: Guard | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep_every: int = 100,
    save_seconds: float = 60.0,
    log_every: int = 1,
    about: dict[str, Any] | None = None,
    progress: bool = True,
    callback: Callable[[StepReport], object] | None = None,
) -> FitResult:
    """Train a map in place by stochastic gradient descent on an objective.

    The draw of a step depends on (seed, step) alone and the learning rate on the step alone, so
    equal calls give equal weights, and on the CPU a resumed run gives those of a run that was never
    stopped, bit for bit. If anything ends the run early, the map is left in eval mode with the last
    kept weights.

    Args:
        learned: the map; trained are its parameters, and the objective's own, that ask for
            gradients.
        objective: what to minimise.
        source: of data or points, as the objective asks: ``Pairs``, ``Domain`` or ``Trajectories``.
        steps: number of updates; with ``seconds``, at most.
        seconds: budget of time, preparation and compilation included, turned once into a number of
            steps, by trial steps that take about a tenth of it at most; a run that needs half as
            much again is cut short after the step that it is at, and the result says so.
        batch: rows of a draw.
        optimizer: ``"adam"``, ``"adamw"`` (betas 0.9 and 0.99, weight decay 1e-3 for the second),
            ``"sgd"`` (momentum 0.9), ``"soap"`` (betas 0.95, preconditioner every 10 steps; Vyas et
            al. 2024, arXiv:2409.11321; needs pytorch-optimizer), or a factory
            ``(parameters, lr=...)``; where it gives groups of parameters rates of their own, the
            schedule multiplies each.
        learning_rate: the peak.
        schedule: ``"cosine"``, ``"constant"``, or a callable ``(step, steps) -> factor`` of the
            peak, finite and not negative, called with what is left after the warm-up.
        warmup: steps of a linear rise to the peak.
        ema: decay of the average of weights that is left in ``learned`` at the end (half-life
            log(1/2) / log(ema) steps, start-up bias divided out); None or 0 for the last weights.
        target: None has the objective compare the map with itself, as it is now. A decay in [0, 1)
            has it compare with a moving average of the weights, in eval mode: after every update
            w <- decay w + (1 - decay) w_learned, and buffers are copied. A callable of the fraction
            of training done returns the decay. Of no effect on objectives that use no values of the
            map's own.
        clip: largest norm of the gradient; None for no limit.
        seed: of every draw.
        compile: compile the loss as one graph: True for inductor, or a backend's name;
            ``"aot_eager"`` needs no C++ compiler and already spares small networks most of forward
            mode's overhead.
        guard: what happens at losses or gradients that are not finite, or explode; None for
            ``Guard()``.
        folder: of the run: ``configuration.json``, ``log.jsonl``, ``checkpoints/`` (the last two)
            and, at the end, ``map/`` for ``fm.load``; None writes nothing.
        resume: go on with the run in the folder, from its newest whole checkpoint; in a folder that
            holds nothing, start.
        overwrite: replace the run in the folder, once this one is ready for its first step.
        keep_every: steps between states kept in memory to go back to.
        save_seconds: least time between checkpoints; one is written when a state is kept.
        log_every: steps between records of log and history.
        about: what else to write into the run's configuration; a dict of what JSON holds. A resumed
            run must be about the same, and draw from the same data.
        progress: show a progress bar on a terminal.
        callback: called with a ``StepReport`` after every step; raises ``StopTraining`` to end the
            run there.

    Returns:
        The map and the run's numbers.

    Raises:
        TypeError, ValueError: for arguments that make no run, before the first step.
        RunFolderError: if the folder is in use, holds a run already (also a ``FileExistsError``),
            or holds one of other settings, before the first step.
        CheckpointError: if no checkpoint of a resumed run is whole, or it is of another run.
        UntrainedTimes: if the objective draws times that the map is not for.
        TrainingError: when the guard gives up; names the step, the last good state and the cure.

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
    settings = Settings(
        steps=steps,
        seconds=seconds,
        batch=batch,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup=warmup,
        ema=ema,
        clip=clip,
        seed=seed,
        compile=compile,
        guard=Guard() if guard is None else guard,
        keep_every=keep_every,
        target=target,
    )
    about = _checked_about(about)
    _check_kinds(learned, objective, callback)
    log_every = as_count(log_every, "log_every")
    save_seconds = as_real(save_seconds, "save_seconds", lambda v: v >= 0, "not negative")
    with open_archive(folder, resume, overwrite, save_seconds) as archive:
        loop = Loop(learned, objective, source, settings, archive, log_every, callback)
        devices = [loop.device] if loop.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # the caller's random numbers stay as they are
            _begin(loop, archive, about)
            with ProgressBar(loop.steps, shown=progress) as bar:
                loop.run(bar)
        loop.descent.average.apply()
        archive.finish(learned)
    return FitResult(
        learned,
        loop.recorder.history,
        loop.steps,
        tuple(sorted(loop.troubles.skipped)),
        loop.troubles.rollbacks,
        loop.cut_short,
        archive.path,
    )


def _begin(loop: Loop, archive: Archive, about: dict[str, Any]) -> None:
    """Start the run, or take it up where its folder says.

    What can go wrong goes wrong here, before an older run in the folder is replaced.
    """
    first = fingerprint(loop.first_draw())
    description = _description(loop, about)
    if archive.resumed:
        steps = archive.configuration(description, first)["steps"]
        loop.resume(steps, archive.newest())
        return
    archive.try_saving(loop.learned, loop.as_saved(loop.state.capture()))
    steps = loop.choose_steps()
    device = str(loop.device)
    archive.begin(description | {"steps": steps, "device": device, "first draw": first})


def _description(loop: Loop, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "settings": loop.settings.describe(),
        "learned": Describer().describe(loop.learned, "learned"),
        "objective": str(loop.objective).splitlines(),
        "source": type(loop.source).__name__,
        "about": about,
    }


def _checked_about(about: Any) -> dict[str, Any]:
    if about is not None and not isinstance(about, dict):
        raise TypeError(f"about must be a dict, got {brief(about)}")
    require_json(about or {}, "about")
    return about or {}


def _check_kinds(learned: Any, objective: Any, callback: Any) -> None:
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
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable with a StepReport, got {brief(callback)}")

"""What ``flowmaps train`` does."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from flowmaps.cli._machine import use_machine
from flowmaps.cli._runs import kind_of, new_folder, open_run
from flowmaps.errors import RunFolderError, UsageError
from flowmaps.training import FitResult, Recipe
from flowmaps.training._archive import open_archive

__all__ = ["Options", "train"]


@dataclass(frozen=True)
class Options:
    """What a training was asked for on the command line; None for what was not said."""

    seconds: float | None = None
    steps: int | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    resume: bool = False
    overwrite: bool = False

    def check(self, out: Path | None) -> None:
        """Raise UsageError for options that contradict each other."""
        if self.steps is not None and self.seconds is not None:
            raise UsageError("give --seconds or --steps, not both")
        if self.seconds is not None and not math.isfinite(self.seconds):
            raise UsageError(f"--seconds takes a finite number, got {self.seconds}")
        if self.resume and self.overwrite:
            raise UsageError("give --resume or --overwrite, not both")
        if self.resume and out is None:
            raise UsageError("--resume needs the folder of the run: --out RUN")


@dataclass(frozen=True)
class _Plan:
    """What is trained, for how long, and where."""

    recipe: Recipe
    seconds: float | None
    device: str
    threads: int


def train(console: Console, name: str, out: Path | None, options: Options) -> Path:
    """Train a recipe in a folder, or go on with the run that is there; return the folder.

    A run that goes on does so as it was started; device and threads may be given anew.

    Raises:
        UsageError: for an unknown recipe, or options that contradict each other, or those that the
            run was started with.
        FlowMapError: as ``fit``.
    """
    kind_of(name)
    options.check(out)
    folder = (out or new_folder(name)).expanduser()
    goes_on = options.resume and (folder / "configuration.json").exists()
    plan = _as_started(name, folder, options) if goes_on else _as_asked(name, options)
    device = use_machine(plan.device, plan.threads)
    with open_archive(folder, options.resume, options.overwrite, 0.0):
        pass  # a folder that is refused is, before anything is said
    if options.resume and not goes_on:
        _say(console, f"nothing to resume in {folder}: starting")
    aim = f"{plan.recipe.steps} steps" if plan.seconds is None else f"{plan.seconds:g} s"
    _say(console, f"training {name} for {aim} in {folder}")
    trained = plan.recipe.train(
        folder,
        seconds=plan.seconds,
        device=device,
        resume=options.resume,
        overwrite=options.overwrite,
        progress=console.is_terminal,
    )
    _report(console, folder, trained.result)
    return folder


def _as_asked(name: str, options: Options) -> _Plan:
    recipe: Recipe = kind_of(name).recipe(seed=options.seed or 0)
    if options.steps is not None:
        recipe = replace(recipe, steps=options.steps)
    return _Plan(recipe, options.seconds, options.device or "cpu", options.threads or 1)


def _as_started(name: str, folder: Path, options: Options) -> _Plan:
    """Return what a run was started with, unless the options say otherwise."""
    run = open_run(folder)
    if run.recipe.name != name:
        raise RunFolderError(f"{folder} holds a run of {run.recipe.name!r}, not of {name!r}")
    path = folder / "configuration.json"
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        seconds = written["settings"]["seconds"]
        device, threads = str(written["device"]), int(written["versions"]["threads"])
    except (LookupError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{path} names no settings, device or threads; start anew in another folder"
        ) from error
    steps = run.recipe.steps if seconds is None else None
    for option, was in {"seed": run.recipe.seed, "steps": steps, "seconds": seconds}.items():
        given = getattr(options, option)
        if given is not None and given != was:
            said = "without it" if was is None else f"with --{option} {was}"
            raise UsageError(
                f"the run in {folder} was started {said}, not with --{option} {given}; leave the "
                "option out to go on with it, or start anew in another folder"
            )
    return _Plan(run.recipe, seconds, options.device or device, options.threads or threads)


def _report(console: Console, folder: Path, result: FitResult) -> None:
    history = result.history
    if history.loss:
        seconds = history.seconds[-1]
        _say(
            console,
            f"{len(history.loss)} of {result.steps} steps in {seconds:.0f} s; "
            f"loss {history.loss[0]:.2e} at first, {history.loss[-1]:.2e} at last",
        )
    troubles = []
    if result.skipped:
        troubles.append(f"{len(result.skipped)} steps skipped")
    if result.rollbacks:
        troubles.append(f"{result.rollbacks} roll-backs")
    if result.cut_short:
        troubles.append("cut short by its budget of time")
    if troubles:
        _say(console, f"note: {', '.join(troubles)}; see {folder / 'log.jsonl'}")
    _say(console, f"next: flowmaps evaluate {folder}")


def _say(console: Console, line: str) -> None:
    # markup=False: the brackets of a folder's name are no markup
    console.print(line, markup=False, highlight=False, soft_wrap=True)

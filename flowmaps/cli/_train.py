"""What ``flowmaps train`` does."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from flowmaps.cli._runs import kind_of, new_folder, open_run
from flowmaps.errors import RunFolderError, UsageError
from flowmaps.training import FitResult, Recipe

__all__ = ["train"]


def train(
    console: Console,
    name: str,
    out: Path | None,
    *,
    seconds: float | None,
    steps: int | None,
    seed: int,
    device: str,
    threads: int,
    resume: bool,
    overwrite: bool,
) -> Path:
    """Train a recipe in a folder, or go on with the run that is there; return the folder.

    Raises:
        UsageError: for an unknown recipe, or options that contradict each other.
        FlowMapError: as ``fit``.
    """
    recipe: Recipe = kind_of(name).recipe(seed=seed)
    if steps is not None and seconds is not None:
        raise UsageError("give --seconds or --steps, not both")
    if seconds is not None and not math.isfinite(seconds):
        raise UsageError(f"--seconds takes a finite number, got {seconds}")
    if resume and overwrite:
        raise UsageError("give --resume or --overwrite, not both")
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    if resume and out is None:
        raise UsageError("--resume needs the folder of the run: --out RUN")
    folder = out or new_folder(name)
    if resume and (folder / "configuration.json").exists():
        recipe, seconds = _as_started(name, folder)
    _check_device(device)
    torch.set_num_threads(threads)
    aim = f"{seconds:g} s" if seconds is not None else f"{recipe.steps} steps"
    _say(console, f"training {name} for {aim} in {folder}")
    trained = recipe.train(
        folder,
        seconds=seconds,
        device=device,
        resume=resume,
        overwrite=overwrite,
        progress=console.is_terminal,
    )
    _report(console, folder, trained.result)
    return folder


def _as_started(name: str, folder: Path) -> tuple[Recipe, float | None]:
    """Return the recipe and the budget that a run was started with."""
    run = open_run(folder)
    if run.recipe.name != name:
        raise RunFolderError(f"{folder} holds a run of {run.recipe.name!r}, not of {name!r}")
    path = folder / "configuration.json"
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        return run.recipe, written["settings"]["seconds"]
    except (LookupError, TypeError) as error:
        raise RunFolderError(f"{path} names no settings; start anew in another folder") from error


def _check_device(device: str) -> None:
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"there is no device {device!r} here ({reason}); try cpu") from error


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

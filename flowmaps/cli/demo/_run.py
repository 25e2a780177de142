"""The demo from start to report."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from flowmaps.cli._runs import KINDS, new_folder
from flowmaps.cli.demo._systems import systems
from flowmaps.cli.report import Section, failed, summary, write_report
from flowmaps.generative import load_digits
from flowmaps.maps import FlowMap
from flowmaps.training import FitResult, Recipe
from flowmaps.training._run_folder import versions

__all__ = ["run_demo"]

_LEARNED = ("pendulum", "digits")
_TINY = {"pendulum": {"steps": 30}, "digits": {"steps": 30, "width": 8}}


def run_demo(
    console: Console, out: Path | None, overwrite: bool = False, seed: int = 0, tiny: bool = False
) -> tuple[Path, bool]:
    """Run the three parts, print the summary, write the report.

    Args:
        console: where progress and summary go.
        out: run folder; None makes a new one under ``runs/``.
        overwrite: whether what an earlier demo wrote into the folder may be replaced.
        seed: of weights, draws and noise.
        tiny: train for seconds only.

    Returns:
        The report's path, and whether all that was asked holds.

    Raises:
        ModuleNotFoundError: without scikit-learn, which the last part needs.
        FileExistsError: if the folder is not empty, unless overwrite is true and a demo's facts lie
            there.
        OSError: if the folder cannot be made.
    """
    load_digits()  # what the last part needs must not be missed after minutes
    folder = _run_folder(out, overwrite)
    # Networks as small as these learn faster on one thread than on several.
    torch.set_num_threads(1)
    start = time.perf_counter()
    console.print("[bold]1/3[/] computing and checking the flow maps of three systems")
    sections = [_timed(lambda: systems(seed))]
    for number, name in enumerate(_LEARNED, start=2):
        recipe = KINDS[name].recipe(seed=seed)
        recipe = replace(recipe, **_TINY[name]) if tiny else recipe
        console.print(f"[bold]{number}/3[/] learning: {name}, {recipe.steps} steps")
        sections.append(_timed(lambda r=recipe: _learned(console, r, folder, overwrite, tiny)))
    about = _about(seed, tiny, time.perf_counter() - start)
    report = write_report(folder, sections, about, title="flowmaps: what this run shows")
    console.print(summary(sections))
    console.print(f"{time.perf_counter() - start:.0f} s in all. Report:")
    console.print(str(report.resolve()), markup=False, soft_wrap=True, highlight=False)
    return report, not failed(sections)


def _learned(
    console: Console, recipe: Recipe, folder: Path, overwrite: bool, tiny: bool
) -> Section:
    """Train a recipe in a folder of its own, as ``flowmaps train`` would, and assess its map."""
    trained = recipe.train(folder / recipe.name, overwrite=overwrite, progress=console.is_terminal)
    section = KINDS[recipe.name].assess(trained.flow_map, recipe.seed, tiny)
    section.paragraphs.append(_effort(trained.flow_map, trained.result))
    return section


def _effort(flow_map: FlowMap, result: FitResult) -> str:
    history, weights = result.history, sum(p.numel() for p in flow_map.parameters())
    return (
        f"Training took {history.seconds[-1]:.0f} s for {result.steps} steps of a map with "
        f"{weights:,} weights; the loss fell from {history.loss[0]:.1e} to {history.loss[-1]:.1e}."
    )


def _run_folder(out: Path | None, overwrite: bool) -> Path:
    folder = (out or new_folder("demo")).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder with --out")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "facts.json").is_file():
            raise FileExistsError(
                f"{folder} is not empty and holds no demo (there is no facts.json); give another "
                "folder with --out"
            )
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds a demo; give another folder with --out, or --overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _timed(part: Callable[[], Section]) -> Section:
    start = time.perf_counter()
    section = part()
    section.seconds = time.perf_counter() - start
    return section


def _about(seed: int, tiny: bool, seconds: float) -> dict[str, str]:
    found = {name: str(value) for name, value in versions().items()}
    about = {
        "flowmaps": found["flowmaps"],
        "torch": found["torch"],
        "Python": found["python"],
        "seed": str(seed),
        "threads": found["threads"],
        "seconds": f"{seconds:.0f}",
    }
    return about | ({"size": "tiny: the figures mean nothing"} if tiny else {})

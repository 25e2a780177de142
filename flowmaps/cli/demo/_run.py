"""The demo from start to report."""

import platform
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import flowmaps as fm
from flowmaps.cli.demo._digits import digits
from flowmaps.cli.demo._pendulum import pendulum
from flowmaps.cli.demo._report import write_report
from flowmaps.cli.demo._section import Section
from flowmaps.cli.demo._systems import systems
from flowmaps.generative import load_digits

__all__ = ["run_demo"]


def run_demo(
    console: Console, out: Path | None, overwrite: bool = False, seed: int = 0, tiny: bool = False
) -> Path:
    """Run the three parts, print the summary, write the report, and return its path.

    Args:
        console: where progress and summary go.
        out: run folder; None makes a new one under ``runs/``.
        overwrite: whether a folder that is not empty may be written into.
        seed: of weights, draws and noise.
        tiny: train for seconds only.

    Raises:
        ModuleNotFoundError: without scikit-learn, which the last part needs.
        FileExistsError: if the folder is not empty and overwrite is false.
        OSError: if the folder cannot be made.
    """
    load_digits()  # what the last part needs must not be missed after minutes
    folder = _run_folder(out, overwrite)
    # Networks as small as these learn faster on one thread than on several.
    torch.set_num_threads(1)
    start = time.perf_counter()
    console.print("[bold]1/3[/] computing and checking the flow maps of three systems")
    first = _timed(lambda: systems(seed))
    console.print("[bold]2/3[/] ", end="")
    surrogates: list[fm.maps.FlowMap] = []
    second = _timed(lambda: _keeping(pendulum(console, seed, tiny), surrogates))
    console.print("[bold]3/3[/] ", end="")
    third = _timed(lambda: _keeping(digits(console, seed, tiny), surrogates))
    fm.save(surrogates[0], folder / "pendulum_map", overwrite=overwrite)
    fm.save(surrogates[1], folder / "digits_map", overwrite=overwrite)
    sections = [first, second, third]
    report = write_report(folder, sections, _about(seed, tiny, time.perf_counter() - start))
    console.print(_summary(sections))
    console.print(f"{time.perf_counter() - start:.0f} s in all. Report:")
    console.print(str(report.resolve()), soft_wrap=True, highlight=False)
    return report


def _run_folder(out: Path | None, overwrite: bool) -> Path:
    folder = out or Path("runs") / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder with --out")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise FileExistsError(
            f"{folder} is not empty; give another folder with --out, or --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _timed(part: Callable[[], Section]) -> Section:
    start = time.perf_counter()
    section = part()
    section.seconds = time.perf_counter() - start
    return section


def _keeping(outcome: tuple[Section, fm.maps.FlowMap], kept: list[fm.maps.FlowMap]) -> Section:
    kept.append(outcome[1])
    return outcome[0]


def _about(seed: int, tiny: bool, seconds: float) -> dict[str, str]:
    about = {
        "flowmaps": fm.__version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "seed": str(seed),
        "threads": str(torch.get_num_threads()),
        "seconds": f"{seconds:.0f}",
    }
    return about | ({"size": "tiny: the figures mean nothing"} if tiny else {})


def _summary(sections: list[Section]) -> Table:
    table = Table(title="What was measured", title_justify="left")
    for name in ("measured", "value", "asked", "holds"):
        table.add_column(name)
    for section in sections:
        for fact in section.facts:
            mark = "[green]yes[/]" if fact.holds else "[bold red]NO[/]"
            table.add_row(fact.what, fact.value, fact.expected, mark)
    return table

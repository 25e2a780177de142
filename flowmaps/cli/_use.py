"""What ``flowmaps sample`` and ``flowmaps evaluate`` do."""

from pathlib import Path

from rich.console import Console

import flowmaps as fm
from flowmaps.cli._runs import KINDS, open_run
from flowmaps.cli.report import summary, write_report
from flowmaps.errors import UsageError

__all__ = ["evaluate_run", "sample_run"]


def sample_run(console: Console, folder: Path, steps: str, out: Path, seed: int) -> Path:
    """Draw samples of a run in several numbers of steps; return the picture's path.

    Raises:
        UsageError: for steps that are no numbers, or a run that makes no samples.
        OSError: if the picture cannot be written.
    """
    run = open_run(folder)
    if run.kind.grid is None:
        able = [name for name, kind in KINDS.items() if kind.grid is not None]
        raise UsageError(
            f"{run.recipe.name} is a surrogate and makes no samples ({', '.join(able)} do); "
            f"see flowmaps evaluate {folder}"
        )
    figure = run.kind.grid(run.flow_map(), _numbers(steps), seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(figure.png)
    console.print(str(out.resolve()), markup=False, soft_wrap=True, highlight=False)
    return out


def _numbers(steps: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in steps.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--steps takes whole numbers from 1, such as 1,2,4,8; got {steps!r}")
    return numbers


def evaluate_run(console: Console, folder: Path, seed: int, tiny: bool) -> Path:
    """Measure a run's map, write ``evaluation/report.html`` into its folder, return its path.

    Raises:
        RunFolderError: if the folder holds no finished run of a recipe.
    """
    run = open_run(folder)
    section = run.kind.assess(run.flow_map(), seed, tiny)
    target = folder / "evaluation"
    target.mkdir(exist_ok=True)
    about = {"recipe": run.recipe.name, "flowmaps": fm.__version__, "seed": str(seed)}
    page = write_report(target, [section], about, title=f"flowmaps: a run of {run.recipe.name}")
    console.print(summary([section]))
    console.print(str(page.resolve()), markup=False, soft_wrap=True, highlight=False)
    return page

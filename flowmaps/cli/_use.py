"""What ``flowmaps sample`` and ``flowmaps evaluate`` do."""

from pathlib import Path

from rich.console import Console

import flowmaps as fm
from flowmaps.cli._runs import KINDS, open_run
from flowmaps.cli.report import failed, summary, write_report
from flowmaps.errors import UsageError

__all__ = ["evaluate_run", "sample_run"]


def sample_run(
    console: Console, folder: Path, steps: str, out: Path | None, seed: int, overwrite: bool
) -> Path:
    """Draw samples of a run in several numbers of steps; return the picture's path.

    Raises:
        UsageError: for steps that are no numbers, a run that makes no samples, or a picture that is
            no new .png file.
        OSError: if the picture cannot be written.
    """
    run = open_run(folder)
    if run.kind.grid is None:
        able = [name for name, kind in KINDS.items() if kind.grid is not None]
        raise UsageError(
            f"{run.recipe.name} is a surrogate and makes no samples ({', '.join(able)} do); "
            f"see flowmaps evaluate {folder}"
        )
    numbers = _numbers(steps)
    if out is None:
        out = folder / "samples" / f"steps-{'-'.join(map(str, numbers))}-seed-{seed}.png"
        overwrite = True  # the same samples under the same name
    _check_picture(out, overwrite)
    figure = run.kind.grid(run.flow_map(), numbers, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(figure.png)
    console.print(str(out.resolve()), markup=False, soft_wrap=True, highlight=False)
    return out


def _check_picture(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give a file: --out {out / 'samples.png'}")
    if out.suffix.lower() != ".png":
        raise UsageError(f"the picture is a PNG; name it so: --out {out.with_suffix('.png')}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} is there already; give another --out, or --overwrite")


def _numbers(steps: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in steps.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--steps takes whole numbers from 1, such as 1,2,4,8; got {steps!r}")
    return numbers


def evaluate_run(console: Console, folder: Path, seed: int, tiny: bool) -> tuple[Path, bool]:
    """Measure a run's map, write ``evaluation/report.html`` into its folder.

    Returns:
        The report's path, and whether all that was asked holds.

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
    return page, not failed([section])

"""The commands and their options; the work is done elsewhere."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flowmaps.errors import FlowMapError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Flow maps of ordinary differential equations: compute, check, learn, sample.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Run folder; a new one under runs/ by default.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace what an earlier demo wrote into the folder."),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, draws and noise.")
    ] = 0,
    tiny: Annotated[
        bool,
        typer.Option(
            "--tiny", help="Train for seconds only: tries the machinery, not the quality."
        ),
    ] = False,
) -> None:
    """Compute, check, learn and sample flow maps; write a report with pictures (minutes)."""
    from flowmaps.cli.demo import run_demo

    run_demo(Console(), out, overwrite=overwrite, seed=seed, tiny=tiny)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="pendulum, checkerboard or digits.")],
    out: Annotated[
        Path | None, typer.Option(help="Run folder; a new one under runs/ by default.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=1.0, help="Budget of time, turned once into a number of steps."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of steps; the recipe's by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights and draws.")] = 0,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads; small networks learn fastest on one.")
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, as it was started."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the folder.")
    ] = False,
) -> None:
    """Train a flow map by a recipe, in a run folder with checkpoints and a log."""
    from flowmaps.cli._train import train as run

    run(
        Console(),
        recipe,
        out,
        seconds=seconds,
        steps=steps,
        seed=seed,
        device=device,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
    )


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps, separated by commas.")] = "1,2,4,8",
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("samples.png"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the noise.")] = 0,
) -> None:
    """Draw samples of a run beside its data, in a picture."""
    from flowmaps.cli._use import sample_run

    sample_run(Console(), run, steps, out, seed)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of starts or noise.")] = 0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Few points: tries the machinery, not the quality.")
    ] = False,
) -> None:
    """Measure a run's map, and write a report with pictures into its folder."""
    from flowmaps.cli._use import evaluate_run

    evaluate_run(Console(), run, seed, tiny)


@app.command()
def info() -> None:
    """Show versions, devices, and what is on board: solvers, kinds of maps, problems."""
    from flowmaps.cli._info import show_info

    show_info(Console())


def main() -> None:
    """Run the command line; an error that flowmaps foresees is one sentence and exit status 1."""
    try:
        app()
    except (FlowMapError, OSError, ModuleNotFoundError) as error:
        # escape: the brackets of "flowmaps[demo]" or of a folder's name are no markup
        message = f"[bold red]error:[/] {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        raise SystemExit(1) from None

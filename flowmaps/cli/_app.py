"""The commands and their options; the work is done elsewhere."""

import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flowmaps.cli import _verify_options as asked
from flowmaps.errors import FlowMapError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Flow maps of ordinary differential equations: compute, check, learn, sample.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_STRICT = typer.Option(
    "--strict", help="End with exit status 3 if something that was asked does not hold."
)
_THREADS = typer.Option(min=1, help="CPU threads.")


def _version(asked: bool | None) -> None:
    if asked:
        from flowmaps import __version__

        typer.echo(f"flowmaps {__version__}")
        raise typer.Exit


@app.callback()
def flowmaps(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = None,
) -> None:
    """Flow maps of ordinary differential equations: compute, check, learn, sample.

    Exit status: 0, 1 for an error, 2 for a command that is not understood, 3 for --strict.
    """


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
    strict: Annotated[bool, _STRICT] = False,
) -> None:
    """Compute, check, learn and sample flow maps; write a report with pictures (minutes)."""
    from flowmaps.cli.demo import run_demo

    _, holds = run_demo(Console(), out, overwrite=overwrite, seed=seed, tiny=tiny)
    _end(strict, holds)


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
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Seed of weights and draws; 0 by default."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to train: cpu (the default), cuda, cuda:1, ...")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; 1 by default: small networks learn fastest so."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, as it was started."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the folder.")
    ] = False,
) -> None:
    """Train a flow map by a recipe, in a run folder with checkpoints and a log."""
    from flowmaps.cli._train import Options
    from flowmaps.cli._train import train as run

    options = Options(seconds, steps, seed, device, threads, resume, overwrite)
    run(Console(), recipe, out, options)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps, separated by commas.")] = "1,2,4,8",
    out: Annotated[
        Path | None, typer.Option(help="Picture to write, .png; in the run's folder by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the noise.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that --out names.")
    ] = False,
    threads: Annotated[int | None, _THREADS] = None,
) -> None:
    """Draw samples of a run beside its data, in a picture."""
    from flowmaps.cli._use import sample_run

    _use_threads(threads)
    sample_run(Console(), run, steps, out, seed, overwrite)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of starts or noise.")] = 0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Few points: tries the machinery, not the quality.")
    ] = False,
    strict: Annotated[bool, _STRICT] = False,
    threads: Annotated[int | None, _THREADS] = None,
) -> None:
    """Measure a run's map, and write a report with pictures into its folder."""
    from flowmaps.cli._use import evaluate_run

    _use_threads(threads)
    _, holds = evaluate_run(Console(), run, seed, tiny)
    _end(strict, holds)


@app.command()
def doctor(
    network: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NETWORK",
            help="A torch module: an object, a class or a function that makes one.",
        ),
    ],
    shape: Annotated[str, typer.Option(help="Shape of one state, such as 2 or 3,32,32.")] = "2",
    condition_shape: Annotated[
        str | None, typer.Option(help="Shape of one sample's condition; none by default.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="The condition is a label of so many classes.")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, help="Number of samples.")] = 7,
    dtype: Annotated[str, typer.Option(help="float32, float64 or bfloat16.")] = "float32",
    form: Annotated[
        str | None,
        typer.Option(help="map (s, t, x, condition) or field (t, x); read off by default."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out compilation and data-parallel training.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="After which such a probe is ended.")
    ] = 300.0,
    backend: Annotated[
        str | None,
        typer.Option(help="Of torch.compile: inductor by default; aot_eager needs no compiler."),
    ] = None,
    json: asked.Json = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that --json names.")
    ] = False,
) -> None:
    """Probe a network for what breaks forward mode, compilation, low precision, distribution.

    Exit status: 0 if it is healthy, 1 if not, 2 for a command that is not understood.
    """
    from flowmaps.cli._doctor import Samples, examine

    samples = Samples(shape, condition_shape, classes, batch, dtype)
    if not examine(Console(), network, samples, form, quick, seconds, backend, json, overwrite):
        raise typer.Exit(1)


@app.command()
def verify(
    subject: asked.Subject,
    field: asked.FieldName = None,
    problem: asked.Problem = None,
    domain: asked.Domain = None,
    times: asked.Times = None,
    conditions: asked.Conditions = None,
    derivatives: asked.Derivatives = "forward",
    budget: asked.Budget = None,
    calibrate: asked.Calibrate = False,
    directions: asked.Directions = None,
    points: asked.Points = 4096,
    seed: asked.Seed = 0,
    seconds: asked.Seconds = None,
    dtype: asked.Dtype = None,
    json: asked.Json = None,
    html: asked.Html = None,
    markdown: asked.Markdown = None,
    overwrite: asked.Overwrite = False,
) -> None:
    """Verify whether a map is the flow map of a field, or any flow if no field is given.

    A run's map is asked about the field that it was learned from or, if it was learned from data,
    about its own velocity, where it was trained, unless the options say otherwise. A learned map
    needs --budget or --calibrate.

    Exit status: 0 if it is, 1 for failures, 2 if it cannot be said or the command is wrong.
    """
    from flowmaps.cli._verify import verify as run

    options = asked.Asked(
        subject,
        field,
        problem,
        domain,
        times,
        conditions,
        derivatives,
        budget,
        calibrate,
        directions,
        points,
        seed,
        seconds,
        dtype,
    )
    raise typer.Exit(run(Console(), options, asked.Files(json, html, markdown, overwrite)))


@app.command()
def info() -> None:
    """Show versions, devices, and what is on board: solvers, kinds of maps, problems."""
    from flowmaps.cli._info import show_info

    show_info(Console())


def _end(strict: bool, holds: bool) -> None:
    if strict and not holds:
        raise typer.Exit(3)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def main() -> None:
    """Run the command line.

    An error that flowmaps foresees is one sentence and exit status 1, or 2 if the command was not
    understood. A termination (SIGTERM) ends a run as Ctrl-C does, with its last kept state on the
    disk, and exit status 143.
    """
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (FlowMapError, OSError, ModuleNotFoundError) as error:
        # escape: the brackets of "flowmaps[demo]" or of a folder's name are no markup
        message = f"[bold red]error:[/] {escape(_as_options(str(error)))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None


def _terminate(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _as_options(message: str) -> str:
    """Name options where a message names arguments too: "resume=True (--resume)"."""
    return re.sub(r"\w+=(?:True)? \((--[\w-]+)\)", r"\1", message)

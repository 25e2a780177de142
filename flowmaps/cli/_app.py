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

"""What ``flowmaps doctor`` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor, nn

from flowmaps._checks import first_line
from flowmaps.cli._files import check_files, write_file
from flowmaps.cli._named import foreign, imported
from flowmaps.errors import UsageError
from flowmaps.testing.doctor import Diagnosis, diagnose

__all__ = ["Samples", "examine"]

_COLOURS = {"fine": "green", "trap": "bold red", "not applicable": "dim", "failed": "yellow"}
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Samples:
    """What a network is called with, as said on the command line."""

    shape: str
    condition_shape: str | None
    classes: int | None
    batch: int
    dtype: str

    def draw(self) -> tuple[Tensor, Tensor | None]:
        """Return states and a condition; raise UsageError for what makes none."""
        if self.dtype not in _DTYPES:
            raise UsageError(f"--dtype is one of {', '.join(_DTYPES)}; got {self.dtype!r}")
        if self.condition_shape is not None and self.classes is not None:
            raise UsageError("give --condition-shape or --classes, not both")
        draw, dtype = torch.Generator().manual_seed(0), _DTYPES[self.dtype]
        shape = (self.batch, *_sizes(self.shape, "--shape"))
        x = torch.randn(shape, generator=draw).to(dtype)
        if self.classes is not None:
            return x, torch.randint(self.classes, (self.batch,), generator=draw)
        if self.condition_shape is None:
            return x, None
        shape = (self.batch, *_sizes(self.condition_shape, "--condition-shape"))
        return x, torch.randn(shape, generator=draw).to(dtype)


def examine(
    console: Console,
    name: str,
    samples: Samples,
    form: str | None,
    quick: bool,
    seconds: float,
    backend: str | None,
    path: Path | None,
    overwrite: bool,
) -> bool:
    """Examine a network by its name, print a table, and tell whether it is healthy.

    Raises:
        UsageError: for a name that leads to no network, samples that cannot be, or a network that
            takes other arguments, or a file that is there already.
    """
    check_files((path,), overwrite)
    x, condition = samples.draw()
    network = _network(name)
    options: dict[str, Any] = {"form": form, "quick": quick, "seconds": seconds}
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    off = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        progress.add_task(f"examining {escape(name)}", total=None)
        try:
            diagnosis = diagnose(network.to(x.dtype), x, condition, backend=backend, **options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name}: {first_line(error)}") from error
    _show(console, name, diagnosis)
    if path is not None:
        write_file(path, diagnosis.to_json() + "\n")
    return diagnosis.healthy


def _sizes(text: str, option: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f"{option} takes whole numbers from 1, such as 3,32,32; got {text!r}")
    return sizes


def _network(name: str) -> nn.Module:
    """Return the module that MODULE:NETWORK names, made if it is a class or a function."""
    found = imported(name, "the network")
    if not isinstance(found, nn.Module) and callable(found):
        with foreign(f"the network {name} cannot be made"):
            found = found()
    if not isinstance(found, nn.Module):
        got = type(found).__name__
        raise UsageError(f"the network {name} is no torch.nn.Module and makes none, got {got}")
    return found


def _show(console: Console, name: str, diagnosis: Diagnosis) -> None:
    table = Table(title=f"flowmaps doctor {escape(name)}", title_justify="left", show_lines=True)
    table.add_column("probe", style="bold", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("what was seen")
    for one in diagnosis:
        told = escape(one.seen)
        if one.place:
            told = f"[bold]{escape(one.place)}[/]: {told}"
        if one.cure:
            told += f"\n[bold]cure:[/] {escape(one.cure)}"
        colour = _COLOURS[one.status]
        table.add_row(one.probe, f"[{colour}]{one.status}[/]", told)
    console.print(table)
    console.print(diagnosis.summary, markup=False, highlight=False, soft_wrap=True)

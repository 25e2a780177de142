"""The options of ``flowmaps verify``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Asked",
    "Budget",
    "Calibrate",
    "Conditions",
    "Derivatives",
    "Directions",
    "Domain",
    "Dtype",
    "FieldName",
    "Files",
    "Html",
    "Json",
    "Markdown",
    "Overwrite",
    "Points",
    "Problem",
    "Seconds",
    "Seed",
    "Subject",
    "Times",
]

Subject = Annotated[
    str,
    typer.Argument(
        metavar="MAP",
        help="Folder of a finished run, which knows field, domain and times, or of a saved map; "
        "or MODULE:OBJECT, a callable (s, t, x) imported from the current folder.",
    ),
]
FieldName = Annotated[
    str | None,
    typer.Option(metavar="MODULE:FIELD", help="The field b(t, x) that it should be the flow of."),
]
Problem = Annotated[
    str | None,
    typer.Option(help="A problem by name, which gives field, domain and times; see flowmaps info."),
]
Domain = Annotated[
    str | None,
    typer.Option(help='Box of states, "lower:upper,lower:upper", or MODULE:DOMAIN.'),
]
Times = Annotated[str | None, typer.Option(help='Earliest and latest time, "0,1".')]
Conditions = Annotated[
    str | None, typer.Option(help='Box of conditions, "lower:upper", or MODULE:CONDITIONS.')
]
Derivatives = Annotated[
    str, typer.Option(help="forward, differences (for black boxes) or none: values alone.")
]
Budget = Annotated[
    float | None,
    typer.Option(help="Relative error that is allowed: what a learned map is declared to reach."),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Take as budget what 95 % of other points are within of a solver of the field.",
    ),
]
Directions = Annotated[
    str | None, typer.Option(help="both, forward or backward; the map's own by default.")
]
Points = Annotated[int, typer.Option(min=8, help="Points of the sample.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the sample.")]
Seconds = Annotated[
    float | None, typer.Option(help="How long it may take, about; then fewer points are measured.")
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float64, float32, bfloat16 or float16; the map's own weights' by default."),
]
Json = Annotated[Path | None, typer.Option(help="File for the report as JSON.")]
Html = Annotated[Path | None, typer.Option(help="File for the report as a page, with pictures.")]
Markdown = Annotated[Path | None, typer.Option(help="File for the report as Markdown.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that --json, --html, --markdown name.")
]


@dataclass(frozen=True)
class Asked:
    """What a verification was asked for on the command line; None for what was not said."""

    subject: str
    field: str | None = None
    problem: str | None = None
    domain: str | None = None
    times: str | None = None
    conditions: str | None = None
    derivatives: str = "forward"
    budget: float | None = None
    calibrate: bool = False
    directions: str | None = None
    points: int = 4096
    seed: int = 0
    seconds: float | None = None
    dtype: str | None = None


@dataclass(frozen=True)
class Files:
    """Where reports are written; None for nowhere."""

    json: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    overwrite: bool = False

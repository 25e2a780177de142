"""What ``flowmaps verify`` does."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from textwrap import indent
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn

import flowmaps as fm
from flowmaps._checks import first_line
from flowmaps.cli._files import check_files, write_file
from flowmaps.cli._named import box_or_object, imported, map_of, numbers, question_of
from flowmaps.cli._verify_options import Asked, Files
from flowmaps.errors import UsageError
from flowmaps.testing import Budget, VerificationReport

__all__ = ["exit_status", "verify"]

_DTYPES = ("float64", "float32", "bfloat16", "float16")
_TOLERANCE = 1e-5
"""Of the solver that a learned map is calibrated against."""
_CALIBRATING = 1024
"""Points of that sample, at most: derivatives of a solve are dear."""
_BY_PYTHON = "flowmaps.testing.calibrate(flow_map, reference, ...)"
_COLOURS = {
    "passed": "green",
    "failed": "bold red",
    "expected failure": "yellow",
    "inconclusive": "yellow",
    "not applicable": "dim",
    "flow map of the field": "bold green",
    "a flow": "bold",
    "not a flow": "bold red",
}


def verify(console: Console, asked: Asked, files: Files) -> int:
    """Verify a map, show a table, write reports; return the exit status.

    Raises:
        UsageError: for what cannot be verified as it was asked, or a file that is there already.
    """
    check_files((files.json, files.html, files.markdown), files.overwrite)
    arguments, field = _arguments(asked)
    if find_spec("hypothesis") is None:
        _say(
            console,
            'note: hypothesis is not installed (pip install "flowmaps[testing]"): counterexamples '
            "are left less simple than they could be",
        )
    if asked.calibrate:
        with _working(console, f"calibrating {asked.subject}"):
            arguments["budget"] = _calibrated(arguments)
    with _working(console, f"verifying {asked.subject}"):
        report = _verified(arguments)
    if arguments["field"] is not None:
        _say(console, f"Is it the flow map of {field}?")
    _show(console, report)
    _say(console, _allowed(report))
    _write(console, report, files)
    return exit_status(report, arguments["field"] is not None)


def _working(console: Console, on: str) -> Progress:
    """Return what shows that something is at work, on a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    off = not console.is_terminal
    progress = Progress(*columns, console=console, transient=True, disable=off)
    progress.add_task(escape(on), total=None)
    return progress


def exit_status(report: VerificationReport, field_known: bool) -> int:
    """Return 0 for what was hoped for, 1 for failures, 2 where it cannot be said.

    Args:
        report: of ``flowmaps.testing.verify``.
        field_known: whether the map should be the flow map of a field, or just a flow.
    """
    if report.failures or report.verdict == "not a flow":
        return 1
    hoped = ("flow map of the field",) if field_known else ("flow map of the field", "a flow")
    return 0 if report.verdict in hoped else 2


def _arguments(asked: Asked) -> tuple[dict[str, Any], str]:
    """Return the arguments of ``flowmaps.testing.verify``, and the field's name for readers."""
    if asked.seconds is not None and not 0 < asked.seconds < math.inf:
        raise UsageError(f"--seconds takes a positive number, got {asked.seconds}")
    if asked.calibrate and asked.budget is not None:
        raise UsageError("give --budget or --calibrate, not both")
    problem = None
    if asked.problem is not None:
        try:
            problem = fm.problems.get(asked.problem)
        except ValueError as error:
            raise UsageError(str(error)) from error
    field = None if problem is None else problem.field
    domain = None if problem is None else problem.domain
    times = None if problem is None else problem.times
    if asked.field is not None:
        field = imported(asked.field, "--field")
    if asked.domain is not None:
        domain = box_or_object(asked.domain, "--domain")
    if asked.times is not None:
        times = numbers(asked.times, "--times", 2)
    conditions = asked.conditions and box_or_object(asked.conditions, "--conditions")
    flow_map = map_of(asked.subject, field)
    own = question_of(asked.subject, flow_map)
    named = asked.field or f"the problem {asked.problem}"
    if own is not None:
        if field is None:
            field, named = own.field, own.named
        times = own.times if times is None else times
        domain = own.domain if domain is None else domain
    if domain is None:
        raise UsageError('give --domain "lower:upper,lower:upper" of states, or --problem')
    arguments = {
        "flow_map": flow_map,
        "field": field,
        "domain": domain,
        "times": times,
        "conditions": conditions,
        "derivatives": asked.derivatives,
        "budget": asked.budget,
        "directions": asked.directions,
        "points": asked.points,
        "seed": asked.seed,
        "seconds": asked.seconds,
        "dtype": _dtype(asked.dtype, flow_map),
    }
    return arguments, named


def _dtype(name: str | None, flow_map: Any) -> torch.dtype:
    """Return a dtype by name; that of the map's weights, or else float64, if none is named."""
    if name is None:
        weights = flow_map.parameters() if isinstance(flow_map, nn.Module) else ()
        return next((one.dtype for one in weights if one.is_floating_point()), torch.float64)
    if name not in _DTYPES:
        raise UsageError(f"--dtype takes {', '.join(_DTYPES)}; got {name!r}")
    return getattr(torch, name)


def _calibrated(arguments: dict[str, Any]) -> Budget:
    """Return the budget of 95 % of a sample of its own, against a solver of the field."""
    if arguments["field"] is None:
        raise UsageError("--calibrate compares with a solver of the field: give --field")
    names = "flow_map", "domain", "times", "conditions", "derivatives", "directions", "dtype"
    given = {name: arguments[name] for name in names}
    with _as_wrong_use():
        return fm.testing.calibrate(
            **given,
            reference=fm.maps.SolverFlowMap(arguments["field"], rtol=_TOLERANCE, atol=_TOLERANCE),
            points=min(arguments["points"], _CALIBRATING),
            seed=arguments["seed"] + 1,  # other points than those that the verdict rests on
        )


def _verified(arguments: dict[str, Any]) -> VerificationReport:
    with _as_wrong_use():
        return fm.testing.verify(**arguments)


@contextmanager
def _as_wrong_use() -> Iterator[None]:
    """Exit status 1 is for failures of the map, so what else is wrong is wrong use."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # a user's field and domain may raise anything
        named = re.sub(
            r"\b(budget|times|directions|derivatives)=\.\.\.", r"--\1", first_line(error)
        ).replace(_BY_PYTHON, "--calibrate")
        kind = "" if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: "
        raise UsageError(f"it cannot be verified: {kind}{named}") from error


def _show(console: Console, report: VerificationReport) -> None:
    table = Table(
        title="Residuals: the worst over what is allowed, and what 95 % of the points are below",
        title_justify="left",
    )
    for name in ("property", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("worst", "95 %", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in report:
        worst = "" if one.worst is None else f"{one.worst:.2g}"
        most = f"{one.quantiles[0.95]:.2g}" if 0.95 in one.quantiles else ""
        status = f"[{_COLOURS[one.status]}]{one.status}[/]"
        points = str(one.points or "")
        table.add_row(escape(one.name), status, worst, most, points)
    console.print(table)
    for one in report:
        if one.reason and one.status != "passed":
            _say(console, f"{one.name}: {one.reason}")
    for one in report.failures:
        if one.counterexample is not None:
            _say(console, f"{one.name} fails here:")
            _say(console, indent(one.counterexample.code(), "    "))
    colour = _COLOURS.get(report.verdict, "bold yellow")
    verdict = f"[{colour}]{report.verdict}[/]: {escape(report.reason)}"
    console.print(verdict, highlight=False, soft_wrap=True)


def _allowed(report: VerificationReport) -> str:
    """Return what was allowed, and where, in one line."""
    facts = report.facts
    budget, (low, high) = facts["budget"], facts["times"]
    off = [
        f"{budget[name]:.2g} of {what}"
        for name, what in (("state", "values"), ("velocity", "derivatives in time"))
        if budget[name] > 0
    ]
    level = budget["quantile"]
    share = f" at {level:.0%} of the points, and more elsewhere" if level < 1 else ""
    most = f"relative errors of {' and '.join(off)}{share}" if off else "rounding alone"
    return f"allowed: {most}; on {facts['domain']}, times {low:g} to {high:g}"


def _write(console: Console, report: VerificationReport, files: Files) -> None:
    texts = (
        (files.json, lambda: report.to_json() + "\n"),
        (files.html, report.to_html),
        (files.markdown, report.to_markdown),
    )
    for path, text in texts:
        if path is not None:
            write_file(path, text())
            _say(console, str(path.resolve()))


def _say(console: Console, line: str) -> None:
    # markup=False: the brackets of a name are no markup
    console.print(line, markup=False, highlight=False, soft_wrap=True)

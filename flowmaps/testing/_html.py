"""The report of a verification as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowmaps._pages._html import code, escaped, figure, page, table
from flowmaps.testing._plot import draw_report

if TYPE_CHECKING:
    from flowmaps.testing._report import PropertyReport, VerificationReport

__all__ = ["html_page"]

_HEADER = ("property", "status", "worst / allowed", "95 % below", "points", "note")
_STATUS = {
    "passed": "holds",
    "failed": "fails",
    "expected failure": "unknown",
    "inconclusive": "unknown",
}
_VERDICT = {"flow map of the field": "holds", "not a flow": "fails", "inconclusive": "unknown"}
_CAPTION = (
    "Where the residual is large, in state and in time: blue points are within what is allowed, "
    "yellow and red ones beyond; a ring marks the counterexample. Only the first two coordinates "
    "of states are drawn."
)


def html_page(report: VerificationReport) -> str:
    """Return a page that needs no other file: verdict, table, picture, counterexamples, facts.

    Args:
        report: of ``verify``.
    """
    return page(f"flowmaps: {report.verdict}", _parts(report))


def _parts(report: VerificationReport) -> Iterator[str]:
    style = _VERDICT.get(report.verdict, "")
    yield f'<h1 class="{style}">{escaped(report.verdict)}</h1><p>{escaped(report.reason)}</p>'
    rows = [_row(one) for one in report]
    yield table(_HEADER, rows, _told(report), classes=({}, _STATUS))
    if any(one.ratio is not None for one in report):
        from flowmaps._pages._plots import to_png

        yield figure(to_png(draw_report(report)), "residuals in state and time", _CAPTION)
    examples = [one for one in report if one.counterexample is not None]
    if examples:
        yield "<h2>Counterexamples</h2><p>Given <code>flow_map</code> and <code>field</code>:</p>"
    for one in examples:
        assert one.counterexample is not None
        yield f"<h3>{escaped(one.name)}</h3>{code(one.counterexample.code())}"
    facts = [(name, _plain(value)) for name, value in report.facts.items()]
    yield "<h2>What was verified, and how</h2>" + table(("fact", "value"), facts)


def _told(report: VerificationReport) -> str:
    """Return what a residual above what is allowed means: for a learned map the share counts."""
    level = report.facts["budget"]["quantile"]
    if level == 1:
        told = "A property fails where its worst / allowed is above one."
    else:
        told = (
            f"A property fails where fewer than {level:.0%} of points are within what is allowed."
        )
    return f"{told} 95 % of its residuals are below the size given, in their own units."


def _row(one: PropertyReport) -> tuple[str, ...]:
    worst = "" if one.worst is None else f"{one.worst:.2g}"
    most = f"{one.quantiles[0.95]:.2g}" if 0.95 in one.quantiles else ""
    return one.name, one.status, worst, most, str(one.points or ""), one.reason


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

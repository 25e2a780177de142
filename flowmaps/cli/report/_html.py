"""The report: one self-contained HTML page."""

import base64
import html
import json
from dataclasses import asdict
from pathlib import Path

from flowmaps.cli.report._section import Fact, Figure, Section, TableOf

__all__ = ["write_report"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; }
figcaption, caption { color: #5a6775; font-size: .9rem; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; }
table { border-collapse: collapse; margin: 1.5rem 0; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; }
.holds { color: #1b7f55; } .fails { color: #b3261e; font-weight: bold; }
"""


_MARKS = {
    True: '<td class="holds">yes</td></tr>',
    False: '<td class="fails">NO</td></tr>',
    None: "<td></td></tr>",
}


def write_report(folder: Path, sections: list[Section], about: dict[str, str], title: str) -> Path:
    """Write ``report.html``, its pictures as files, and ``facts.json``; return the page's path.

    Args:
        folder: the run folder.
        sections: in order.
        about: versions, seed, time: what a reader needs to run it again.
        title: of the page.
    """
    facts = [fact for section in sections for fact in section.facts]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(', '.join(f'{name} {value}' for name, value in about.items()))}</p>",
        _facts(facts),
        *(_section(section) for section in sections),
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    for section in sections:
        for figure in section.figures:
            (folder / figure.name).write_bytes(figure.png)
    record = {"about": about, "facts": [asdict(fact) for fact in facts]}
    (folder / "facts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{text}</p>" for text in section.paragraphs]
    parts += [_figure(figure) for figure in section.figures]
    parts += [_table(table) for table in section.tables]
    return "".join(parts) + f"<p>This part took {section.seconds:.0f} s.</p>"


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(figure.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{figure.caption}</figcaption></figure>"
    )


def _table(table: TableOf) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return f"<table><caption>{html.escape(table.caption)}</caption><tr>{head}</tr>{body}</table>"


def _facts(facts: list[Fact]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(fact.what)}</td><td>{html.escape(fact.value)}</td>"
        f"<td>{html.escape(fact.expected)}</td>" + _MARKS[fact.holds]
        for fact in facts
    )
    return (
        f"<table><tr><th>measured</th><th>value</th><th>asked</th><th>holds</th></tr>{rows}</table>"
    )

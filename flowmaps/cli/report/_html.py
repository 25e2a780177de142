"""The report: one self-contained HTML page."""

import json
from dataclasses import asdict
from pathlib import Path

from flowmaps._pages._html import escaped, figure, page, table
from flowmaps.cli.report._section import Fact, Section

__all__ = ["write_report"]

_MARKS = {True: "yes", False: "NO", None: ""}


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
        f"<h1>{escaped(title)}</h1>",
        f"<p>{escaped(', '.join(f'{name} {value}' for name, value in about.items()))}</p>",
        _facts(facts),
        *(_section(section) for section in sections),
    ]
    for section in sections:
        for picture in section.figures:
            (folder / picture.name).write_bytes(picture.png)
    record = {"about": about, "facts": [asdict(fact) for fact in facts]}
    (folder / "facts.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page(title, parts), encoding="utf-8")
    return path


def _section(section: Section) -> str:
    parts = [f"<h2>{escaped(section.title)}</h2>"]
    parts += [f"<p>{text}</p>" for text in section.paragraphs]
    parts += [figure(one.png, one.name, one.caption) for one in section.figures]
    parts += [table(one.header, one.rows, one.caption) for one in section.tables]
    return "".join(parts) + f"<p>This part took {section.seconds:.0f} s.</p>"


def _facts(facts: list[Fact]) -> str:
    rows = [(fact.what, fact.value, fact.expected, _MARKS[fact.holds]) for fact in facts]
    marks = {"yes": "holds", "NO": "fails"}
    return table(("measured", "value", "asked", "holds"), rows, classes=({}, {}, {}, marks))

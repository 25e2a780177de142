"""The facts of a report in the terminal."""

from rich.table import Table

from flowmaps.cli.report._section import Section

__all__ = ["summary"]


def summary(sections: list[Section]) -> Table:
    """Return the facts of all sections as a table: measured, value, asked, holds."""
    table = Table(title="What was measured", title_justify="left")
    for name in ("measured", "value", "asked", "holds"):
        table.add_column(name)
    for section in sections:
        for fact in section.facts:
            mark = {True: "[green]yes[/]", False: "[bold red]NO[/]", None: ""}[fact.holds]
            table.add_row(fact.what, fact.value, fact.expected, mark)
    return table

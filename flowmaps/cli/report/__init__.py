"""Reports: sections of text, pictures, tables and facts, and the page that shows them."""

from flowmaps._pages._plots import INK, MUTED, PALETTE, canvas, label, to_png
from flowmaps.cli.report._html import write_report
from flowmaps.cli.report._section import Fact, Figure, Section, TableOf, at_most, failed
from flowmaps.cli.report._summary import summary

__all__ = [
    "INK",
    "MUTED",
    "PALETTE",
    "Fact",
    "Figure",
    "Section",
    "TableOf",
    "at_most",
    "canvas",
    "failed",
    "label",
    "summary",
    "to_png",
    "write_report",
]

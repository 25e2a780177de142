"""What a part of the demo hands to the report."""

from dataclasses import dataclass, field

__all__ = ["Fact", "Figure", "Section", "TableOf"]


@dataclass(frozen=True)
class Figure:
    """A picture: PNG bytes, a caption, and the name of its file in the run folder."""

    png: bytes
    caption: str
    name: str


@dataclass(frozen=True)
class TableOf:
    """A table: header, rows of text, caption."""

    header: list[str]
    rows: list[list[str]]
    caption: str


@dataclass(frozen=True)
class Fact:
    """A measured number: what, its value, what was asked, whether it holds; None: only reported."""

    what: str
    value: str
    expected: str = ""
    holds: bool | None = None


@dataclass
class Section:
    """A part of the report, filled in as the part runs."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[TableOf] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    seconds: float = 0.0

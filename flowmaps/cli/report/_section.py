"""What a part of the demo hands to the report."""

from dataclasses import dataclass, field

__all__ = ["Fact", "Figure", "Section", "TableOf", "at_most", "failed"]


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


def at_most(what: str, value: float, limit: float, style: str = ".1e") -> Fact:
    """Return the fact that a number must not exceed a limit.

    Example:
        >>> at_most("error", 0.02, 1e-2)
        Fact(what='error', value='2.0e-02', expected='at most 0.01', holds=False)
    """
    asked = f"{limit:{style}}" if style.endswith("%") else f"{limit:g}"
    return Fact(what, f"{value:{style}}", f"at most {asked}", value <= limit)


@dataclass
class Section:
    """A part of the report, filled in as the part runs."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[TableOf] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    seconds: float = 0.0


def failed(sections: list[Section]) -> list[Fact]:
    """Return the facts that do not hold."""
    return [fact for section in sections for fact in section.facts if fact.holds is False]

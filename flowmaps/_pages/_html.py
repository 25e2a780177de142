"""HTML pages that need no other file: pictures are inside, and all text is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence

__all__ = ["code", "escaped", "figure", "page", "table"]

escaped = html.escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; }
figcaption, caption { color: #5a6775; font-size: .9rem; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; }
table { border-collapse: collapse; margin: 1.5rem 0; font-size: .92rem; display: block;
  overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee;
  vertical-align: top; }
td:last-child { overflow-wrap: anywhere; min-width: 12rem; }
pre { background: #f4f6f9; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
.holds { color: #1b7f55; } .fails { color: #b3261e; font-weight: bold; }
.unknown { color: #8a6100; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page of parts that are HTML already; the title is text."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escaped(title)}</title>"
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def figure(png: bytes, name: str, caption: str) -> str:
    """Return a picture; its name is text, the caption HTML."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{escaped(name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    classes: Sequence[dict[str, str]] = (),
) -> str:
    """Return a table of text.

    Args:
        header: of the columns.
        rows: cells of text.
        caption: below it, text.
        classes: for every column, the style's class of a cell by its text.
    """
    styles = [*classes, *({} for _ in header[len(classes) :])]
    head = "".join(f"<th>{escaped(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(_cell(*one) for one in zip(row, styles, strict=True)) + "</tr>"
        for row in rows
    )
    below = f"<caption>{escaped(caption)}</caption>" if caption else ""
    above = f"<tr>{head}</tr>" if head else ""
    return f"<table>{below}{above}{body}</table>"


def code(text: str) -> str:
    """Return a block of code."""
    return f"<pre><code>{escaped(text)}</code></pre>"


def _cell(text: str, style: dict[str, str]) -> str:
    named = f' class="{style[text]}"' if text in style else ""
    return f"<td{named}>{escaped(text)}</td>"

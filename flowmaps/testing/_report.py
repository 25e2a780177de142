"""The outcome of a verification: a verdict, and for every property what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flowmaps.errors import FlowMapError
from flowmaps.testing._draws import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowmaps.testing._counterexample import Counterexample

__all__ = ["NotAFlowMap", "PropertyReport", "VerificationReport"]

VERSION = 1
"""Of the JSON format."""
LEVELS = (0.5, 0.9, 0.95, 0.99, 1.0)


class NotAFlowMap(FlowMapError, AssertionError):
    """A verification found failures; the message names properties and counterexamples."""


@dataclass(frozen=True)
class PropertyReport:
    """What was found about one property.

    Args:
        name, kind: of the property.
        status: "passed", "failed", "expected failure", "inconclusive" or "not applicable".
        reason: why, if it is not plain from the numbers.
        points: at how many points it was measured.
        worst: the largest residual over what is allowed; above one is a failure.
        quantiles: of the residual's size, by level.
        failing: the share of points at which more than allowed was found.
        outside: the share of points outside the declared domain.
        counterexample: the simplest point found at which it fails.
        by_derivatives: whether derivatives of the map enter it.
        draw, value, ratio: the points, the residuals there and these over what is allowed.
    """

    name: str
    kind: str
    status: str
    reason: str = ""
    points: int = 0
    worst: float | None = None
    quantiles: dict[float, float] = field(default_factory=dict)
    failing: float = 0.0
    outside: float = 0.0
    seconds: float = 0.0
    counterexample: Counterexample | None = None
    by_derivatives: bool = False
    draw: Draw | None = field(default=None, repr=False)
    value: Tensor | None = field(default=None, repr=False)
    ratio: Tensor | None = field(default=None, repr=False)

    def expected(self, reason: str) -> PropertyReport:
        """Return what this is once the property was expected to fail, for a reason."""
        if self.status == "failed":
            return replace(self, status="expected failure", reason=reason)
        if self.status == "passed":
            text = f"passed, but was expected to fail: {reason}"
            return replace(self, status="failed", reason=text)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        plain = {
            name: getattr(self, name)
            for name in ("name", "kind", "status", "reason", "points", "failing", "outside")
        }
        example = self.counterexample
        return {
            **plain,
            "worst": _number(self.worst),
            "quantiles": {str(level): _number(value) for level, value in self.quantiles.items()},
            "seconds": round(self.seconds, 4),
            "counterexample": None if example is None else example.to_dict(),
        }


@dataclass(frozen=True)
class VerificationReport:
    """The verdict about a map, and what it rests on.

    Args:
        verdict: "flow map of the field", "a flow", "not a flow" or "inconclusive".
        reason: why.
        properties: what was found, in the order in which it was measured.
        facts: what was verified and how: seed, points, dtype, budget, versions.

    Example:
        >>> import torch, flowmaps as fm
        >>> decay = lambda s, t, x: x * torch.exp(s - t)[:, None]
        >>> box = fm.testing.Box(-1.0, 1.0)
        >>> report = fm.testing.verify(decay, lambda t, x: -x, domain=box, times=(0.0, 1.0))
        >>> report.verdict, report.passed, report["semigroup"].status
        ('flow map of the field', True, 'passed')
    """

    verdict: str
    reason: str
    properties: tuple[PropertyReport, ...]
    facts: dict[str, Any]

    @property
    def failures(self) -> tuple[PropertyReport, ...]:
        """The properties that failed and were not expected to."""
        return tuple(one for one in self.properties if one.status == "failed")

    @property
    def passed(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return not self.failures

    def __getitem__(self, name: str) -> PropertyReport:
        for one in self.properties:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.properties)
        raise KeyError(f"no property {name!r} in the report; there are {known}")

    def __iter__(self) -> Iterator[PropertyReport]:
        return iter(self.properties)

    def raise_for_failures(self) -> None:
        """Raise NotAFlowMap, an AssertionError, if a property failed."""
        if not self.passed:
            raise NotAFlowMap(self._told())

    def _told(self) -> str:
        lines = [f"{self.verdict}: {self.reason}"]
        for one in self.failures:
            lines.append(f"- {one.name}: {one.reason}")
            if one.counterexample is not None:
                lines += ["  " + line for line in one.counterexample.code().splitlines()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "format": "flowmaps.verification",
            "version": VERSION,
            "verdict": self.verdict,
            "reason": self.reason,
            "facts": self.facts,
            "properties": [one.to_dict() for one in self.properties],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON of a versioned format; write it, if a path is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n")
        return text

    def to_markdown(self) -> str:
        """Return the report as a Markdown page: verdict, table, counterexamples."""
        lines = [
            f"**{self.verdict}**: {self.reason}",
            "",
            "| property | status | worst / allowed | 95 % below | points | note |",
            "|---|---|---|---|---|---|",
        ]
        for one in self.properties:
            worst = "" if one.worst is None else f"{one.worst:.2g}"
            most = f"{one.quantiles[0.95]:.2g}" if 0.95 in one.quantiles else ""
            points = one.points or ""
            reason = one.reason.replace("|", "\\|")
            lines.append(f"| {one.name} | {one.status} | {worst} | {most} | {points} | {reason} |")
        for one in self.properties:
            if one.counterexample is not None:
                code = one.counterexample.code()
                lines += ["", f"{one.name}:", "", "```python", code, "```"]
        return "\n".join(lines) + "\n"

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained HTML page, picture included; write it, if asked.

        Args:
            path: of the file.
        """
        from flowmaps.testing._html import html_page

        text = html_page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plot(self, path: str | Path | None = None, names: Sequence[str] | None = None) -> Figure:
        """Draw where in state and time the residuals are large; write the picture, if asked.

        Args:
            path: of the file; its suffix tells the format.
            names: of properties; those that failed by default, or else the worst, at most four.

        Returns:
            A matplotlib figure: for every property a panel of the first two coordinates of states
            (of one coordinate and t, if there is one) and a panel of s and t. Points are blue where
            the residual is within what is allowed, yellow to red beyond; a ring marks the
            counterexample.

        Raises:
            KeyError: for a name that is not in the report.
            ValueError: if there is nothing to draw.

        Example:
            >>> import torch, flowmaps as fm
            >>> line = lambda s, t, x: x * (1 - (t - s))[:, None]
            >>> box = fm.testing.Box(-1.0, 1.0)
            >>> report = fm.testing.verify(line, lambda t, x: -x, domain=box, times=(0.0, 1.0))
            >>> figure = report.plot(names=["semigroup", "lagrangian"])  # or plot("picture.png")
            >>> len(figure.axes)  # two panels and a colour bar for each
            6
        """
        from flowmaps.testing._plot import draw_report

        figure = draw_report(self, names)
        if path is not None:
            figure.savefig(path)
        return figure

    def __str__(self) -> str:
        return self.to_markdown()


def _number(value: float | None) -> float | str | None:
    """Return a number that JSON has; others by name."""
    if value is None or abs(value) < float("inf"):
        return value
    return str(value)

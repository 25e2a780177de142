"""What the doctor found."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["FAILED", "FINE", "NOT_APPLICABLE", "TRAP", "Diagnosis", "Finding"]

FINE, TRAP, NOT_APPLICABLE, FAILED = "fine", "trap", "not applicable", "failed"
VERSION = 1


@dataclass(frozen=True)
class Finding:
    """One thing that a probe found.

    Args:
        probe: its name.
        status: ``"fine"``, ``"trap"``, ``"not applicable"``, or ``"failed"`` if the probe itself
            could not be carried out.
        seen: what was measured.
        module: the qualified name of the submodule at fault, as in ``named_modules()``; ``""`` is
            the network itself, None where nothing is at fault.
        kind: the class of that submodule.
        cure: what to do.
    """

    probe: str
    status: str
    seen: str
    module: str | None = None
    kind: str = ""
    cure: str = ""

    @property
    def place(self) -> str:
        """The submodule at fault and its class, for readers."""
        if self.module is None:
            return ""
        return f"{self.module or 'the network itself'} ({self.kind})"


@dataclass(frozen=True)
class Diagnosis:
    """Every probe's findings, and facts about the examination.

    Iterating gives the findings in the order of the probes; ``diagnosis["norms"]`` those of one.

    Example:
        >>> import torch, flowmaps as fm
        >>> network = fm.networks.MLP(dim=2, width=8, depth=1)
        >>> diagnosis = fm.testing.diagnose(network, torch.randn(6, 2), quick=True)
        >>> diagnosis.healthy, diagnosis["tangents"][0].status
        (True, 'fine')
    """

    findings: tuple[Finding, ...]
    facts: dict[str, Any]

    @property
    def traps(self) -> tuple[Finding, ...]:
        """The findings that need a cure."""
        return tuple(one for one in self.findings if one.status == TRAP)

    @property
    def healthy(self) -> bool:
        """Whether no trap was found, and no probe failed."""
        return all(one.status in (FINE, NOT_APPLICABLE) for one in self.findings)

    @property
    def summary(self) -> str:
        """One sentence."""
        failed = sum(one.status == FAILED for one in self.findings)
        if self.healthy:
            return "healthy: no trap was found"
        places = ", ".join(dict.fromkeys(one.place for one in self.traps))
        told = [f"traps in {places}"] if places else []
        return "; ".join(told + ([f"{failed} probes failed"] if failed else []))

    def __getitem__(self, probe: str) -> tuple[Finding, ...]:
        found = tuple(one for one in self.findings if one.probe == probe)
        if not found:
            known = ", ".join(dict.fromkeys(one.probe for one in self.findings))
            raise KeyError(f"no probe {probe!r} in the diagnosis; there are {known}")
        return found

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "format": "flowmaps.diagnosis",
            "version": VERSION,
            "healthy": self.healthy,
            "summary": self.summary,
            "facts": self.facts,
            "findings": [asdict(one) for one in self.findings],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the diagnosis as JSON of a versioned format; write it, if a path is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_markdown(self) -> str:
        """Return the diagnosis as Markdown: a sentence, a table."""
        lines = [
            f"**{self.summary}**",
            "",
            "| probe | status | submodule | seen | cure |",
            "|---|---|---|---|---|",
        ]
        for one in self.findings:
            cells = (one.probe, one.status, one.place, one.seen, one.cure)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()

"""What a test run asks of all verifications; set by the pytest plugin, without torch."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DEFAULTS", "Defaults"]


@dataclass
class Defaults:
    """Options of ``assert_flow_map`` and ``flow_case`` that a test does not give itself.

    Args:
        points: of every sample.
        dtype: name of a torch dtype.
        reports: folder that reports are written to, if there is one.
        written: how many reports every test of this run has written, by name.
    """

    points: int = 1024
    dtype: str = "float64"
    reports: Path | None = None
    written: Counter[str] = field(default_factory=Counter)


DEFAULTS = Defaults()

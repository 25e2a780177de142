"""What a test run asks of all verifications; set by the pytest plugin, without torch."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEFAULTS", "Defaults"]


@dataclass
class Defaults:
    """Options of ``assert_flow_map`` and ``flow_case`` that a test does not give itself.

    Args:
        points: of every sample.
        dtype: name of a torch dtype.
        reports: folder that reports are written to, if there is one.
    """

    points: int = 1024
    dtype: str = "float64"
    reports: Path | None = None


DEFAULTS = Defaults()

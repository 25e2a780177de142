"""Verification as an assertion, for test suites."""

import os
import re
import zlib
from typing import Any

import torch

from flowmaps._typing import Field, Transport
from flowmaps.domains import Domain
from flowmaps.testing._defaults import DEFAULTS
from flowmaps.testing._report import NotAFlowMap, VerificationReport
from flowmaps.testing._verify import verify

__all__ = ["assert_flow_map", "verified"]

_LONGEST = 160
"""Characters of a report's name; file systems take 255."""


def assert_flow_map(
    flow_map: Transport,
    field: Field | None = None,
    domain: Domain | None = None,
    times: tuple[float, float] | None = None,
    **options: Any,
) -> VerificationReport:
    """Assert that a map is the flow map of a field, or a flow, if no field is given.

    Under pytest the number of points, the dtype and a folder for reports come from the options
    ``--flow-max-examples``, ``--flow-dtype`` and ``--flow-report``, unless they are given here.

    Args:
        flow_map, field, domain, times: as for ``verify``.
        options: the others of ``verify``.

    Returns:
        The report.

    Raises:
        NotAFlowMap: an AssertionError, for failures and for any other verdict, "inconclusive" too.
        TypeError, ValueError: as ``verify``.

    Example:
        >>> import torch, flowmaps as fm
        >>> decay = lambda s, t, x: x * torch.exp(s - t)[:, None]
        >>> box = fm.testing.Box(-1.0, 1.0)
        >>> fm.testing.assert_flow_map(decay, lambda t, x: -x, box, (0.0, 1.0)).verdict
        'flow map of the field'
    """
    report = verified(flow_map, field, domain, times, **options)
    report.raise_for_failures()
    wanted = "a flow" if field is None else "flow map of the field"
    if report.verdict != wanted:
        raise NotAFlowMap(f"{report.verdict}, not {wanted!r}: {report.reason}")
    return report


def verified(flow_map: Transport, *arguments: Any, **options: Any) -> VerificationReport:
    """Verify with the test run's defaults, and write the report where the run wants reports.

    Args:
        flow_map, arguments, options: of ``verify``.
    """
    options.setdefault("points", DEFAULTS.points)
    options.setdefault("dtype", getattr(torch, DEFAULTS.dtype))
    report = verify(flow_map, *arguments, **options)
    if DEFAULTS.reports is not None:
        DEFAULTS.reports.mkdir(parents=True, exist_ok=True)
        stem = _name_of_report(_test_name())
        report.to_json(DEFAULTS.reports / f"{stem}.json")
        (DEFAULTS.reports / f"{stem}.md").write_text(report.to_markdown(), encoding="utf-8")
    return report


def _test_name() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "verification").rsplit(" (", 1)[0]


def _name_of_report(test: str) -> str:
    """Return the name of a file for every report: one test may write many, two may look alike."""
    stem = re.sub(r"::|[/\\[\]]", "-", test).strip("-")
    plain = re.sub(r"[^\w.-]+", "-", stem)[:_LONGEST]
    if plain != stem:  # what was left out may be all that tells two tests apart
        plain += f"-{zlib.crc32(test.encode()):08x}"
    DEFAULTS.written[plain] += 1
    count = DEFAULTS.written[plain]
    return plain if count == 1 else f"{plain}-{count}"

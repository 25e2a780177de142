"""Verification: is this map the flow map of that field?

``verify`` measures the properties of flow maps on a seeded sample and returns a report with a
verdict; it works for any callable ``(s, t, x[, condition])``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowmaps.domains import Ball, Box, Points, SubLevel
    from flowmaps.testing import doctor, mutants, properties, strategies
    from flowmaps.testing._asserting import assert_flow_map
    from flowmaps.testing._budget import Budget
    from flowmaps.testing._calibrate import calibrate
    from flowmaps.testing._counterexample import Counterexample
    from flowmaps.testing._draws import Draw, Space
    from flowmaps.testing._interpolated import Interpolated
    from flowmaps.testing._machine import Tally, flow_machine, run_machine
    from flowmaps.testing._property import Property
    from flowmaps.testing._report import NotAFlowMap, PropertyReport, VerificationReport
    from flowmaps.testing._verify import verify
    from flowmaps.testing._view import View
    from flowmaps.testing.doctor import Diagnosis, Finding, diagnose

_WHERE = {
    "Ball": "flowmaps.domains",
    "Box": "flowmaps.domains",
    "Budget": "flowmaps.testing._budget",
    "Counterexample": "flowmaps.testing._counterexample",
    "Diagnosis": "flowmaps.testing.doctor",
    "Draw": "flowmaps.testing._draws",
    "Finding": "flowmaps.testing.doctor",
    "Interpolated": "flowmaps.testing._interpolated",
    "NotAFlowMap": "flowmaps.testing._report",
    "Points": "flowmaps.domains",
    "Property": "flowmaps.testing._property",
    "PropertyReport": "flowmaps.testing._report",
    "Space": "flowmaps.testing._draws",
    "SubLevel": "flowmaps.domains",
    "Tally": "flowmaps.testing._machine",
    "VerificationReport": "flowmaps.testing._report",
    "View": "flowmaps.testing._view",
    "assert_flow_map": "flowmaps.testing._asserting",
    "diagnose": "flowmaps.testing.doctor",
    "flow_machine": "flowmaps.testing._machine",
    "run_machine": "flowmaps.testing._machine",
    "calibrate": "flowmaps.testing._calibrate",
    "verify": "flowmaps.testing._verify",
}
_ROOMS = ("doctor", "mutants", "properties", "strategies")

__all__ = [
    "Ball",
    "Box",
    "Budget",
    "Counterexample",
    "Diagnosis",
    "Draw",
    "Finding",
    "Interpolated",
    "NotAFlowMap",
    "Points",
    "Property",
    "PropertyReport",
    "Space",
    "SubLevel",
    "Tally",
    "VerificationReport",
    "View",
    "assert_flow_map",
    "diagnose",
    "doctor",
    "flow_machine",
    "mutants",
    "calibrate",
    "properties",
    "run_machine",
    "strategies",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in _ROOMS:
        return import_module(f"flowmaps.testing.{name}")
    raise AttributeError(f"module 'flowmaps.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

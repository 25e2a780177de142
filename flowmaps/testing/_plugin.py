"""The pytest plugin: options, and tests over maps and properties. It imports torch in tests alone.

A test with the marker ``flow_maps`` and the fixture ``flow_case`` runs once for every map and every
property::

    MAPS = {"rotation": lambda: {"flow_map": flow, "field": field, "domain": box, "times": (0, 1)}}

    @pytest.mark.flow_maps(MAPS, properties=["identity", "semigroup", "lagrangian"])
    def test_properties(flow_case):
        flow_case.check()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowmaps.testing._defaults import DEFAULTS

if TYPE_CHECKING:
    from flowmaps.testing._report import PropertyReport

__all__ = ["FlowCase"]

_DTYPES = ("float64", "float32", "bfloat16", "float16")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the group flowmaps."""
    group = parser.getgroup("flowmaps", "verification of flow maps")
    group.addoption(
        "--flow-max-examples",
        type=int,
        default=None,
        metavar="N",
        help=f"points at which properties are measured, {DEFAULTS.points} by default",
    )
    group.addoption("--flow-dtype", choices=_DTYPES, default=None, help="dtype of the states")
    group.addoption(
        "--flow-report",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="write every verification as JSON and Markdown to this folder",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take the options over, register the marker and Hypothesis' profile for CI."""
    config.addinivalue_line(
        "markers", "flow_maps(maps, properties=None): run flow_case over maps and properties"
    )
    points = config.getoption("--flow-max-examples")
    if points is not None:
        if points < 1:
            raise pytest.UsageError(f"--flow-max-examples must be at least 1, got {points}")
        DEFAULTS.points = points
    DEFAULTS.dtype = config.getoption("--flow-dtype") or DEFAULTS.dtype
    DEFAULTS.reports = config.getoption("--flow-report")
    if config.getoption("--hypothesis-profile", None) == "flowmaps-ci":
        import hypothesis

        # The same examples in every run, and no limit of time on machines that are shared.
        hypothesis.settings.register_profile(
            "flowmaps-ci", derandomize=True, deadline=None, database=None, print_blob=True
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of every map and property."""
    if "flow_case" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("flow_maps")
    maps, names = _arguments(marker)
    cases = [FlowCase(label, make, name) for label, make in maps.items() for name in names]
    metafunc.parametrize("flow_case", cases, ids=[case.id for case in cases])


def _arguments(marker: pytest.Mark | None) -> tuple[Mapping[str, Any], list[str]]:
    """Return the maps by name and the names of the properties.

    Raises:
        pytest.UsageError: for a marker that is missing or has other arguments.
    """
    wanted = (
        "flow_case needs @pytest.mark.flow_maps({name: function}, properties=[...]), where each "
        "function returns the arguments of flowmaps.testing.verify as a dict"
    )
    if marker is None or len(marker.args) != 1 or set(marker.kwargs) - {"properties"}:
        raise pytest.UsageError(wanted)
    maps, names = marker.args[0], marker.kwargs.get("properties")
    if not isinstance(maps, Mapping) or not all(callable(make) for make in maps.values()):
        raise pytest.UsageError(wanted)
    if names is None:
        from flowmaps.testing.properties import standard

        names = [one.name for one in standard()]
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise pytest.UsageError(
            f'properties must be a list of names such as ["semigroup"], got {names!r}; {wanted}'
        )
    return maps, list(names)


@dataclass(frozen=True)
class FlowCase:
    """One property of one map.

    Args:
        label: of the map.
        make: returns the arguments of ``verify``.
        name: of the property.
    """

    label: str
    make: Callable[[], dict[str, Any]]
    name: str

    @property
    def id(self) -> str:
        """What pytest calls the case."""
        return f"{self.label}-{self.name.replace(' ', '_')}"

    def check(self) -> PropertyReport:
        """Measure the property; fail the test if it fails, skip it if it says nothing.

        Raises:
            NotAFlowMap: if the property fails.
            TypeError: if the map's function does not return the arguments of ``verify``.
        """
        from flowmaps.testing._asserting import verified

        report = verified(**self._arguments(), only=[self.name])
        report.raise_for_failures()
        found = report[self.name]
        if found.status in ("not applicable", "inconclusive"):
            pytest.skip(f"{self.name}: {found.status}, {found.reason}")
        if found.status == "expected failure":
            pytest.xfail(f"{self.name}: {found.reason}")
        return found

    def _arguments(self) -> dict[str, Any]:
        found = self.make()
        if not isinstance(found, Mapping) or "flow_map" not in found or "only" in found:
            got = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise TypeError(
                f"the function of {self.label!r} must return the arguments of "
                'flowmaps.testing.verify as a dict, with "flow_map" and without "only", which '
                f"the case itself gives; got {got}"
            )
        return dict(found)

"""The question: is this map the flow of that field?"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, first_line, is_number
from flowmaps._probing import probe_once
from flowmaps._typing import Count, Field, Transport
from flowmaps._version import __version__
from flowmaps.domains import Domain
from flowmaps.errors import FlowMapError
from flowmaps.maps import FlowMap, NeuralFlowMap, SolverFlowMap, TimeSet
from flowmaps.testing._budget import Budget, Measured, as_budget, measure
from flowmaps.testing._counterexample import Counterexample, screened, simplest
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._report import LEVELS, PropertyReport, VerificationReport
from flowmaps.testing._space import space_of
from flowmaps.testing._subject import Misbehaviour, Subject
from flowmaps.testing._verdict import verdict
from flowmaps.testing._view import View
from flowmaps.testing.properties import (
    Conserved,
    Density,
    Equivariance,
    Reached,
    Symplecticity,
    standard,
)

__all__ = ["verify"]

_PATIENCE = 2.0
"""Seconds for the search of a simpler counterexample, of which at most a few are made."""
_EXAMPLES = 20


def verify(
    flow_map: Transport,
    field: Field | None = None,
    domain: Domain | None = None,
    times: tuple[float, float] | None = None,
    conditions: Any = None,
    derivatives: str = "forward",
    *,
    budget: Budget | float | None = None,
    directions: str | None = None,
    properties: Sequence[Property] = (),
    only: Sequence[str] | None = None,
    conserved: Mapping[str, Callable[..., Tensor]] | None = None,
    symmetries: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    symplectic: bool = False,
    log_density: Callable[..., Tensor] | None = None,
    difference: Callable[[Tensor, Tensor], Tensor] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    event_shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    points: Count = 4096,
    seed: int = 0,
    seconds: float | None = None,
    atol: float = 0.0,
    shrink: bool = True,
) -> VerificationReport:
    """Verify by its properties whether a map is the flow map of a field.

    Every property is measured on one seeded quasi-random sample of states and times, from which all
    quantiles and the verdict come. Where it fails Hypothesis looks for a simpler point.

    Args:
        flow_map: a FlowMap or any callable ``(s, t, x)``, or ``(s, t, x, condition)``; what is no
            FlowMap gets times (batch,) in x's dtype.
        field: ``b(t, x)`` or ``b(t, x, condition)``; without one the verdict is "a flow" at best.
        domain: of states, such as ``flowmaps.testing.Box``.
        times: earliest and latest time.
        conditions: None; a domain of rows (batch, k); a pytree of tensors whose rows are drawn from
            together; or a function ``(n, generator)`` that returns n rows.
        derivatives: "forward" for forward mode; "differences" of values, for black boxes; "none"
            for properties without derivatives alone.
        budget: how far the map may be off: a number declares the relative error of a learned map.
            By default that of the solver for a SolverFlowMap with error control, else rounding.
        directions: "both", "forward" or "backward"; by default those of a FlowMap's own times.
        properties: further ones; see ``Property``.
        only: names of the properties to measure; all by default.
        conserved: quantities ``I(t, x)`` that the flow conserves, by name.
        symmetries: maps ``g(x)`` of batches of states that commute with the flow, by name.
        symplectic: whether the flow is, in (positions, momenta).
        log_density: ``log p_t(x)`` of a law that the flow carries along.
        difference: ``difference(a, b)`` of two states, where that is not a - b, as for angles.
        expected_failures: reasons by the name of a property; one that passes nevertheless fails.
        event_shape: of one state, where that is not one axis of the domain's coordinates.
        dtype, device: of the states; in bfloat16 and float16 values alone are checked.
        points: of the sample.
        seed: of the sample.
        seconds: how long all may take, about; fewer points are measured where it is too short.
        atol: allowed in every residual, in its units.
        shrink: whether to look for simpler counterexamples.

    Returns:
        A VerificationReport.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant, or a field that is not
            per-sample. What the map does wrong is a finding, not an error.

    Example:
        >>> import torch, flowmaps as fm
        >>> field = lambda t, x: -x
        >>> wrong = lambda s, t, x: x * (1 - (t - s))[:, None]
        >>> box = fm.testing.Box([-1.0, -1.0], [1.0, 1.0])
        >>> fm.testing.verify(wrong, field, domain=box, times=(0.0, 1.0)).verdict
        'not a flow'
    """
    space = space_of(flow_map, domain, times, conditions, directions, event_shape, dtype, device)
    _check(flow_map, field, derivatives, seconds)
    points = as_count(points, "points")
    facts = {"symplectic"} if symplectic else set()
    measured = [*standard(), *([Symplecticity()] if symplectic else []), *properties]
    measured += [Conserved(label, one) for label, one in (conserved or {}).items()]
    measured += [Equivariance(label, one) for label, one in (symmetries or {}).items()]
    measured += [] if log_density is None else [Density(log_density)]
    expected = dict(expected_failures or {})
    _check_names("expected_failures", expected, measured)
    if only is not None:
        _check_names("only", only, measured)
        measured = [one for one in measured if one.name in set(only)]
    view = View(
        Subject(flow_map, space.allowed),
        field,
        space,
        "none" if dtype in (torch.bfloat16, torch.float16) else derivatives,
        {},
        torch.sub if difference is None else difference,
    )
    allowance = _budget(flow_map) if budget is None else as_budget(budget)
    if allowance.kind == "solver":
        view = replace(view, step=max(view.step, _step(allowance)))
    draw = space.draw(points, seed)
    if field is not None:
        probe_once(field, draw.s, draw.t, draw.x, draw.condition)
    session = _Session(view, draw, allowance, atol, expected, facts, seconds, shrink)
    found = session.run(measured)
    outcome, reason = verdict(found, field is not None)
    told = {
        "flowmaps": __version__,
        "torch": torch.__version__,
        "map": brief(flow_map),
        "points": points,
        "seed": seed,
        "domain": repr(domain),
        "times": list(space.window),
        "directions": _named(space.allowed),
        "derivatives": view.derivatives,
        "dtype": str(dtype),
        "budget": {"kind": allowance.kind, **_numbers(allowance), "atol": atol},
    }
    return VerificationReport(outcome, reason, tuple(found), told)


def _check_names(what: str, names: Iterable[str], measured: Sequence[Property]) -> None:
    unknown = set(names) - {one.name for one in measured}
    if unknown:
        known = ", ".join(one.name for one in measured)
        raise ValueError(f"{what} names {sorted(unknown)}; properties are {known}")


def _step(budget: Budget) -> float:
    """Return the step at which differences of a solver's values lose as much as their order."""
    return min(0.1, (budget.state / 100) ** 0.2 / 3)


def _numbers(budget: Budget) -> dict[str, float]:
    names = ("state", "absolute", "velocity", "quantile")
    return {name: getattr(budget, name) for name in names}


def _named(allowed: TimeSet) -> str:
    if allowed.forward and allowed.backward:
        return "both"
    return "forward" if allowed.forward else "backward"


def _check(flow_map: Any, field: Any, derivatives: Any, seconds: Any) -> None:
    if not callable(flow_map):
        raise TypeError(f"flow_map must be a callable X(s, t, x), got {brief(flow_map)}")
    if field is not None and not callable(field):
        raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
    if derivatives not in ("forward", "differences", "none"):
        raise ValueError(
            f'derivatives must be "forward", "differences" or "none", got {derivatives!r}'
        )
    if seconds is not None and (not is_number(seconds) or not seconds > 0):
        raise ValueError(f"seconds must be a positive number, got {brief(seconds)}")


def _budget(flow_map: Any) -> Budget:
    """Return what a map of this package may be off by: its solver's tolerances, or rounding."""
    parts = [part for part in flow_map.modules()] if isinstance(flow_map, FlowMap) else []
    if any(isinstance(part, NeuralFlowMap) for part in parts):
        raise ValueError(
            "a learned map needs budget=..., its relative error, as declared or as found by "
            "flowmaps.testing.calibrate(flow_map, reference, ...)"
        )
    solvers = [part.config() for part in parts if isinstance(part, SolverFlowMap)]
    if any(one["steps"] is not None for one in solvers):
        raise ValueError(
            "a map of fixed steps needs budget=..., its relative error, as found by "
            "flowmaps.testing.calibrate(flow_map, reference, ...)"
        )
    if not solvers:
        return Budget()
    rtol, atol = (max(_largest(one[name]) for one in solvers) for name in ("rtol", "atol"))
    return Budget.solver(rtol, atol, max(one["method"].order for one in solvers))


def _largest(tolerance: Any) -> float:
    return float(torch.as_tensor(tolerance).max()) if not is_number(tolerance) else float(tolerance)


@dataclass
class _Session:
    """One verification as it goes from property to property."""

    view: View
    draw: Draw
    budget: Budget
    atol: float
    expected: dict[str, str]
    known: set[str]
    seconds: float | None
    shrink: bool
    honest: bool = True

    def run(self, measured: Sequence[Property]) -> list[PropertyReport]:
        """Measure all properties."""
        wrong = self._first_call()
        if wrong is not None:
            first = PropertyReport("call", "conduct", "failed", wrong, points=2)
            rest = [
                PropertyReport(one.name, one.kind, "not applicable", "the map cannot be called")
                for one in measured
            ]
            return [first, *rest]
        end = None if self.seconds is None else time.monotonic() + self.seconds
        found = [PropertyReport("call", "conduct", "passed", points=2)]
        for k, one in enumerate(measured):
            left = None if end is None else (end - time.monotonic()) / (len(measured) - k)
            found.append(self._expected(self._measured(one, left)))
            doubtful = "failed", "expected failure", "inconclusive"
            if one.name == "derivative honesty" and found[-1].status in doubtful:
                self.honest = False
        return found

    def _first_call(self) -> str | None:
        """Return what is wrong with the values of two samples."""
        try:
            few = self.draw.take(slice(0, 2))
            self.view.map(few.s, few.t, few.x, few.condition)
        except Misbehaviour as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {first_line(error)}"
        return None

    def _missing(self, one: Property) -> str | None:
        """Return what a property needs and there is not."""
        view = self.view
        there = {
            "field": (view.field is not None, "needs the field"),
            "condition": (self.draw.condition is not None, "there are no conditions"),
            "backward": (
                view.space.allowed.forward and view.space.allowed.backward,
                "needs both directions of time",
            ),
            "derivatives": (view.derivatives != "none", "takes derivatives"),
            "forward derivatives": (view.derivatives == "forward", "takes derivatives"),
            "symplectic": ("symplectic" in self.known, "the flow was not said to be symplectic"),
        }
        for name in sorted(one.requires):
            fine, reason = there[name]
            if not fine:
                return reason
        return one.missing(view)

    def _measured(self, one: Property, seconds: float | None) -> PropertyReport:
        missing = self._missing(one)
        if missing is not None:
            return PropertyReport(one.name, one.kind, "not applicable", missing)
        start = time.monotonic()
        rows = self.draw.take(slice(0, max(8, len(self.draw.x) // one.cost)))
        try:
            draw, got = self._in_time(one, rows, seconds)
            report = self._judged(one, draw, got)
        except Exception as error:
            report = _raised(one, error)
        return replace(report, seconds=time.monotonic() - start)

    def _in_time(self, one: Property, draw: Draw, seconds: float | None) -> tuple[Draw, Measured]:
        """Measure at all points, or at as many as there is time for, twice as many every time."""
        if seconds is None:
            return draw, measure(one, self.view, draw, self.budget, self.atol)
        parts, done, start, n = [], 0, time.monotonic(), min(64, len(draw.x))
        while done < len(draw.x):
            part = draw.take(slice(done, done + n))
            parts.append(measure(one, self.view, part, self.budget, self.atol))
            done += len(part.x)
            spent = time.monotonic() - start
            if spent * 3 > seconds:
                break
            n = done
        joined = Measured(*(torch.cat(a) for a in zip(*parts, strict=True)))
        return draw.take(slice(0, done)), joined

    def _judged(self, one: Property, draw: Draw, got: Measured) -> PropertyReport:
        ratio, level = got.ratio, self.budget.quantile
        worst, decides = float(ratio.max()), float(torch.quantile(ratio, level))
        outside = 0.0
        if isinstance(one, Reached):
            outside = float(one.outside(self.view, draw).double().mean())
        failing = float((ratio > 1).double().mean())
        status, reason, example = "passed", "", None
        if not decides <= 1:
            status = "failed"
            reason = f"at {failing:.1%} of the points more than allowed, {worst:.3g} times at worst"
            example = self._example(one, draw, ratio)
        elif float(got.blind.double().mean()) > 1 - min(level, 0.95):
            status, reason = "inconclusive", "what is allowed is as large as what is compared"
        elif outside > 0:
            status = "inconclusive"
            reason = f"{outside:.1%} of the points reached are outside the declared domain"
        needs = {"derivatives", "forward derivatives"} & one.requires
        if status == "passed" and needs and not self.honest and one.kind != "derivatives":
            status, reason = "inconclusive", "the map's derivatives are not those of its values"
        finite = got.value.clamp_max(torch.finfo(torch.float64).max)
        return PropertyReport(
            name=one.name,
            kind=one.kind,
            status=status,
            reason=reason,
            points=len(draw.x),
            worst=worst,
            quantiles={q: float(torch.quantile(finite, q)) for q in LEVELS},
            failing=failing,
            outside=outside,
            counterexample=example,
            draw=draw,
            value=got.value,
            ratio=ratio,
        )

    def _example(self, one: Property, draw: Draw, ratio: Tensor) -> Counterexample:
        """Return the worst point, or a simpler one at which the property still fails."""
        order = ratio.argsort(descending=True)
        worst, simple = draw.take(order[:1]), self.shrink and one.alone

        def got(point: Draw) -> Measured:
            return measure(one, self.view, point, self.budget, self.atol)

        end = time.monotonic() + _PATIENCE

        def failing(points: Draw) -> Tensor:
            if time.monotonic() > end:
                return torch.zeros(len(points.x), dtype=torch.bool, device=points.x.device)
            try:
                return got(points).ratio > 1
            except Exception:
                return torch.zeros(len(points.x), dtype=torch.bool, device=points.x.device)

        if simple and bool(failing(worst)):
            admits = self.view.space.admits
            found = screened(worst, failing, admits)
            if found is not worst:
                worst = found
            else:
                worst = simplest(
                    worst, lambda a: bool(failing(a)), lambda a: bool(admits(a)), examples=_EXAMPLES
                )
            at = got(worst)
            value, most = float(at.value[0]), float(at.ratio[0])
        else:
            simple, value, most = False, float("nan"), float(ratio.max())
        names = "s, t, x" if draw.condition is None else "s, t, x, condition"
        return Counterexample(worst, most, value, one.code(names), simple)

    def _expected(self, report: PropertyReport) -> PropertyReport:
        if report.name not in self.expected:
            return report
        reason = self.expected[report.name]
        if report.status == "failed":
            return replace(report, status="expected failure", reason=reason)
        if report.status == "passed":
            text = f"passed, but was expected to fail: {reason}"
            return replace(report, status="failed", reason=text)
        return report


def _raised(one: Property, error: Exception) -> PropertyReport:
    """Return what an error inside a property says: of the map, or of what it does not pass."""
    text = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, Misbehaviour):
        text = str(error)
    if one.name == "batch consistency under vmap":
        return PropertyReport(one.name, one.kind, "not applicable", f"no vmap: {text}")
    raised = isinstance(error, Misbehaviour) and error.kind == "raises"
    if one.name == "dtype consistency" and raised:
        return PropertyReport(one.name, one.kind, "not applicable", f"of one precision: {text}")
    if one.kind == "derivatives":
        cure = 'choose derivatives="differences" or "none"'
        return PropertyReport(one.name, one.kind, "failed", f"no forward mode: {text}; {cure}")
    if {"derivatives", "forward derivatives"} & one.requires:
        return PropertyReport(one.name, one.kind, "inconclusive", f"no forward mode: {text}")
    if isinstance(error, FlowMapError):
        return PropertyReport(one.name, one.kind, "inconclusive", text)
    if isinstance(error, Misbehaviour):
        return PropertyReport(one.name, one.kind, "failed", text)
    raise error

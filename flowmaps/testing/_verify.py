"""The question: is this map the flow of that field?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, is_number
from flowmaps._probing import probe_once
from flowmaps._typing import Count, Field, Transport
from flowmaps._version import __version__
from flowmaps.domains import Domain
from flowmaps.maps import FlowMap, NeuralFlowMap, SolverFlowMap, TimeSet
from flowmaps.testing._arguments import check_options
from flowmaps.testing._budget import Budget, as_budget
from flowmaps.testing._property import Property
from flowmaps.testing._report import VerificationReport
from flowmaps.testing._session import Session
from flowmaps.testing._space import space_of
from flowmaps.testing._subject import Subject
from flowmaps.testing._verdict import verdict
from flowmaps.testing._view import View
from flowmaps.testing.properties import (
    Conserved,
    Density,
    Equivariance,
    PushForward,
    Symplecticity,
    standard,
)

__all__ = ["verify"]


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
    samples: Callable[..., Tensor] | None = None,
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
        log_density: ``log p_t(x)``, as ``(t, x)``, of a law that the flow carries along.
        samples: ``samples(t, n, generator)`` of such a law, n states at one time t.
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
    claims = {"conserved": conserved, "symmetries": symmetries}
    functions = {"log_density": log_density, "difference": difference}
    check_options(properties, only, claims, functions, expected_failures, seed, atol)
    seed = int(seed)
    points = as_count(points, "points")
    measured = [*standard(), *([Symplecticity()] if symplectic else []), *properties]
    measured += [Conserved(label, one) for label, one in (conserved or {}).items()]
    measured += [Equivariance(label, one) for label, one in (symmetries or {}).items()]
    measured += [] if log_density is None else [Density(log_density)]
    measured += [] if samples is None else [PushForward(samples)]
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
        torch.sub if difference is None else difference,
    )
    allowance = _budget(flow_map) if budget is None else as_budget(budget)
    if allowance.kind == "solver":
        view = replace(view, step=max(view.step, _step(allowance)))
    draw = space.draw(points, seed)
    if field is not None:
        probe_once(field, draw.s, draw.t, draw.x, draw.condition)
    session = Session(view, draw, allowance, atol, seconds, shrink)
    found = session.run(measured)
    outcome, reason = verdict(found, field is not None)
    found = [one.expected(expected[one.name]) if one.name in expected else one for one in found]
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

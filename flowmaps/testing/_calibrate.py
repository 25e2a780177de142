"""How far a learned map is off, measured against a reference: what its budget may declare."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, first_line, is_number
from flowmaps._typing import PerSample, Transport
from flowmaps.domains import Domain
from flowmaps.errors import FlowMapError
from flowmaps.maps import FlowMap
from flowmaps.testing._arguments import check_map, check_options
from flowmaps.testing._budget import Budget
from flowmaps.testing._draws import Draw
from flowmaps.testing._space import space_of
from flowmaps.testing._subject import Misbehaviour, Subject
from flowmaps.testing._view import View, size

__all__ = ["calibrate"]

_CURE = '; if it has no forward mode choose derivatives="differences" or "none"'


def calibrate(
    flow_map: Transport,
    reference: Transport,
    domain: Domain | None = None,
    times: tuple[float, float] | None = None,
    conditions: Any = None,
    quantile: float = 0.95,
    directions: str | None = None,
    points: int = 4096,
    seed: int = 0,
    derivatives: str = "forward",
    *,
    difference: Callable[[Tensor, Tensor], Tensor] | None = None,
    event_shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Budget:
    """Measure how far a learned map is from a reference, as the budget of a verification.

    Errors are relative to the sizes that ``verify`` compares residuals with: values to the larger
    of the states at both ends, derivatives in time to the larger of the speeds there. So a sample
    that starts and ends near zero has a large relative error; it counts as one point of the
    quantile.

    Args:
        flow_map: what is calibrated.
        reference: the flow map that it is compared with, such as ``problem.flow_map()``; one that
            is no FlowMap is differentiated by differences of its values.
        domain, times, conditions, directions, event_shape, dtype, device: as for ``verify``.
        quantile: the part of the points at which the budget suffices.
        points, seed: of the sample; ``verify`` with another seed asks at other points.
        derivatives: "forward" or "differences", of ``flow_map``; with "none", and in bfloat16 and
            float16, values alone are compared, and derivatives are allowed the same.
        difference: ``difference(a, b)`` of two states, where that is not a - b, as for angles.

    Returns:
        ``Budget.learned`` with the quantile of the values' relative error, and as velocity the
        largest of those of d/dt X_{s,t}, d/ds X_{s,t} and d/dt X_{s,t} at t = s.

    Raises:
        TypeError, ValueError: for arguments that cannot be meant, a reference that is not finite, a
            map that fails, or one that is not finite at more points than the quantile leaves out.

    Example:
        >>> import torch, flowmaps as fm
        >>> exact = lambda s, t, x: x * torch.exp(s - t)[:, None]
        >>> learned = lambda s, t, x: x * (torch.exp(s - t) * (1 + 1e-3 * (t - s)))[:, None]
        >>> box, times = fm.testing.Box(-1.0, 1.0), (0.0, 1.0)
        >>> budget = fm.testing.calibrate(learned, exact, box, times, directions="forward")
        >>> f"{budget.state:.5f} {budget.velocity:.5f}"
        '0.00036 0.00100'
        >>> field = lambda t, x: -x
        >>> report = fm.testing.verify(
        ...     learned, field, box, times, budget=budget, directions="forward", seed=1
        ... )
        >>> report.verdict
        'flow map of the field'
    """
    check_map("flow_map", flow_map)
    check_map("reference", reference)
    check_options((), None, {}, {"difference": difference}, None, seed, 0.0)
    _check(quantile, derivatives)
    space = space_of(flow_map, domain, times, conditions, directions, event_shape, dtype, device)
    draw = space.draw(as_count(points, "points"), int(seed))
    values_alone = derivatives == "none" or dtype in (torch.bfloat16, torch.float16)
    compared = torch.sub if difference is None else difference
    learned = View(Subject(flow_map, space.allowed), None, space, derivatives, compared)
    by = "forward" if isinstance(reference, FlowMap) else "differences"
    exact = View(Subject(reference, space.allowed), None, space, by, compared)
    with torch.no_grad():
        state, y = _of_values(learned, exact, draw)
        velocity = None if values_alone else _of_derivatives(learned, exact, draw, y)
    found = [_quantile(state, quantile, "values")]
    for name, error in (velocity or {}).items():
        found.append(_quantile(error, quantile, name))
    return Budget.learned(found[0], None if values_alone else max(found[1:]), float(quantile))


def _check(quantile: Any, derivatives: Any) -> None:
    if not is_number(quantile) or not 0 < quantile <= 1:
        raise ValueError(f"quantile must be above 0 and at most 1, got {brief(quantile)}")
    if derivatives not in ("forward", "differences", "none"):
        raise ValueError(
            f'derivatives must be "forward", "differences" or "none", got {derivatives!r}'
        )


def _of_values(learned: View, exact: View, draw: Draw) -> tuple[PerSample, Tensor]:
    """Return the relative error of values, and the reference's."""
    arguments = draw.s, draw.t, draw.x, draw.condition
    y = _asked("the reference", lambda: exact.map(*arguments))
    _require_finite(y, draw, "values")
    got = _asked("the map", lambda: learned.map(*arguments))
    scale = torch.maximum(size(draw.x), size(y))
    return _relative(size(learned.difference(got, y)), scale), y


def _of_derivatives(learned: View, exact: View, draw: Draw, y: Tensor) -> dict[str, PerSample]:
    """Return the relative errors of derivatives in time, by name."""
    s, t, x, condition = draw.s, draw.t, draw.x, draw.condition
    one = torch.ones_like(s)
    asked = {
        "d/dt": ((s, t, x), {"dt": one}),
        "d/ds": ((s, t, x), {"ds": one}),
        "d/dt at t = s": ((s, s, x), {"dt": one}),
    }
    right: dict[str, Tensor] = {}
    errors: dict[str, Tensor] = {}
    for name, (arguments, along) in asked.items():
        right[name] = _asked("the reference", partial(_slope, exact, arguments, along, condition))
        _require_finite(right[name], draw, f"derivatives {name}")
        asking = partial(_slope, learned, arguments, along, condition)
        got = _asked("the map", asking, "" if learned.derivatives == "differences" else _CURE)
        errors[name] = size(got - right[name])
    scale = torch.maximum(size(right["d/dt"]), size(right["d/dt at t = s"]))
    return {name: _relative(error, scale) for name, error in errors.items()}


def _slope(view: View, arguments: Any, along: dict[str, Tensor], condition: Any) -> Tensor:
    return view.jvp(view.map, *arguments, **along, condition=condition)[1]


def _relative(error: PerSample, scale: PerSample) -> PerSample:
    """Return the error over the scale; zero over zero is zero."""
    tiny = torch.finfo(torch.float64).tiny
    return torch.where(error == 0, 0.0, error / scale.clamp_min(tiny))


def _quantile(error: PerSample, quantile: float, what: str) -> float:
    """Return the error that so many points are within."""
    found = float(error.sort().values[max(0, math.ceil(quantile * len(error)) - 1)])
    if not found < 1e100:
        raise ValueError(
            f"{(error >= 1e100).double().mean():.1%} of the map's {what} are not finite, or off "
            f"where the reference's are zero, more than the quantile {quantile:g} leaves out; look "
            "at flowmaps.testing.verify(flow_map, ...), or give a domain without these points"
        )
    return found


def _asked(who: str, call: Callable[[], Tensor], cure: str = "") -> Tensor:
    """Call a map; what it must not do is named."""
    try:
        return call()
    except Misbehaviour as error:
        raise ValueError(f"{who} cannot be compared: {error}{cure}") from error
    except (FlowMapError, NotImplementedError, RuntimeError) as error:
        told = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(f"{who} cannot be compared: {told}{cure}") from error


def _require_finite(value: Tensor, draw: Draw, what: str) -> None:
    bad = (~torch.isfinite(size(value))).nonzero().flatten().tolist()
    if bad:
        first = draw.take(bad[:1])
        raise ValueError(
            f"the reference's {what} are not finite at {len(bad)} of {len(draw.x)} points, such as "
            f"s = {first.s.item():.4g}, t = {first.t.item():.4g}, "
            f"x = {brief(first.x[0].tolist())}; give times and a domain in which it exists"
        )

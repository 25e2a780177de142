"""How large a residual may be: rounding, amplified by the map itself, and what the user allows."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive, brief, is_number
from flowmaps._typing import Mask, PerSample
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._view import View, size

__all__ = ["Budget", "Measured", "as_budget", "measure", "rounding"]

_ROUNDING = {torch.bfloat16: 8.0, torch.float16: 8.0}
_USUALLY = 256.0
"""Rounding units, of scale and condition, that an exact map may be off by."""
_PROPORTIONAL = 100.0
"""Tolerances that a solve may be off by: global errors are more than local ones."""


@final
@dataclass(frozen=True)
class Budget:
    """How far a map may be from the flow before that is a finding, besides rounding.

    A residual may be (state + absolute / scale) * (scale + condition), where the scale is the size
    of what it is a difference of and the condition is by how much relative errors of everything
    that enters it move it: the map's own amplification of what it is given.

    Args:
        kind: "exact", "solver" or "learned".
        state: error of values, relative to their size.
        absolute: error of values, in their units.
        velocity: error of derivatives in time, relative to the speed.
        quantile: the part of the points that must be within; one but for learned maps.
        order: of a solver, whose derivatives in time are off by up to order + 1 errors a span.

    Raises:
        ValueError: for negative numbers or a quantile outside (0, 1].

    Example:
        >>> import flowmaps as fm
        >>> fm.testing.Budget.solver(rtol=1e-8).state
        1e-06
    """

    kind: str = "exact"
    state: float = 0.0
    absolute: float = 0.0
    velocity: float = 0.0
    quantile: float = 1.0
    order: int = 0

    def __post_init__(self) -> None:
        for name in ("state", "absolute", "velocity"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number of at least 0, got {brief(value)}")
        if not is_number(self.quantile) or not 0 < self.quantile <= 1:
            raise ValueError(f"quantile must be above 0 and at most 1, got {brief(self.quantile)}")

    @classmethod
    def solver(cls, rtol: float, atol: float = 0.0, order: int = 1) -> "Budget":
        """Return the budget of an adaptive solver: a hundred times its tolerances.

        Args:
            rtol, atol: of the local error.
            order: of the method.
        """
        as_positive(rtol, "rtol")
        return cls("solver", _PROPORTIONAL * rtol, _PROPORTIONAL * atol, order=order)

    @classmethod
    def learned(
        cls, state: float, velocity: float | None = None, quantile: float = 0.95
    ) -> "Budget":
        """Return the budget of a map whose accuracy is declared; the verdict is about a quantile.

        Args:
            state: error of values, relative to their size.
            velocity: error of derivatives, relative to the speed; like ``state`` by default.
            quantile: the part of the points that must be within.
        """
        return cls("learned", state, 0.0, state if velocity is None else velocity, quantile)


def rounding(dtype: torch.dtype) -> float:
    """Return the relative error that an exact map may have in a precision."""
    return _ROUNDING.get(dtype, _USUALLY) * torch.finfo(dtype).eps


def as_budget(budget: Any) -> Budget:
    """Return a budget; a number declares the accuracy of a learned map.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(budget, Budget):
        return budget
    if is_number(budget):
        return Budget.learned(float(as_positive(budget, "budget")))
    raise TypeError(
        "budget must be a number, the relative error of a learned map, or a "
        f"flowmaps.testing.Budget such as Budget.solver(rtol=1e-6), got {brief(budget)}"
    )


class Measured(NamedTuple):
    """A residual at every point: its size, what is allowed, and where the latter means nothing."""

    value: PerSample
    allowed: PerSample
    blind: Mask

    def take(self, rows: list[int]) -> "Measured":
        """Return what was measured at these points."""
        return Measured(*(part[rows] for part in self))

    @property
    def ratio(self) -> PerSample:
        """The size over what is allowed; above one the property fails."""
        tiny = torch.finfo(torch.float64).tiny
        return torch.where(self.value == 0, 0.0, self.value / self.allowed.clamp_min(tiny))


def measure(prop: Property, view: View, draw: Draw, budget: Budget, atol: float = 0.0) -> Measured:
    """Measure a property at all points of a draw.

    What is allowed beside the scale of a residual, for its condition and for quadratures and
    differences, takes many more evaluations: it is found where a point would fail without.

    Args:
        prop: what to measure.
        view: the map and the field.
        draw: where.
        budget: what is allowed besides rounding.
        atol: allowed everywhere, in the units of the residual.
    """
    value, scale = size(prop.residual(view, draw)), prop.scale(view, draw)
    relative, rest = _relative(prop, view, draw, budget, scale)
    allowed = atol + relative * scale + rest
    rows = (~(value <= allowed)).nonzero()[:, 0]
    if len(rows):
        if not prop.alone:  # its residual is that of a batch
            rows = torch.arange(len(value), device=value.device)
        more = _amplified(prop, view, draw.take(rows), relative, scale[rows])
        allowed = allowed.index_add(0, rows, more)
    return Measured(value, allowed, allowed > 0.5 * scale + atol)


def _relative(
    prop: Property, view: View, draw: Draw, budget: Budget, scale: PerSample
) -> tuple[Tensor, PerSample]:
    """Return what is allowed of scale and condition, and what is besides."""
    typical = scale.mean().clamp_min(torch.finfo(torch.float64).tiny)
    # A learned map may be far from the flow; with itself it agrees to rounding.
    itself = budget.kind == "learned" and prop.kind in ("conduct", "derivatives")
    off, slow = (0.0, 0.0) if itself else (budget.state, budget.velocity)
    if prop.units == "number" and "forward derivatives" in prop.requires:
        off = max(off, slow)  # they are made of Jacobians
    relative = rounding(prop.dtype(draw)) + off + budget.absolute / typical
    rest = prop.resolution(draw) * scale
    rest = rest + rounding(prop.dtype(draw)) * getattr(view.typical, prop.units)
    if prop.units == "velocity":
        rest = rest + slow * scale
        if budget.order and prop.kind == "field":
            rate = (budget.order + 1) / (draw.t - draw.s).abs().clamp_min(1e-300)
            error = (budget.state + budget.absolute / typical) * view.state_scale(draw)
            rest = rest + rate * error
    return relative, rest


def _amplified(
    prop: Property, view: View, draw: Draw, relative: Tensor, scale: PerSample
) -> PerSample:
    """Return what is allowed for the condition of a residual, and for how it is computed.

    That is anything where quadratures differ by more than what is compared: they do not see how
    fast it changes, so their difference tells nothing of the error.
    """
    residual = prop.residual(view, draw)
    condition = prop.condition(view, draw) if prop.conditioned else torch.zeros_like(scale)
    by_differences = view.derivatives == "differences" and "derivatives" in prop.requires
    if not (prop.approximate or by_differences):
        return relative * condition
    # Two coarser ones: from one alone it would be small wherever two errors happen to be alike.
    coarse = prop.residual(view.coarser(), draw)
    coarser = prop.residual(view.coarser().coarser(), draw)
    near, far = _change(coarse, residual), _change(coarser, coarse)
    error = torch.maximum(2 * near, far / 2)
    unseen = prop.approximate & (error > 0.5 * scale) & torch.isfinite(size(residual))
    return relative * condition + torch.where(unseen, torch.inf, error)


def _change(a: Tensor, b: Tensor) -> PerSample:
    """Return how far two residuals are apart; zero where that is not finite."""
    return size(a - b).nan_to_num(posinf=0.0)

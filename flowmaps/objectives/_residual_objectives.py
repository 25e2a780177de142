"""Residuals of a known field: learn a surrogate of its flow map from the right-hand side alone."""

from collections.abc import Sequence

from torch import Tensor

from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._composed import Composed
from flowmaps.objectives._points import AtStates
from flowmaps.objectives._term import Derivative, Term, Weight
from flowmaps.objectives._times import SortedPair, TimeLaw
from flowmaps.objectives.principles import eulerian, lagrangian
from flowmaps.objectives.teachers import Known

__all__ = ["eulerian_residual", "lagrangian_residual"]


def lagrangian_residual(
    field: Field | FlowMap,
    times: TimeLaw | None = None,
    scale: Tensor | Sequence[float] | None = None,
    routing: str = "full",
    weight: Weight = 1.0,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return the objective E w |d/dt X_{s,t}(x) - b(t, X_{s,t}(x))|^2 over states x of a set.

    Zero exactly at the flow map of b, given X_{s,s} = id. The set should be forward-invariant: a
    map is learned only where its images stay among the points.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``; a flow map serves through its velocity.
        times: law of (s, t); None for ``SortedPair()``. ``FromStart()`` for an autonomous field.
        scale: units of the residual's coordinates, divided out, shape of an event; None for one.
        routing: ``"full"``; ``"target"`` stops the gradient in b(t, X), leaving the derivative's:
            stabler far from the solution; ``"value"`` leaves it to the mean velocity alone.
        weight: w, a number or a function of s and t (rows,) each.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, Lagrangian map distillation;
        Wang and Perdikaris (2021), arXiv:2106.05384, for learning from the right-hand side alone.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.lagrangian_residual(lambda t, x: torch.ones_like(x))
        >>> source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 2.0))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective(drift, objective.draw(source, batch=16)).total.item()
        0.0
    """
    term = Term(
        "lagrangian",
        lagrangian,
        Known(field),
        routing,
        weight=weight,
        scale=scale,
        derivative=derivative,
    )
    return Composed(times or SortedPair(), AtStates(), [term], reduction=reduction)


def eulerian_residual(
    field: Field | FlowMap,
    times: TimeLaw | None = None,
    scale: Tensor | Sequence[float] | None = None,
    routing: str = "full",
    weight: Weight = 1.0,
    reduction: str = "sum",
    derivative: str | Derivative = "forward",
) -> Composed:
    """Return the objective E w |d/ds X_{s,t}(x) + DX_{s,t}(x) b(s, x)|^2 over states x of a set.

    Linear in the map, and b is asked at the points alone, never at the map's images. It carries
    information along the characteristics that enter at X_{t,t} = id, so the set must be
    forward-invariant.

    Args:
        field: ``b(t, x)`` or ``b(t, x, condition)``; a flow map serves through its velocity.
        times: law of (s, t); None for ``SortedPair()``. ``FromStart()`` only for a map of t - s
            alone, such as ``fm.maps.Autonomous(step, span)``: elsewhere one start time says nothing
            of d/ds.
        scale: units of the residual's coordinates, divided out, shape of an event; None for one.
        routing: ``"full"``; ``"target"`` stops the gradient in DX b; ``"value"`` leaves it to the
            mean velocity alone.
        weight: w, a number or a function of s and t (rows,) each.
        reduction: ``"sum"`` (|.|^2) or ``"mean"`` over a sample's coordinates.
        derivative: ``"forward"``, ``"differences"`` or ``"dual"``, as ``Term`` says.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, Eulerian map distillation.

    Example:
        >>> import torch, flowmaps as fm
        >>> objective = fm.objectives.eulerian_residual(lambda t, x: torch.ones_like(x))
        >>> source = fm.objectives.Domain(fm.domains.Box([-1.0], [1.0]), (0.0, 2.0))
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> objective(drift, objective.draw(source, batch=16)).total.item()
        0.0
    """
    term = Term(
        "eulerian",
        eulerian,
        Known(field),
        routing,
        weight=weight,
        scale=scale,
        derivative=derivative,
    )
    return Composed(times or SortedPair(), AtStates(), [term], reduction=reduction)

"""One square in an objective."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import brief, is_number
from flowmaps.calculus._derivative import Derivative, as_derivative
from flowmaps.interpolants import Interpolant
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._learned import require_both_directions, require_teacher_times
from flowmaps.objectives._metrics import Metric, Square, Squared, check_metric
from flowmaps.objectives._over_times import OverTimes
from flowmaps.objectives._routing import ROUTINGS, check_routing
from flowmaps.objectives._spelling import spelled
from flowmaps.objectives._weights import StepWeight
from flowmaps.objectives.principles import Principle, lagrangian, recorded
from flowmaps.objectives.teachers import Teacher

__all__ = ["Derivative", "Term", "Weight"]

ROWS = ("all", "diagonal", "off diagonal")


Weight = float | Callable[[Tensor, Tensor], Tensor] | StepWeight
"""A number, or ``weight(s, t) -> (rows,)`` of the times (rows,), float64, or a ``StepWeight``."""


@final
class Term(nn.Module):
    """One square in an objective: a principle, its teacher, the routing, its rows and weight.

    Args:
        name: of the part in ``Loss.parts``.
        principle: ``principle(learned, teacher, draw, routing) -> residual (rows, *event)``.
        teacher: ``teacher(learned, draw)`` returns the field or flow map to compare with, from
            ``fm.objectives.teachers``: ``data``, ``own`` or ``Known(field)``.
        routing: what carries gradient: ``"full"``, both sides of the relation; ``"target"``, all
            but the teacher's side; ``"value"``, the mean velocity alone; ``"state"``, X_{s,t}(x)
            alone, of the Lagrangian principle. A principle may know fewer.
        rows: the rows it applies to: ``"all"``, ``"diagonal"`` or ``"off diagonal"``.
        weight: factor in the total: a number, a function of s and t (rows,) each, or a
            ``StepWeight``.
        scale: units of the residual's coordinates, divided out; shape of an event, None for one.
        metric: of the residual, such as ``PseudoHuber(c)``; None for its square.
        derivative: how the derivatives of a relation are taken: ``"forward"``, by forward mode;
            ``"differences"``, by ``fm.calculus.Differences()``, plain evaluations alone;
            ``"dual"``, by the network's own method ``dual``, see ``fm.calculus.dual``; or
            what is called as ``fm.calculus.jvp`` is.

    Raises:
        TypeError: for a weight that is none or a metric that is none, a ``Between`` with a
            principle that does not compare states, or ``OverTimes`` with one that is not of paths;
            at a call, if the weight returns no tensor, or the teacher is not one that the principle
            can be asked of: ``data`` with ``lagrangian``, and with ``eulerian`` unless the routing
            is "value" or "target".
        ValueError: for another routing, other rows or another derivative, a derivative for a
            principle that takes none, a negative weight or a scale that is not positive; at a call,
            if weight or scale have another shape.

    Example:
        >>> import flowmaps as fm
        >>> o = fm.objectives
        >>> term = o.Term("mean flow", o.principles.eulerian, o.teachers.data, "value")
        >>> term  # doctest: +NORMALIZE_WHITESPACE
        Term('mean flow', eulerian, teacher=data, routing='value', rows='all', weight=1.0,
             scale=None)
        >>> mean_flow = o.Composed(o.Mixed(0.25), o.OnInterpolant(fm.interpolants.Linear()), [term])
    """

    scale: Tensor | None

    def __init__(
        self,
        name: str,
        principle: Principle,
        teacher: Teacher,
        routing: str = "full",
        rows: str = "all",
        weight: Weight = 1.0,
        scale: Tensor | Sequence[float] | None = None,
        metric: Metric | None = None,
        derivative: str | Derivative = "forward",
    ):
        super().__init__()
        if rows not in ROWS:
            raise ValueError(f"rows must be one of {ROWS}, got {rows!r}")
        _check_weight(weight)
        _check_teacher(teacher)
        check_routing(routing)
        _check_principle(principle, routing)
        self.derivative, self._differentiate = derivative, as_derivative(derivative)
        if derivative != "forward" and not hasattr(principle, "takes_derivative"):
            raise ValueError(
                f"the principle {spelled(principle)} takes no derivative, so that none is to be "
                f"chosen; got derivative={spelled(derivative)}"
            )
        self.metric = check_metric(metric)
        _check_metric_of(self.metric, principle)
        self.name, self.principle, self.teacher = name, principle, teacher
        self.routing, self.rows, self.weight = routing, rows, weight
        units = None if scale is None else torch.as_tensor(scale)
        if units is not None and not bool(((units > 0) & units.isfinite()).all()):
            raise ValueError(f"scale must be positive and finite, got {units.tolist()}")
        self.register_buffer("scale", units, persistent=False)

    def forward(self, learned: FlowMap, draw: Draw, target: FlowMap | None = None) -> Tensor:
        """Return the residual (rows, *event) on a draw of this term's rows."""
        return self._scaled(self._asked(self.principle, learned, draw, target), draw)

    def values(
        self, learned: FlowMap, draw: Draw, square: Square, target: FlowMap | None = None
    ) -> Tensor:
        """Return the metric of every row's residual (rows,), before the weight."""
        if not self.metric.compares:
            return self.metric(self(learned, draw, target), square)
        reached, known = self._asked(self.principle.sides, learned, draw, target)  # type: ignore[attr-defined]
        pair = self._scaled(reached, draw), self._scaled(known, draw)
        return self.metric.compare(*pair)  # type: ignore[attr-defined]

    def _asked(
        self, ask: Callable[..., Any], learned: FlowMap, draw: Draw, target: FlowMap | None
    ) -> Any:
        teacher = self.teacher(learned if target is None else target, draw)
        given: dict[str, Any] = {}
        if hasattr(self.principle, "takes_target"):
            given["target"] = target
        if hasattr(self.principle, "takes_derivative"):
            given["derivative"] = self._differentiate
        return ask(learned, teacher, draw, self.routing, **given)

    def _scaled(self, residual: Tensor, draw: Draw) -> Tensor:
        if self.scale is None:
            return residual
        event = draw.points.shape[1:]
        if self.scale.shape != event:
            raise ValueError(
                f"scale must have the shape of an event, {tuple(event)}, "
                f"got {tuple(self.scale.shape)}"
            )
        return residual / self.scale.to(residual.dtype)

    def extra_repr(self) -> str:
        """Return the term's choices, for whoever reads a printed objective or a run's folder."""
        scale = None if self.scale is None else self.scale.tolist()
        plain = isinstance(self.metric, Squared)
        metric = "" if plain else f", metric={spelled(self.metric)}"
        usual = self.derivative == "forward"
        derivative = "" if usual else f", derivative={spelled(self.derivative)}"
        teacher = (
            "" if isinstance(self.teacher, nn.Module) else f"teacher={spelled(self.teacher)}, "
        )
        return (
            f"{self.name!r}, {spelled(self.principle)}, {teacher}routing={self.routing!r}, "
            f"rows={self.rows!r}, weight={spelled(self.weight)}, scale={scale}{metric}{derivative}"
        )

    def span(self, draw: Draw) -> tuple[int, int]:
        """Return the first of this term's rows and the one after its last."""
        first = draw.diagonal if self.rows == "off diagonal" else 0
        return first, draw.diagonal if self.rows == "diagonal" else len(draw)

    def check(self, draw: Draw, learned: FlowMap | None = None) -> None:
        """Refuse a draw or a map that the term cannot do with, before there is a step.

        Raises:
            UntrainedTimes: if the map is not for both directions and the term asks it for both, or
                a flow map that teaches is not for the times of the draw.
            TypeError: if the map has not what the derivative is taken by.
            ValueError: if the draw lacks what the term needs, or a weight is negative at its times,
                which no call looks at, or is not a number.
        """
        if learned is not None and getattr(self.principle, "goes_back", False):
            require_both_directions(learned, self.name)
        if learned is not None and hasattr(self._differentiate, "check"):
            self._differentiate.check(learned)  # type: ignore[attr-defined]
        first, stop = self.span(draw)
        for needed in {*_needs(self.principle), *_needs(self.teacher)}:
            if first < stop and getattr(draw, needed) is None:
                raise ValueError(f"the term {self.name!r} asks the draw for {_LACKING[needed]}")
        if first < stop:
            self._check_teacher_times(draw[first:stop])
        if callable(self.weight) and first < stop:
            rows = draw[first:stop]
            with torch.no_grad():
                weights = self.weighted(torch.ones_like(rows.s), rows)
            if not bool((weights >= 0).all()):
                raise ValueError(f"weight(s, t) must not be negative, got {weights.min().item():g}")

    def _check_teacher_times(self, rows: Draw) -> None:
        """Raise UntrainedTimes if a flow map that teaches is not for the times that it is asked."""
        given = getattr(self.teacher, "given", None)
        if isinstance(given, FlowMap) and hasattr(self.principle, "asks"):
            for s, t in self.principle.asks(rows):
                require_teacher_times(given, s, t, self.name)

    def weighted(self, values: Tensor, draw: Draw) -> Tensor:
        """Return values (rows,) times the weight at each row's times."""
        if isinstance(self.weight, StepWeight):
            return self.weight.of(draw).to(values) * values
        if not callable(self.weight):
            return self.weight * values
        weight = self.weight(draw.s, draw.t)
        if not isinstance(weight, Tensor):
            raise TypeError(
                f"weight(s, t) must return a tensor of shape {tuple(values.shape)}, "
                f"got {brief(weight)}; for a constant give the number itself"
            )
        if weight.shape != values.shape:
            raise ValueError(
                f"weight(s, t) must have the shape of s, {tuple(values.shape)}, "
                f"got {tuple(weight.shape)}"
            )
        return weight.to(values) * values


def _check_metric_of(metric: Metric, principle: Principle) -> None:
    """Raise TypeError for a metric of what the principle does not return."""
    if metric.compares and not hasattr(principle, "sides"):
        raise TypeError(
            f"the metric Between compares two states, and the principle {spelled(principle)} has "
            "one residual; take recorded, whole_path, Consistency or Chained, or another metric"
        )
    if isinstance(metric, OverTimes) and not getattr(principle, "paths", False):
        raise TypeError(
            f"OverTimes is a metric of paths, and the principle {spelled(principle)} compares at "
            "one time; take whole_path, or the metric inside OverTimes alone"
        )


def _check_principle(principle: Principle, routing: str) -> None:
    """Raise ValueError unless the principle knows the routing."""
    if principle is recorded and routing == "value":
        raise ValueError(
            'the principle recorded has nothing to stop: its routing is "full", got "value"'
        )
    others = ROUTINGS if principle is lagrangian else tuple(r for r in ROUTINGS if r != "state")
    known = getattr(principle, "routings", others)
    if routing not in known:
        raise ValueError(
            f"the routings of the principle {spelled(principle)} are {known}, got {routing!r}"
        )


_LACKING = {
    "velocity": "its velocity, and there is none; draw it from Pairs with an interpolant",
    "images": "recorded states, and there are none; draw it from Trajectories by OnTrajectories()",
    "u": "middle times u, and there are none; give the objective a law of them, middles=",
    "condition": "a condition, and there is none; give it to the source of the draw",
}


def _needs(part: Any) -> tuple[str, ...]:
    """Return what a principle or a teacher takes of a draw that not every law brings."""
    return getattr(part, "needs", ())


def _check_teacher(teacher: Any) -> None:
    """Raise TypeError for what is no teacher, above all for what Known is to be made of."""
    if isinstance(teacher, FlowMap | type | Interpolant) or not callable(teacher):
        raise TypeError(
            "teacher must be called as teacher(learned, draw), as those of fm.objectives.teachers "
            f"are: data, own, or Known(field), got {spelled(teacher)}"
        )


def _check_weight(weight: Weight) -> None:
    """Raise unless the weight is a number that is not negative, a function, or a StepWeight."""
    if isinstance(weight, StepWeight) or callable(weight):
        return
    if not is_number(weight):
        raise TypeError(f"weight must be a number or weight(s, t), got {brief(weight)}")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"weight must be finite and not negative, got {weight}")

"""Who supplies what a learned map is compared with: the data, a known field, or the map itself.

A teacher is called with the learned map and the draw and returns a field ``(t, x[, condition])`` or
a flow map, which serves as field through its velocity. It decides whose values are used; how the
gradient treats them is the routing's part.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import brief, is_number
from flowmaps._probing import probe_once
from flowmaps._typing import Field
from flowmaps.fields import forgotten
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._freezing import Freezer
from flowmaps.objectives._given import check_given
from flowmaps.objectives._routing import constant
from flowmaps.objectives._spelling import spelled

__all__ = ["DrawnVelocity", "GuidedData", "Known", "Teacher", "as_field", "as_map", "data", "own"]

Teacher = Callable[[FlowMap, Draw], Field | FlowMap]


class DrawnVelocity:
    """The velocity drawn with the points, as a field that holds at them alone."""

    def __init__(self, velocity: Tensor):
        self.velocity = velocity

    def __call__(self, t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        """Return the drawn velocity, whatever is asked."""
        return self.velocity


def data(learned: FlowMap, draw: Draw) -> DrawnVelocity:
    """Return the velocity drawn with the points, valid at them alone: the field plus noise.

    Its conditional mean given the point is the field, so it may stand for the field where the
    residual is linear in it and what multiplies it carries no gradient: in the tangent principle,
    and in the Eulerian one under the routings "value" and "target", not "full".

    Args:
        learned: not asked.
        draw: with a velocity, as drawn from ``Pairs`` by an interpolant.

    Raises:
        ValueError: for a draw without a velocity.

    Source:
        Geng et al. (2025), arXiv:2505.13447, for data's velocity in the Eulerian relation.

    Example:
        >>> import torch, flowmaps as fm
        >>> zero, one = torch.zeros(1), torch.ones(1, 1)
        >>> draw = fm.objectives.Draw(zero, zero, one, velocity=2 * one)
        >>> fm.objectives.teachers.data(fm.maps.Identity(), draw)(draw.s, draw.points).item()
        2.0
    """
    if draw.velocity is None:
        raise ValueError("the draw carries no velocity; draw it from Pairs with an interpolant")
    return DrawnVelocity(draw.velocity)


data.needs = ("velocity",)  # type: ignore[attr-defined]


@final
class GuidedData:
    """omega I' + kappa v(x; c) + (1 - omega - kappa) v(x; none): guidance mixed in the loss.

    I' is the drawn velocity, v the learned map's own at s = t, stopped. The field learned is that
    of classifier-free guidance with scale omega / (1 - kappa), in one evaluation a step later. To
    be learned the condition "none" must be among the draws: see ``Forgetting``.

    Args:
        omega: share of the drawn velocity.
        kappa: share of the map's own conditional velocity, below 1.
        empty: the condition "none": a value for every row, or a pytree of them like the condition.

    Raises:
        TypeError, ValueError: for shares that are no numbers, or kappa not below 1; at a call,
            ValueError for a draw without velocity or condition.

    Source:
        Geng et al. (2025), arXiv:2505.13447, equation 21.

    Example:
        >>> import torch, flowmaps as fm
        >>> one = torch.ones(1, 1)
        >>> draw = fm.objectives.Draw(one[0], one[0], one, velocity=2 * one, condition=one[0])
        >>> still = fm.maps.ExactFlowMap(lambda s, t, x, c: x)
        >>> teacher = fm.objectives.teachers.GuidedData(omega=2.0, kappa=0.0, empty=0.0)
        >>> teacher(still, draw)(draw.s, draw.points).item()
        4.0
    """

    needs = ("velocity", "condition")

    def __init__(self, omega: float, kappa: float = 0.0, empty: Any = 0):
        for name, value in (("omega", omega), ("kappa", kappa)):
            if not is_number(value):
                raise TypeError(f"{name} must be a number, got {brief(value)}")
        if not kappa < 1:
            raise ValueError(f"kappa must be below 1, got {kappa}")
        self.omega, self.kappa, self.empty = float(omega), float(kappa), empty

    def __call__(self, learned: FlowMap, draw: Draw) -> DrawnVelocity:
        """Return the mixed velocity, valid at the draw's points alone."""
        if draw.condition is None:
            raise ValueError("guidance asks for a condition; give it to the source of the draw")
        everyone = torch.ones(len(draw), dtype=torch.bool, device=draw.points.device)
        none = forgotten(draw.condition, everyone, self.empty)

        def mixed() -> Tensor:
            with_condition = learned.velocity(draw.s, draw.points, draw.condition)
            without = learned.velocity(draw.s, draw.points, none)
            drawn = data(learned, draw).velocity
            rest = 1 - self.omega - self.kappa
            return self.omega * drawn + self.kappa * with_condition + rest * without

        return DrawnVelocity(constant(mixed))


def own(learned: FlowMap, draw: Draw) -> FlowMap:
    """Return the learned map as it is now: self-distillation.

    Args:
        learned: the map.
        draw: not asked.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825.

    Example:
        >>> import torch, flowmaps as fm
        >>> still = fm.maps.Identity()
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.ones(1, 1))
        >>> fm.objectives.teachers.own(still, draw) is still
        True
    """
    return learned


@final
class Known(nn.Module):
    """A field or a flow map given from outside.

    A module is copied and frozen when it is given, so that training does not change it even where
    the learned map started from the very same weights. So are modules held by what is given: that
    it is a method of, that a ``functools.partial`` binds, or that a function uses as a variable of
    an outer function or as a default. Not found are modules behind global variables, in containers
    and in objects of other kinds: give the module itself. Gradients with respect to its inputs
    flow.

    Args:
        given: ``b(t, x)`` or ``b(t, x, condition)``, or a flow map.

    Raises:
        TypeError: for what cannot be called so: a class, an interpolant, a function of other
            arguments.

    Example:
        >>> import torch, flowmaps as fm
        >>> teacher = fm.objectives.teachers.Known(lambda t, x: -x)
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.ones(1, 1))
        >>> teacher(fm.maps.Identity(), draw)(draw.t, draw.points).item()
        -1.0
    """

    given: Callable[..., Tensor]

    def __init__(self, given: Field | FlowMap):
        check_given(given)
        super().__init__()
        freezer = Freezer()
        self.given = freezer.frozen(given)
        # the copies are parts, so that they move with the objective
        self.held = nn.ModuleList(part for part in freezer.copies if part is not self.given)

    def extra_repr(self) -> str:
        """Return the field's name; a module is shown as a part."""
        if isinstance(self.given, nn.Module):
            return ""
        return spelled(self.given)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Known":
        """Freeze the given field anew: a copied function would go on using the first copies."""
        return Known(self.given)

    def forward(self, learned: FlowMap, draw: Draw) -> Field | FlowMap:
        """Return what was given."""
        return self.given

    def check(self, draw: Draw) -> None:
        """Refuse a field that does not treat every sample of a draw alone.

        Raises:
            ValueError: names the cure.
        """
        if not isinstance(self.given, FlowMap):
            probe_once(self.given, draw.s, draw.t, draw.points, draw.condition)

    def train(self, mode: bool = True) -> "Known":
        """Stay in eval mode, whatever is asked of the objective."""
        return super().train(False)


def as_field(teacher: Field | FlowMap) -> Field:
    """Return what a teacher supplied as a field."""
    return teacher.velocity if isinstance(teacher, FlowMap) else teacher


def as_map(teacher: Field | FlowMap) -> FlowMap:
    """Return what a teacher supplied as a flow map; raise TypeError if it is a field."""
    if not isinstance(teacher, FlowMap):
        raise TypeError(
            "the semigroup principle asks its teacher for a flow map, got a field; give a flow "
            "map such as fm.maps.SolverFlowMap(field)"
        )
    return teacher

"""Who supplies what a learned map is compared with: the data, a known field, or the map itself.

A teacher is called with the learned map and the draw and returns a field ``(t, x[, condition])`` or
a flow map, which serves as field through its velocity. It decides whose values are used; how the
gradient treats them is the routing's part.
"""

from collections.abc import Callable
from typing import Any, final

from torch import Tensor, nn

from flowmaps._checks import brief
from flowmaps._probing import probe_once
from flowmaps._typing import Field
from flowmaps.maps import FlowMap
from flowmaps.objectives._draw import Draw
from flowmaps.objectives._freezing import Freezer
from flowmaps.objectives._spelling import spelled

__all__ = ["DrawnVelocity", "Known", "Teacher", "as_field", "as_map", "data", "own"]

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
        TypeError: if it cannot be called.

    Example:
        >>> import torch, flowmaps as fm
        >>> teacher = fm.objectives.teachers.Known(lambda t, x: -x)
        >>> draw = fm.objectives.Draw(torch.zeros(1), torch.ones(1), torch.ones(1, 1))
        >>> teacher(fm.maps.Identity(), draw)(draw.t, draw.points).item()
        -1.0
    """

    given: Callable[..., Tensor]

    def __init__(self, given: Field | FlowMap):
        if not callable(given):
            raise TypeError(
                "the teacher must be a field, callable as (t, x) or (t, x, condition), or a flow "
                f"map, got {brief(given)}"
            )
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

"""What tells the flow of a field from other flows: the equations of section 1 of the theory."""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor

from flowmaps import residuals
from flowmaps._typing import Mask, PerSample
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._view import View, condition_of, size

__all__ = [
    "Eulerian",
    "EulerianReached",
    "IntegralLagrangian",
    "Lagrangian",
    "Reached",
    "Tangent",
    "TangentReached",
]

_OF_FIELD = frozenset({"field", "derivatives"})


class _Equation(Property):
    """An equation between a derivative of the map and the field."""

    kind = "field"
    requires = _OF_FIELD
    units = "velocity"

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        own = arguments.replace("s, t, x", "s, x") if self.name.startswith("tangent") else arguments
        return f"fm.residuals.{self.name.split()[0]}(flow_map, field, {own})"


@final
class Tangent(_Equation):
    """d/dt X_{s,t}(x) at t = s is b(s, x)."""

    name = "tangent"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the derivative at t = s minus b(s, x)."""
        assert view.field is not None
        return residuals.tangent(
            view.map, view.field, draw.s, draw.x, draw.condition, check_field=False, by=view.jvp
        )


@final
class Lagrangian(_Equation):
    """d/dt X_{s,t}(x) = b(t, X_{s,t}(x))."""

    name = "lagrangian"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return d/dt X_{s,t}(x) - b(t, X_{s,t}(x))."""
        assert view.field is not None
        s, _, t, x = draw[:4]
        return residuals.lagrangian(
            view.map, view.field, s, t, x, draw.condition, check_field=False, by=view.jvp
        )


@final
class Eulerian(_Equation):
    """d/ds X_{s,t}(x) + DX_{s,t}(x) b(s, x) = 0."""

    name = "eulerian"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return d/ds X_{s,t}(x) + DX_{s,t}(x) b(s, x)."""
        assert view.field is not None
        s, _, t, x = draw[:4]
        return residuals.eulerian(
            view.map, view.field, s, t, x, draw.condition, check_field=False, by=view.jvp
        )

    def scale(self, view: View, draw: Draw) -> PerSample:
        """Return the speed, or the size of one term, (batch,)."""
        term = size(_start_derivative(view, draw)).nan_to_num(posinf=0.0)
        return torch.maximum(super().scale(view, draw), term)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return the larger of the sum's and of one term's, (batch,).

        Two terms cancel, and disturbances of the map move both alike; what rounds is each of them.
        """
        of_term = condition_of(lambda each: _start_derivative(each, draw), view, draw.x.dtype)
        return torch.maximum(super().condition(view, draw), of_term)


def _start_derivative(view: View, draw: Draw) -> Tensor:
    return view.jvp(view.map, draw.s, draw.t, draw.x, ds=1.0, condition=draw.condition)[1]


@final
class IntegralLagrangian(Property):
    """X_{s,t}(x) = x + int_s^t b(r, X_{s,r}(x)) dr, which no derivative of the map enters."""

    name, kind = "integral lagrangian", "field"
    requires = frozenset({"field"})
    approximate = True

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the difference of both sides, by Gauss and Legendre's quadrature."""
        assert view.field is not None
        s, _, t, x = draw[:4]
        return residuals.integral_lagrangian(
            view.map,
            view.field,
            s,
            t,
            x,
            draw.condition,
            nodes=view.nodes,
            check_field=False,
            difference=view.difference,
            ends=view.ends,
        )

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        return f"fm.residuals.integral_lagrangian(flow_map, field, {arguments})"


class Reached(Property):
    """An equation at the points that the map itself reaches from the sample.

    What follows from the equation along a whole trajectory follows only where it has been checked:
    so the share of these points outside the declared domain is told.
    """

    kind, units = "field", "velocity"
    requires = _OF_FIELD

    @abstractmethod
    def moved(self, view: View, draw: Draw) -> Draw:
        """Return the draw at the points that are reached."""

    def outside(self, view: View, draw: Draw) -> Mask:
        """Tell which of the points lie outside the declared domain."""
        return ~view.space.contains(self.moved(view, draw).x)


@final
class TangentReached(Reached):
    """The tangent condition where the map arrives."""

    name = "tangent where it arrives"

    def moved(self, view: View, draw: Draw) -> Draw:
        """Return (t, X_{s,t}(x))."""
        y = view.map(draw.s, draw.t, draw.x, draw.condition)
        return draw.at(draw.t, draw.t, y.detach())

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the residual of the tangent condition there."""
        return Tangent().residual(view, self.moved(view, draw))

    def code(self, arguments: str) -> str:
        """Return the calls of map and residual."""
        return f"fm.residuals.tangent(flow_map, field, t, flow_map({arguments}){_rest(arguments)})"


@final
class EulerianReached(Reached):
    """The Eulerian equation where the map arrives on its way."""

    name = "eulerian where it arrives"

    def moved(self, view: View, draw: Draw) -> Draw:
        """Return (u, t, X_{s,u}(x))."""
        m = view.map(draw.s, draw.u, draw.x, draw.condition)
        return draw.at(draw.u, draw.t, m.detach())

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the residual of the Eulerian equation there."""
        return Eulerian().residual(view, self.moved(view, draw))

    def scale(self, view: View, draw: Draw) -> PerSample:
        """Return the larger of the speeds on the way and of the size of one term, (batch,)."""
        return torch.maximum(
            super().scale(view, draw), Eulerian().scale(view, self.moved(view, draw))
        )

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return the larger of that on the whole way and of that of the equation there."""
        there = Eulerian().condition(view, self.moved(view, draw))
        return torch.maximum(super().condition(view, draw), there)

    def code(self, arguments: str) -> str:
        """Return the calls of map and residual."""
        there = f"flow_map({arguments.replace('s, t', 's, u')})"
        return f"fm.residuals.eulerian(flow_map, field, u, t, {there}{_rest(arguments)})"


def _rest(arguments: str) -> str:
    return arguments.removeprefix("s, t, x")

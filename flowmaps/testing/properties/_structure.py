"""What a flow inherits from its field: volumes, symmetries, invariants, order, growth."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from flowmaps import residuals
from flowmaps._checks import repeat_rows, shaped_like
from flowmaps._typing import PerSample
from flowmaps.calculus import divergence, jacobian, log_det, logarithmic_norm
from flowmaps.calculus._quadrature import gauss_rule
from flowmaps.maps import independent_derivatives
from flowmaps.testing._draws import Draw
from flowmaps.testing._property import Property
from flowmaps.testing._subject import per_sample
from flowmaps.testing._view import View, condition_of, size

__all__ = [
    "Conserved",
    "Equivariance",
    "GronwallBound",
    "Liouville",
    "OrderPreservation",
    "Symplecticity",
    "lost_in_jacobian",
    "too_many",
]

_MOST = 8
"""Components up to which whole Jacobians are taken."""
_SMALL = 0.5
"""Part of the smallest number's logarithm below which determinants may be no number."""


def too_many(view: View) -> str | None:
    if view.space.domain.dim > _MOST:
        return f"takes whole Jacobians, which is done up to {_MOST} components"
    return None


@final
class Liouville(Property):
    """log|det DX_{s,t}(x)| = int_s^t div b(r, X_{s,r}(x)) dr."""

    name, units = "liouville", "number"
    requires = frozenset({"field", "forward derivatives"})
    approximate, cost = True, 4

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return the difference of both sides, (batch,)."""
        assert view.field is not None
        s, _, t, x = draw[:4]
        with independent_derivatives():
            found = residuals.liouville(
                view.map,
                view.field,
                s,
                t,
                x,
                draw.condition,
                nodes=view.nodes,
                check_field=False,
                ends=view.ends,
            )
        return found.masked_scatter(none := found == -torch.inf, _beyond(view, draw, none))

    def scale(self, view: View, draw: Draw) -> Tensor:
        """Return n + |log|det DX||, (batch,): n relative errors of a Jacobian add up."""
        return draw.x[0].numel() + size(_log_det(view, draw)).nan_to_num(posinf=0.0)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return the larger of the difference's and of log|det DX|'s, (batch,).

        Disturbances of a map move alike what it is compared with.
        """
        of_term = condition_of(lambda each: _log_det(each, draw), view, draw.x.dtype)
        of_term = of_term + lost_in_jacobian(view, draw)
        return torch.maximum(super().condition(view, draw), of_term)

    def missing(self, view: View) -> str | None:
        """Return why whole Jacobians are not taken."""
        return too_many(view)

    def code(self, arguments: str) -> str:
        """Return the call of ``flowmaps.residuals``."""
        return f"fm.residuals.liouville(flow_map, field, {arguments})"


def _beyond(view: View, draw: Draw, rows: Tensor) -> Tensor:
    """Return the residuals where log|det DX| is -inf: none where no float could tell it.

    A flow may contract volumes to less than the smallest number there is.
    """
    field = view.field
    assert field is not None

    def rate(t: Tensor, x: Tensor, condition: Any) -> list[Tensor]:
        return [divergence(field, t, x, condition=condition, check_field=False)]

    if not bool(rows.any()):
        return draw.x.new_zeros(0)
    [expected] = _integrals(view, draw.take(rows.nonzero()[:, 0]), rate)
    return torch.where(expected < _SMALL * _smallest(draw.x).log(), 0.0, -torch.inf).to(expected)


def _smallest(x: Tensor) -> Tensor:
    return x.new_tensor(torch.finfo(x.dtype).tiny)


def _integrals(view: View, draw: Draw, rates: Callable[..., Sequence[Tensor]]) -> list[Tensor]:
    """Return the integrals from s to t of rates (t, x, condition) along the map, each (batch,)."""
    s, _, t, x, _, condition = draw
    points, weights = gauss_rule(view.nodes, view.ends)
    times = (s + (t - s) * ((points.to(x.device) + 1) / 2)[:, None]).reshape(-1)
    starts, states, conditions = repeat_rows((s, x, condition), view.nodes)
    path = view.map(starts, times, states, conditions).detach()
    found = (one.reshape(view.nodes, -1) for one in rates(times, path, conditions))
    half = ((t - s) / 2).to(x.dtype)
    return [(weights.to(one)[:, None] * one).sum(0) * half for one in found]


def lost_in_jacobian(view: View, draw: Draw) -> PerSample:
    """Return by how much a relative error of what Jacobians are a sum of moves log|det DX|.

    Forward mode adds terms as large as states at the end are, over those at the start; where a flow
    contracts they cancel, and what they have lost is no less for that: |DX^-1| times as much.
    """
    inverse, singular = torch.linalg.inv_ex(_jacobian(view, draw))
    size_of = inverse.detach().double().abs().sum((1, 2)).nan_to_num(nan=1e300, posinf=1e300)
    return _terms(view, draw) * torch.where(singular > 0, 0.0, size_of)


def _terms(view: View, draw: Draw) -> PerSample:
    return (view.state_scale(draw) / view.space.extent).clamp_min(1.0)


def _jacobian(view: View, draw: Draw) -> Tensor:
    with independent_derivatives():
        return jacobian(view.map, draw.s, draw.t, draw.x, draw.condition)


def _log_det(view: View, draw: Draw) -> Tensor:
    with independent_derivatives():
        return log_det(view.map, draw.s, draw.t, draw.x, draw.condition)


@final
class Symplecticity(Property):
    """DX^T J DX = J, for states (q, p) of positions and then as many momenta."""

    name, units = "symplecticity", "number"
    requires = frozenset({"forward derivatives"})

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return DX^T J DX - J, (batch, n, n)."""
        m = _jacobian(view, draw)
        n = m.shape[1] // 2
        zero, one = torch.zeros(n, n).to(m), torch.eye(n).to(m)
        form = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
        return m.mT @ form @ m - form

    def scale(self, view: View, draw: Draw) -> Tensor:
        """Return |DX|^2, (batch,)."""
        return size(_jacobian(view, draw)).nan_to_num(posinf=0.0).square().clamp_min(1.0)

    def missing(self, view: View) -> str | None:
        """Return why there is no symplectic form."""
        odd = view.space.domain.dim % 2
        return "states have an odd number of components" if odd else too_many(view)


@final
class Conserved(Property):
    """I(t, X_{s,t}(x)) = I(s, x).

    Args:
        label: what is conserved, for the name.
        function: ``I(t, x)`` or ``I(t, x, condition)``, (batch,).
    """

    units = "number"

    def __init__(self, label: str, function: Callable[..., Tensor]):
        self.name = f"conserves {label}"  # pyright: ignore[reportAttributeAccessIssue]
        self.function = function

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return I(t, X_{s,t}(x)) - I(s, x), (batch,)."""
        y = view.map(draw.s, draw.t, draw.x, draw.condition)
        return self._value(draw.t, y, draw) - self._value(draw.s, draw.x, draw)

    def scale(self, view: View, draw: Draw) -> Tensor:
        """Return the size of I at the point, and the typical one over the sample, (batch,)."""
        own = size(self._value(draw.s, draw.x, draw)).nan_to_num(posinf=0.0)
        return torch.maximum(own, own.median())

    def _value(self, t: Tensor, x: Tensor, draw: Draw) -> Tensor:
        return per_sample(self.function, f"the claim that it {self.name}", t, x, draw.condition)


@final
class Equivariance(Property):
    """X_{s,t}(g x) = g X_{s,t}(x).

    Args:
        label: of the group's action, for the name.
        action: ``g(x)``, of a batch of states.
    """

    def __init__(self, label: str, action: Callable[[Tensor], Tensor]):
        self.name = f"commutes with {label}"  # pyright: ignore[reportAttributeAccessIssue]
        self.action = action

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return X_{s,t}(g x) - g X_{s,t}(x)."""
        s, _, t, x = draw[:4]
        moved = view.map(s, t, self.action(x), draw.condition)
        return view.difference(moved, self.action(view.map(s, t, x, draw.condition)))


@final
class GronwallBound(Property):
    """|DX v| lies between the exponentials of the field's logarithmic norms along the way.

    Source:
        Dahlquist (1958), Stability and error bounds in the numerical integration of ordinary
            differential equations; Soderlind (2006), The logarithmic norm, BIT 46, 631-652.
    """

    name, units = "gronwall bound", "number"
    requires = frozenset({"field", "forward derivatives"})
    approximate, cost = True, 16

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return by how much log(|DX v| / |v|) is outside the bounds, (batch,)."""
        assert view.field is not None
        s, _, t, x, v, condition = draw
        moved = view.jvp(view.map, s, t, x, dx=v, condition=condition)[1]
        # what has become less than the smallest number there is has shrunk by that at least
        growth = _length(moved).clamp_min(_smallest(x)).log() - _length(v).log()
        above, below = _integrals(view, draw, partial(_norms, view.field))
        high, low = torch.maximum(above, below), torch.minimum(above, below)
        return torch.relu(growth - high) + torch.relu(low - growth)

    def condition(self, view: View, draw: Draw) -> PerSample:
        """Return that of the residual, and what forward mode loses where the flow contracts."""
        s, _, t, x, v, condition = draw
        moved = _length(view.jvp(view.map, s, t, x, dx=v, condition=condition)[1]).double()
        lost = _terms(view, draw) * _length(v).double() / moved.clamp_min(1e-300)
        return super().condition(view, draw) + lost

    def missing(self, view: View) -> str | None:
        """Return why whole Jacobians are not taken."""
        return too_many(view)


def _norms(field: Any, t: Tensor, x: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest growth rate of the field, each (batch,)."""

    def reversed_field(t: Tensor, x: Tensor, *condition: Any) -> Tensor:
        return -field(t, x, *condition)

    above = logarithmic_norm(field, t, x, condition=condition, check_field=False)
    below = logarithmic_norm(reversed_field, t, x, condition=condition, check_field=False)
    return above.detach(), -below.detach()


def _length(v: Tensor) -> Tensor:
    """Return Euclidean lengths, (batch,), also of what has squares below the smallest number."""
    flat = v.reshape(len(v), -1)
    largest = flat.abs().amax(1).clamp_min(_smallest(v))
    return largest * torch.linalg.vector_norm(flat / largest[:, None], dim=1)


@final
class OrderPreservation(Property):
    """In one dimension trajectories do not cross: x < y gives X_{s,t}(x) < X_{s,t}(y)."""

    name, kind = "order", "algebra"

    def residual(self, view: View, draw: Draw) -> Tensor:
        """Return by how much the order is broken, for every point and one at the same times."""
        s, _, t, x = draw[:4]
        there = view.map(s, t, x, draw.condition)
        other = x + draw.v * view.space.extent
        inside = shaped_like(view.space.contains(other), x)
        other = torch.where(inside, other, x)
        beside = view.map(s, t, other, draw.condition)
        return torch.relu(-(beside - there) * (other - x).sign())

    def missing(self, view: View) -> str | None:
        """Return that states have more than one component, or no order, as on a circle."""
        if view.difference is not torch.sub:
            return "states have a difference of their own"
        return None if view.space.domain.dim == 1 else "states have more than one component"

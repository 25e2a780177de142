"""The second-order parametrisation around a known field."""

from typing import Any, final

from torch import Tensor, nn

from flowmaps._checks import brief, method_owner, per_sample
from flowmaps._probing import probe_once
from flowmaps._typing import Clock, Condition, Field, State
from flowmaps.calculus import jvp
from flowmaps.maps._parametrization import Parametrization, evaluate, evaluate_dual
from flowmaps.solvers._bind import BoundField

__all__ = ["SecondOrder"]


@final
class SecondOrder(Parametrization):
    """X_{s,t}(x) = x + (t - s) b(s, x) + (t - s)^2 / 2 psi_{s,t}(x): the network is the rest psi.

    The tangent condition holds by construction. One evaluation of the field a call.

    Args:
        field: the known field ``b(t, x)`` or ``b(t, x, condition)``.

    Raises:
        TypeError: if the field is not callable.
        ValueError: when called, for a field that does not treat every sample alone.

    Example:
        >>> import torch, flowmaps as fm
        >>> network = fm.networks.MLP(dim=1, width=8, depth=1)
        >>> learned = fm.maps.NeuralFlowMap(network, fm.maps.SecondOrder(lambda t, x: -x))
        >>> learned.velocity(0.0, torch.ones(1, 1)).item()
        -1.0
    """

    def __init__(self, field: Field):
        super().__init__()
        if not callable(field):
            raise TypeError(f"field must be a callable b(t, x), got {brief(field)}")
        self.field = field
        # The parameters of a field that is a module's method are the parametrisation's.
        self._owner = method_owner(field)

    def forward(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return x + h b(s, x) + h^2 / 2 psi_{s,t}(x) with h = t - s."""
        probe_once(self.field, s, t, x, condition, through=True)
        h = per_sample(t - s, x)
        psi = evaluate(network, s, t, x, condition)
        return x + h * BoundField(self.field, condition)(s, x) + 0.5 * h * h * psi

    def mean_velocity(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return b(s, x) + h / 2 psi_{s,t}(x) with h = t - s."""
        probe_once(self.field, s, t, x, condition, through=True)
        psi = evaluate(network, s, t, x, condition)
        return BoundField(self.field, condition)(s, x) + 0.5 * per_sample(t - s, x) * psi

    def velocity(self, network: nn.Module, t: Clock, x: State, condition: Condition) -> Tensor:
        """Return b(t, x)."""
        probe_once(self.field, t, t, x, condition, through=True)
        return BoundField(self.field, condition)(t, x)

    def dual(
        self,
        network: nn.Module,
        s: Clock,
        t: Clock,
        x: State,
        condition: Condition,
        ds: Clock,
        dt: Clock,
        dx: State,
        dcondition: Condition,
    ) -> tuple[Tensor, Tensor]:
        """Return X_{s,t}(x) and its derivative, the field's by forward mode; h = t - s."""
        probe_once(self.field, s, t, x, condition, through=True)
        psi, dpsi = evaluate_dual(network, s, t, x, condition, ds, dt, dx, dcondition)
        b, db = jvp(self._as_map, s, t, x, ds=ds, dx=dx, condition=condition, dcondition=dcondition)
        h, dh = per_sample(t - s, x), per_sample(dt - ds, x)
        value = x + h * b + 0.5 * h * h * psi
        return value, dx + dh * b + h * db + h * dh * psi + 0.5 * h * h * dpsi

    def _as_map(self, s: Tensor, t: Tensor, x: Tensor, *condition: Condition) -> Tensor:
        """Return b(s, x), called as a flow map is."""
        return self.field(s, x, *condition)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"field": self.field}

"""A flow map in other coordinates."""

from typing import Any, final

from torch import Tensor

from flowmaps._typing import Condition, State
from flowmaps.calculus._jvp import pushforward
from flowmaps.maps._diffeomorphism import Diffeomorphism
from flowmaps.maps._flow_map import FlowMap

__all__ = ["Conjugated"]


@final
class Conjugated(FlowMap):
    """Y_{s,t} = phi o X_{s,t} o phi^{-1}: the flow map X seen in the coordinates y = phi(x).

    Args:
        flow_map: X.
        diffeomorphism: phi, such as ``Affine`` or ``FromFunctions``.

    Raises:
        TypeError: if an argument is not of its kind.

    Example:
        >>> import torch, flowmaps as fm
        >>> shift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> growth = fm.maps.Conjugated(shift, fm.maps.FromFunctions(torch.exp, torch.log))
        >>> round(growth(0.0, 1.0, torch.ones(1, 1)).item(), 4)
        2.7183
    """

    def __init__(self, flow_map: FlowMap, diffeomorphism: Diffeomorphism):
        if not isinstance(flow_map, FlowMap) or not isinstance(diffeomorphism, Diffeomorphism):
            raise TypeError(
                "Conjugated needs a FlowMap and a Diffeomorphism such as Affine or FromFunctions, "
                f"got {type(flow_map).__name__} and {type(diffeomorphism).__name__}"
            )
        super().__init__(flow_map.times)
        self.flow_map = flow_map
        self.diffeomorphism = diffeomorphism

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        inner = self.flow_map(s, t, self.diffeomorphism.inverse(x), condition)
        return self.diffeomorphism(inner)

    def _tangent(self, t: float | Tensor, x: State, condition: Condition) -> Tensor:
        """Return Dphi b at phi^{-1}(x)."""
        inner = self.diffeomorphism.inverse(x)
        velocity = self.flow_map.velocity(t, inner, condition)
        return pushforward(self.diffeomorphism, [inner], [velocity])[1]

    def evaluations(self, s: float, t: float) -> int:
        """Count as the inner map does."""
        return self.flow_map.evaluations(s, t)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"flow_map": self.flow_map, "diffeomorphism": self.diffeomorphism}

"""The flow map of the zero field."""

from typing import Any, final

from torch import Tensor

from flowmaps._typing import Condition, State
from flowmaps.maps._flow_map import FlowMap

__all__ = ["Identity"]


@final
class Identity(FlowMap):
    """The identity, X_{s,t}(x) = x for all times: the flow map of b = 0.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.maps.Identity()(0.0, 1.0, torch.ones(1, 1)).item()
        1.0
    """

    def __init__(self) -> None:
        super().__init__()

    def _transport(
        self, s: float | Tensor, t: float | Tensor, x: State, condition: Condition
    ) -> Tensor:
        return x.clone()

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {}

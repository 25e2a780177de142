"""How a flow map is made from a network's output."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from flowmaps._checks import check_output, time_like
from flowmaps._typing import Clock, Condition, State

__all__ = ["Parametrization", "evaluate"]


class Parametrization(nn.Module, ABC):
    """Turns ``network(s, t, x, condition)`` into X_{s,t}(x), with X_{s,s} = id by construction.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Stretch(fm.maps.Parametrization):
        ...     def forward(self, network, s, t, x, condition):
        ...         return x * torch.exp((t - s)[:, None] * network(s, t, x, condition)).to(x)
        ...     def velocity(self, network, t, x, condition):
        ...         return x * network(t, t, x, condition)
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1), Stretch())
        >>> x = torch.ones(3, 2)
        >>> torch.equal(learned(0.5, 0.5, x), x)
        True
    """

    @abstractmethod
    def forward(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return X_{s,t}(x); s and t are clocks (batch,), float64."""

    @abstractmethod
    def velocity(self, network: nn.Module, t: Clock, x: State, condition: Condition) -> Tensor:
        """Return the tangent d/dt X_{s,t}(x) at s = t."""


def evaluate(network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition) -> Tensor:
    """Call the network with times in x's dtype; its output, bf16 perhaps, comes in x's dtype."""
    output = network(time_like(s, x), time_like(t, x), x, condition)
    if not isinstance(output, Tensor):
        raise TypeError(f"the network must return a tensor, got {type(output).__name__}")
    return check_output(output.to(x.dtype), x, "the network")

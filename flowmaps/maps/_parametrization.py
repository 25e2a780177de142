"""How a flow map is made from a network's output."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowmaps._checks import (
    brief,
    check_output,
    per_sample,
    repeat_rows,
    shaped_like,
    time_like,
)
from flowmaps._typing import Clock, Condition, State

__all__ = ["Parametrization", "evaluate", "evaluate_along", "evaluate_dual", "per_row"]


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

    def mean_velocity(
        self, network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition
    ) -> Tensor:
        """Return v_{s,t}(x) of X_{s,t}(x) = x + (t - s) v_{s,t}(x), the tangent where s = t.

        Overridden where it is known without a difference of states, which over a short span loses
        most of its digits.
        """
        span = t - s
        image = self(network, s, t, x, condition)
        chord = (image - x) / per_sample(torch.where(span == 0, 1.0, span), x)
        tangent = self.velocity(network, t, x, condition)
        return torch.where(shaped_like(span == 0, x), tangent, chord)

    def along(
        self, network: nn.Module, s: Clock, rows: Tensor, x: State, condition: Condition
    ) -> Tensor:
        """Return X_{s,t}(x) for every row t of rows (n_times, batch): (n_times, batch, *event).

        One call for all rows and samples. Overridden where a network that ``decodes`` trajectories
        is asked for all times of a sample at once.
        """
        n = len(rows)
        spread = repeat_rows((s, x, condition), n)
        y = self(network, spread[0], rows.reshape(-1), *spread[1:])
        return y.reshape(n, *x.shape)

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
        """Return X_{s,t}(x) and its derivative along a tangent, by the network's ``dual``.

        Raises:
            TypeError: unless a parametrisation overrides it.
        """
        raise TypeError(
            f"{type(self).__name__} has no method dual; write one by the chain rule, or take "
            'derivative="forward" or "differences"'
        )


def evaluate(network: nn.Module, s: Clock, t: Clock, x: State, condition: Condition) -> Tensor:
    """Call the network with times in x's dtype; its output, bf16 perhaps, comes in x's dtype."""
    output = network(time_like(s, x), time_like(t, x), x, condition)
    if not isinstance(output, Tensor):
        raise TypeError(f"the network must return a tensor, got {type(output).__name__}")
    return check_output(output.to(x.dtype), x, "the network")


def evaluate_along(
    network: nn.Module, s: Clock, rows: Tensor, x: State, condition: Condition
) -> Tensor:
    """Call a network that ``decodes`` once for all times (n_times, batch): (n_times, *x.shape)."""
    starts = time_like(s, x).expand(rows.shape)
    output = network(starts, time_like(rows, x), x, condition)
    if not isinstance(output, Tensor):
        raise TypeError(f"the network must return a tensor, got {type(output).__name__}")
    return check_output(output.to(x.dtype), x.expand(len(rows), *x.shape), "the network")


def per_row(value: Tensor, x: Tensor) -> Tensor:
    """Return value (n_times, batch) in x's dtype, ready to multiply (n_times, *x.shape)."""
    return value.to(x.dtype).reshape(*value.shape, *[1] * (x.ndim - 1))


def evaluate_dual(
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
    """Call the network's ``dual`` as ``evaluate`` calls the network; return value and tangent.

    Raises:
        TypeError: if it returns no pair of tensors.
    """
    times, slopes = ([time_like(clock, x) for clock in pair] for pair in ((s, t), (ds, dt)))
    found = network.dual(*times, x, condition, *slopes, dx, dcondition)  # type: ignore[operator]
    if not (isinstance(found, tuple) and len(found) == 2):
        raise TypeError(f"the network's dual must return (value, tangent), got {brief(found)}")
    value, tangent = (check_output(part.to(x.dtype), x, "the network's dual") for part in found)
    return value, tangent

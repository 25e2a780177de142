"""The linear interpolant between a standard Gaussian and two points."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._typing import State, Time
from flowmaps.domains import Box
from flowmaps.problems._operations import Operations, operations
from flowmaps.problems._problem import Problem, like_batch, stack

__all__ = ["TwoPointMixture"]


@final
class TwoPointMixture(Problem):
    """Probability flow of the linear interpolant from N(0, 1) to two weighted points, independent.

    For I_t = (1 - t) x0 + t x1, b = (E[x1 | I_t = x] - x) / (1 - t). The law is asymmetric and far
    from Gaussian, with exact posterior weights: it shows what Gaussian tests cannot. Towards time 1
    the field grows without bound between the points, where trajectories part; times of interest
    end at 0.95.

    Args:
        weight: probability of the first point, in (0, 1).
        first, second: the two points.

    Raises:
        ValueError: if weight is not strictly between 0 and 1.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797.

    Example:
        >>> import torch, flowmaps as fm
        >>> mixture = fm.problems.TwoPointMixture(weight=0.5, first=-1.0, second=1.0)
        >>> mixture.field(0.5, torch.tensor([[0.0]])).item()
        0.0
    """

    name = "two_point_mixture"
    autonomous = False
    defined = (0.0, 1.0)

    def __init__(self, weight: float = 0.8, first: float = -0.5, second: float = 2.0):
        if not 0.0 < weight < 1.0:
            raise ValueError(f"weight must be strictly between 0 and 1, got {weight}")
        super().__init__(
            parameters={"weight": weight, "first": first, "second": second},
            parameter_domain=Box([0.1, -2.0, 0.5], [0.9, -0.5, 2.0]),
            domain=Box(-3.0, 3.0),
            times=(0.0, 0.95),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (E[x1 | I_t = x] - x) / (1 - t)."""
        return ((_posterior_mean(m, t, x[0], p) - x[0]) / (1 - t),)

    def posterior_weights(self, t: Time, x: State, condition: Tensor | None = None) -> Tensor:
        """Return P[x1 = first | I_t = x] and P[x1 = second | I_t = x], shape (batch, 2).

        Example:
            >>> import torch, flowmaps as fm
            >>> mixture = fm.problems.TwoPointMixture(weight=0.5)
            >>> mixture.posterior_weights(0.0, torch.tensor([[1.0]])).tolist()
            [[0.5, 0.5]]
        """
        p = self._parameters(x, condition)
        log_odds = _log_odds(operations("torch"), like_batch(t, x, "t"), x[:, 0], p).to(x.dtype)
        return torch.stack([torch.sigmoid(log_odds), torch.sigmoid(-log_odds)], dim=1)

    def posterior_mean(self, t: Time, x: State, condition: Tensor | None = None) -> State:
        """Return E[x1 | I_t = x], shape (batch, 1).

        Example:
            >>> import torch, flowmaps as fm
            >>> fm.problems.TwoPointMixture().posterior_mean(0.0, torch.tensor([[1.0]])).item()
            0.0
        """
        p = self._parameters(x, condition)
        t = like_batch(t, x, "t")
        return stack([_posterior_mean(operations("torch"), t, x[:, 0], p)], x)


def _log_odds(m: Operations, t: Any, x: Any, p: Any) -> Any:
    """Return log(P[x1 = first | I_t = x] / P[x1 = second | I_t = x])."""
    # The difference of the two squared distances, multiplied out: no cancellation.
    distance = t * (p.first - p.second) * (2 * x - t * (p.first + p.second))
    return m.log(p.weight / (1 - p.weight)) + distance / (2 * (1 - t) ** 2)


def _posterior_mean(m: Operations, t: Any, x: Any, p: Any) -> Any:
    # tanh of half the log-odds is the difference of the weights, and cannot overflow.
    balance = m.tanh(_log_odds(m, t, x, p) / 2)
    return (p.first + p.second) / 2 + (p.first - p.second) / 2 * balance

"""Logistic growth."""

from collections.abc import Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations

__all__ = ["LogisticGrowth"]


@final
class LogisticGrowth(ExactProblem):
    """dx/dt = rate x (1 - x / capacity), whose solutions from (0, capacity) exist for all times.

    Args:
        rate: growth rate of a small population.
        capacity: stable population, not zero.

    Source:
        Verhulst (1838), Notice sur la loi que la population suit dans son accroissement.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.problems.LogisticGrowth().field(0.0, torch.tensor([[0.5], [1.0]])).tolist()
        [[0.25], [0.0]]
    """

    name = "logistic_growth"
    components = ("population",)
    divisors = ("capacity",)

    def __init__(self, rate: float = 1.0, capacity: float = 1.0):
        super().__init__(
            parameters={"rate": rate, "capacity": capacity},
            parameter_domain=Box([0.5, 1.0], [2.0, 2.0]),
            domain=Box(0.05, 0.95),
            times=(0.0, 5.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return rate x (1 - x / capacity)."""
        (population,) = x
        return (p.rate * population * (1 - population / p.capacity),)

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return capacity x / (x + (capacity - x) exp(-rate (t - s)))."""
        (population,) = x
        decay = m.exp(-p.rate * (t - s))
        return (p.capacity * population / (population + (p.capacity - population) * decay),)

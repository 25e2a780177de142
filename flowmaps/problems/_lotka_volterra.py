"""The predator-prey equations of Lotka and Volterra."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._operations import Operations
from flowmaps.problems._problem import Problem

__all__ = ["LotkaVolterra"]


@final
class LotkaVolterra(Problem):
    """Prey u and predators v: du/dt = u (growth - predation v), dv/dt = v (conversion u - death).

    Positive states stay positive and move on closed orbits, level curves of an invariant.

    Args:
        growth: rate of the prey alone.
        predation: loss of prey to each predator.
        death: rate of the predators alone.
        conversion: gain of predators from each prey.

    Source:
        Volterra (1926), Fluctuations in the abundance of a species considered mathematically,
            Nature 118, 558-560; Lotka (1925), Elements of Physical Biology.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.problems.LotkaVolterra().field(0.0, torch.tensor([[3.0, 1.5]])).tolist()
        [[0.0, 0.0]]
    """

    name = "lotka_volterra"
    components = ("prey", "predators")

    def __init__(
        self,
        growth: float = 1.5,
        predation: float = 1.0,
        death: float = 3.0,
        conversion: float = 1.0,
    ):
        super().__init__(
            parameters={
                "growth": growth,
                "predation": predation,
                "death": death,
                "conversion": conversion,
            },
            parameter_domain=Box([1.0, 0.5, 2.0, 0.5], [2.0, 1.5, 4.0, 1.5]),
            domain=Box([1.0, 0.5], [6.0, 3.0]),
            times=(0.0, 5.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (u (growth - predation v), v (conversion u - death))."""
        prey, predators = x
        return (
            prey * (p.growth - p.predation * predators),
            predators * (p.conversion * prey - p.death),
        )

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return conversion u - death log u + predation v - growth log v."""
        prey, predators = x
        return {
            "orbit": p.conversion * prey
            - p.death * m.log(prey)
            + p.predation * predators
            - p.growth * m.log(predators)
        }

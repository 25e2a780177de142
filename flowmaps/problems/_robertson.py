"""Robertson's stiff chemical reactions."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from flowmaps.domains import Box
from flowmaps.problems._operations import Operations
from flowmaps.problems._problem import Problem

__all__ = ["Robertson"]


@final
class Robertson(Problem):
    """Three concentrations: da/dt = -k1 a + k2 b c, db/dt = k1 a - k2 b c - k3 b^2, dc/dt = k3 b^2.

    Stiff: rates differ by nine orders of magnitude. The total is conserved. Backwards, deviations
    grow by a factor e in less than 1e-3 units of time. In references the least concentration, near
    1e-5, has about seven digits.

    Args:
        k1, k2, k3: rate constants.

    Source:
        Robertson (1966), The solution of a set of reaction rate equations; Hairer and Wanner
            (1996), Solving Ordinary Differential Equations II, section IV.1. The domain is that of
            arXiv:2106.05384.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.problems.Robertson().field(0.0, torch.tensor([[1.0, 0.0, 0.0]])).tolist()
        [[-0.03999999910593033, 0.03999999910593033, 0.0]]
    """

    name = "robertson"
    components = ("a", "b", "c")
    stiff = True
    initial_state = (1.0, 0.0, 0.0)
    """Start of the published trajectory."""

    def __init__(self, k1: float = 0.04, k2: float = 1e4, k3: float = 3e7):
        super().__init__(
            parameters={"k1": k1, "k2": k2, "k3": k3},
            parameter_domain=Box([0.02, 5e3, 1e7], [0.08, 2e4, 6e7]),
            domain=Box([0.0, 0.0, 0.0], [1.0, 1e-4, 1.0]),
            times=(0.0, 40.0),
        )

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return (-k1 a + k2 b c, k1 a - k2 b c - k3 b^2, k3 b^2)."""
        a, b, c = x
        first, second = p.k1 * a - p.k2 * b * c, p.k3 * b**2
        return -first, first - second, second

    def invariants(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Mapping[str, Any]:
        """Return the total concentration."""
        return {"total": x[0] + x[1] + x[2]}

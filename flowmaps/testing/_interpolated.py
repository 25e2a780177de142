"""The states that a generative map is learned on: those of its interpolant."""

from typing import final

import torch

from flowmaps._checks import brief
from flowmaps._typing import Clock, Condition
from flowmaps.domains import Domain, Inside, Rows
from flowmaps.interpolants import Interpolant
from flowmaps.objectives import Pairs

__all__ = ["Interpolated"]


@final
class Interpolated(Domain):
    """States I_s of an interpolant, each at its own start time s, with the condition of its data.

    A generative map is learned where the interpolant is: near the noise at early times, near the
    data of the condition at late ones. No box of states says so, and most of a box in many
    dimensions is far from all of it.

    Any finite state counts as inside, for noise may be anywhere; so a simpler counterexample need
    not be as likely as the points of the sample, from which the verdict comes.

    Args:
        interpolant: whose interval bounds the times.
        pairs: base and data samples with their conditions.

    Raises:
        TypeError: if interpolant or pairs is not of its kind.

    Example:
        >>> import torch, flowmaps as fm
        >>> pairs = fm.objectives.Pairs(None, torch.randn(100, 2))
        >>> states = fm.testing.Interpolated(fm.interpolants.Linear(), pairs)
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=2, width=8, depth=1)).double()
        >>> report = fm.testing.verify(learned, learned.velocity, states, budget=1e-2, points=64)
        >>> report["semigroup"].status
        'passed'
    """

    def __init__(self, interpolant: Interpolant, pairs: Pairs):
        if not isinstance(interpolant, Interpolant):
            raise TypeError(
                "interpolant must be an fm.interpolants.Interpolant such as Linear(), "
                f"got {brief(interpolant)}"
            )
        if not isinstance(pairs, Pairs):
            raise TypeError(
                f"pairs must be fm.objectives.Pairs such as Pairs(None, data), got {brief(pairs)}"
            )
        super().__init__(pairs.x1[0].numel())
        self.interpolant, self.pairs = interpolant, pairs
        self.event = tuple(pairs.x1.shape[1:])

    def at(self, s: Clock, generator: torch.Generator | None) -> tuple[Rows, Condition]:
        """Return states at times s (n,), one a row in float64, and the conditions of their data."""
        x0, x1, condition = self.pairs.sample(len(s), generator)
        z = None
        if self.interpolant.latent:
            z = torch.randn(x1.shape, generator=generator, dtype=torch.float64)
        states = self.interpolant.interpolate(s, x0.double(), x1.double(), z)
        return states.flatten(1), condition

    def _draw(self, n: int, generator: torch.Generator | None) -> Rows:
        low, high = self.interpolant.times
        s = torch.rand(n, generator=generator, dtype=torch.float64)
        return self.at(low + (high - low) * s, generator)[0]

    def _contains(self, x: Rows) -> Inside:
        return torch.isfinite(x).all(1)

    def __repr__(self) -> str:
        kind = type(self.interpolant).__name__
        return f"Interpolated({kind}, {len(self.pairs)} samples of shape {self.event})"

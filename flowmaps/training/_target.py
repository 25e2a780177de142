"""A moving average of the map in training, for objectives that compare with one."""

import copy
from typing import Any

import torch

from flowmaps.maps import FlowMap

__all__ = ["Target"]


class Target:
    """A frozen copy of a map whose weights follow the map's: w <- decay w + (1 - decay) live.

    It begins with the map's own weights and, unlike ``Average``, is part of the loss: the targets
    of consistency and shortcut models are evaluations of it. Buffers are those of the map as it is.

    Args:
        learned: the map in training.
        decay: in [0, 1); None for no target, where objectives compare with the map itself.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithm 2.

    Example:
        >>> import torch, flowmaps as fm
        >>> learned = fm.maps.NeuralFlowMap(fm.networks.MLP(dim=1, width=4, depth=1))
        >>> target = fm.training.Target(learned, decay=0.9)
        >>> weight, followed = (next(m.parameters()) for m in (learned, target.map))
        >>> _ = weight.data.add_(1.0)
        >>> target.update()
        >>> round((weight - followed).mean().item(), 6)
        0.9
    """

    map: FlowMap | None

    def __init__(self, learned: FlowMap, decay: float | None):
        self.decay = decay
        if decay is None:
            self.map = None
            return
        self.map = copy.deepcopy(learned).requires_grad_(False).eval()
        self._pairs = list(zip(learned.parameters(), self.map.parameters(), strict=True))
        self._buffers = list(zip(learned.buffers(), self.map.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Follow the map's weights as they are now."""
        if self.map is None or self.decay is None:
            return
        for live, mean in self._pairs:
            mean.lerp_(live, 1 - self.decay)
        for live, own in self._buffers:
            own.copy_(live)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and buffers, nothing without a target."""
        return {} if self.map is None else dict(self.map.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        if self.map is not None:
            self.map.load_state_dict(state)

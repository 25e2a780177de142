"""The map that supplies self-made velocities: an exponential moving average of the one in training.

It lags behind, unlike ``Average``: no bias of a start is divided out.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import brief, is_number
from flowmaps.maps import FlowMap

__all__ = ["Decay", "Target", "decay_at"]

Decay = float | Callable[[float], float]
"""A decay, or the decay at a fraction of training done."""


class Target:
    """A copy of a map whose weights follow it: w <- decay w + (1 - decay) w_learned.

    It begins with the map's weights, is in eval mode and asks for no gradients. Buffers, and
    weights that are not trained, are copied. Means of weights in half precision are kept in single.

    Args:
        learned: the map to follow.
        decay: in [0, 1), or a callable of the fraction of training done.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithm 2, equation 8.
    """

    def __init__(self, learned: FlowMap, decay: Decay):
        self.learned, self.decay = learned, decay
        self.map = copy.deepcopy(learned).requires_grad_(False).eval()
        live = [p for p in learned.parameters() if p.requires_grad]
        self._means = [p.detach().to(torch.promote_types(p.dtype, torch.float32)) for p in live]
        self._means = [mean.clone() for mean in self._means]

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Take in the weights as they are after the step at this fraction of training."""
        rate = 1 - decay_at(self.decay, progress)
        means = iter(self._means)
        for live, own in self._weights():
            if live.requires_grad:
                own.copy_(next(means).lerp_(live.to(torch.promote_types(live.dtype, _FULL)), rate))
            else:
                own.copy_(live)
        for live, own in zip(self.learned.buffers(), self.map.buffers(), strict=True):
            own.copy_(live)

    def means(self) -> list[Tensor]:
        """Return the weights of the trained parameters."""
        return self._means

    def state_dict(self) -> dict[str, Any]:
        """Return what the target is now."""
        return {
            "means": list(self._means),
            "weights": list(self.map.parameters()),
            "buffers": list(self.map.buffers()),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        for name, own in self.state_dict().items():
            for mine, saved in zip(own, state[name], strict=True):
                mine.copy_(saved)

    def _weights(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.learned.parameters(), self.map.parameters(), strict=True)


_FULL = torch.float32


def decay_at(decay: Decay, progress: float) -> float:
    """Return the decay at a fraction of training done.

    Raises:
        TypeError, ValueError: if it is no number in [0, 1).
    """
    at = "" if is_number(decay) else f" at progress {progress:g}"
    value: Any = decay(progress) if callable(decay) else decay
    wanted = (
        f"target must be a decay in [0, 1), a callable of training's progress that returns one, or "
        f"None for the learned map itself, got {brief(value)}{at}"
    )
    if not is_number(value):
        raise TypeError(wanted)
    if not 0 <= value < 1:
        raise ValueError(wanted)
    return float(value)

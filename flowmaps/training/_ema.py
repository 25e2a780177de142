"""Exponential moving average of weights."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """Exponentially weighted mean of a module's weights over the steps seen so far.

    After n updates it is sum_k decay^(n-k) w_k / sum_k decay^(n-k): the bias of a start is divided
    out, so the average is right from the first update and no warm-up is needed. The half-life is
    log(1/2) / log(decay) updates.

    Args:
        module: the module whose parameters that ask for gradients are averaged.
        decay: weight of the past, in [0, 1); 0 keeps the last weights.

    Raises:
        ValueError: for a decay outside [0, 1).

    Source:
        Kingma and Ba (2014), arXiv:1412.6980, section 3, for the correction.

    Example:
        >>> import torch, flowmaps as fm
        >>> layer = torch.nn.Linear(1, 1, bias=False)
        >>> average = fm.training.Average(layer, decay=0.5)
        >>> for value in (1.0, 4.0):
        ...     _ = layer.weight.data.fill_(value)
        ...     average.update()
        >>> average.apply()
        >>> layer.weight.item()
        3.0
    """

    def __init__(self, module: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be in [0, 1), got {decay}")
        self.decay, self.updates = decay, 0
        self._live = [p for p in module.parameters() if p.requires_grad]
        # A mean over thousands of steps loses its small updates in half precision.
        self._mean: list[Tensor] = [
            p.detach().clone().to(torch.promote_types(p.dtype, torch.float32)) for p in self._live
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        rate = (1 - self.decay) / (1 - self.decay**self.updates)
        live = [weight.to(mean.dtype) for weight, mean in zip(self._live, self._mean, strict=True)]
        torch._foreach_lerp_(self._mean, live, rate)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def apply(self) -> None:
        """Write the average into the module's weights; before any update, those it began with."""
        for live, mean in zip(self._live, self._mean, strict=True):
            live.copy_(mean)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the mean."""
        return {"updates": self.updates, "mean": list(self._mean)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.updates = state["updates"]
        for mean, saved in zip(self._mean, state["mean"], strict=True):
            mean.copy_(saved)

"""Numbers of a network that are physical, not learned."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Constants", "wide"]


class Constants(nn.Module):
    """Numbers that follow a network to its device and stay exact whatever its precision.

    ``network.bfloat16()`` rounds weights, which training then adapts; a shift of 273.15 rounded to
    274 would be another unit of the state. Kept in float64 and out of ``state_dict``.

    Example:
        >>> import torch
        >>> shift = Constants([273.15]).bfloat16()
        >>> shift(torch.float64).item()
        273.15
    """

    exact: Tensor

    def __init__(self, values: Sequence[float]):
        super().__init__()
        self.values = tuple(float(value) for value in values)
        self.register_buffer("exact", self._on(None), persistent=False)

    def forward(self, dtype: torch.dtype) -> Tensor:
        """Return the numbers (n,) in a dtype."""
        return self.exact.to(dtype)

    def extra_repr(self) -> str:
        """Return the numbers."""
        shown = ", ".join(f"{value:g}" for value in self.values[:8])
        return shown if len(self.values) <= 8 else f"{shown}, ... {len(self.values)} in all"

    def _on(self, device: torch.device | None) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64, device=device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # .to, .half and .to_empty all come by here: take the device alone from what they made
        super()._apply(fn, recurse)
        self.exact = self._on(self.exact.device)
        return self


def wide(x: Tensor) -> torch.dtype:
    """Return the dtype to compute with x in: its own, float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)

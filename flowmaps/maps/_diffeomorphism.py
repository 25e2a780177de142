"""Changes of coordinates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Affine", "Diffeomorphism", "FromFunctions"]


class Diffeomorphism(nn.Module, ABC):
    """A smooth invertible map of the state, with its inverse."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map x to y, both (batch, *event)."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Map y back to x, both (batch, *event)."""


class Affine(Diffeomorphism):
    """y = shift + scale x, componentwise: units, or standardised coordinates.

    Args:
        shift, scale: broadcast against the event; numbers, lists or tensors; kept in float64.

    Raises:
        ValueError: if a scale is zero or a value is not finite.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.maps.Affine(shift=1.0, scale=2.0)(torch.ones(1, 1)).item()
        3.0
    """

    def __init__(self, shift: float | Sequence[float] | Tensor, scale: float | Sequence[float] | Tensor):
        super().__init__()
        for name, value in (("shift", shift), ("scale", scale)):
            value = torch.as_tensor(value, dtype=torch.float64).clone()
            if not bool(torch.isfinite(value).all()) or (name == "scale" and bool((value == 0).any())):
                raise ValueError(f"{name} must be finite, and a scale not zero, got {value.tolist()}")
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return shift + scale x."""
        return self.shift.to(x) + self.scale.to(x) * x

    def inverse(self, y: Tensor) -> Tensor:
        """Return (y - shift) / scale."""
        return (y - self.shift.to(y)) / self.scale.to(y)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}


class FromFunctions(Diffeomorphism):
    """A diffeomorphism given by two callables on (batch, *event).

    Args:
        function: x to y.
        inverse_function: y to x.

    Example:
        >>> import torch, flowmaps as fm
        >>> logarithm = fm.maps.FromFunctions(torch.log, torch.exp)
        >>> logarithm.inverse(logarithm(torch.ones(1, 1))).item()
        1.0
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], inverse_function: Callable[[Tensor], Tensor]
    ):
        super().__init__()
        self.function, self.inverse_function = function, inverse_function

    def forward(self, x: Tensor) -> Tensor:
        """Return function(x)."""
        return self.function(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Return inverse_function(y)."""
        return self.inverse_function(y)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function, "inverse_function": self.inverse_function}

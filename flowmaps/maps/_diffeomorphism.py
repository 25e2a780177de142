"""Changes of coordinates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from flowmaps._checks import as_numbers, brief, fit_event
from flowmaps._typing import State

__all__ = ["Affine", "Diffeomorphism", "FromFunctions"]


class Diffeomorphism(nn.Module, ABC):
    """A smooth invertible map of the state, with its inverse.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Cube(fm.maps.Diffeomorphism):
        ...     def forward(self, x):
        ...         return x**3
        ...     def inverse(self, y):
        ...         return y.sign() * y.abs() ** (1 / 3)
        >>> round(Cube().inverse(Cube()(torch.full((1, 1), -2.0))).item(), 4)
        -2.0
    """

    @abstractmethod
    def forward(self, x: State) -> Tensor:
        """Map x to y, both (batch, *event)."""

    @abstractmethod
    def inverse(self, y: State) -> Tensor:
        """Map y back to x, both (batch, *event)."""


@final
class Affine(Diffeomorphism):
    """y = shift + scale x, componentwise: units, or standardised coordinates.

    Args:
        shift, scale: broadcast against the event; numbers, lists or tensors; kept in float64 until
            the module is converted, by ``.float()`` say.

    Raises:
        TypeError: if one is something else.
        ValueError: if a scale is zero or a value is not finite; when called, for an event of
            another shape.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.maps.Affine(shift=1.0, scale=2.0)(torch.ones(1, 1)).item()
        3.0
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, shift: float | Sequence[float] | Tensor, scale: float | Sequence[float] | Tensor
    ):
        super().__init__()
        for name, value in (("shift", shift), ("scale", scale)):
            value = as_numbers(value, name).clone()
            if not torch.isfinite(value).all() or (name == "scale" and (value == 0).any()):
                raise ValueError(
                    f"{name} must be finite, and a scale not zero, got {brief(value.tolist())}"
                )
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: State) -> Tensor:
        """Return shift + scale x."""
        return fit_event(self.shift, x, "shift") + fit_event(self.scale, x, "scale") * x

    def inverse(self, y: State) -> Tensor:
        """Return (y - shift) / scale."""
        return (y - fit_event(self.shift, y, "shift")) / fit_event(self.scale, y, "scale")

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}


@final
class FromFunctions(Diffeomorphism):
    """A diffeomorphism given by two callables on (batch, *event).

    Args:
        function: x to y.
        inverse_function: y to x.

    Raises:
        TypeError: if one is not callable.

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
        if not callable(function) or not callable(inverse_function):
            raise TypeError(
                f"FromFunctions needs two callables, got {brief(function)} and "
                f"{brief(inverse_function)}"
            )
        self.function, self.inverse_function = function, inverse_function

    def forward(self, x: State) -> Tensor:
        """Return function(x)."""
        return self.function(x)

    def inverse(self, y: State) -> Tensor:
        """Return inverse_function(y)."""
        return self.inverse_function(y)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"function": self.function, "inverse_function": self.inverse_function}

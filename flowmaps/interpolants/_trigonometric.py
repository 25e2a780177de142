"""The quarter circle from base to data."""

import math
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["Trigonometric"]

_QUARTER = math.pi / 2


@final
class Trigonometric(Interpolant):
    """I_t = scale cos(pi t / 2) x0 + sin(pi t / 2) x1 on [0, 1]; any base law.

    Variances add: independent samples x0 of variance one and x1 of variance scale^2 keep the latter
    at every time. With the data's standard deviation as scale it is TrigFlow, whose angle is
    pi / 2 (1 - t). The cosine is written sin(pi (1 - t) / 2), which is zero at t = 1 where
    cos(pi t / 2) is 6e-17.

    Args:
        scale: of the base sample.

    Raises:
        TypeError, ValueError: for a scale that is no positive number.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, the trigonometric interpolant;
        Lu and Song (2024), arXiv:2410.11081, section 3, TrigFlow.

    Example:
        >>> import torch, flowmaps as fm
        >>> path = fm.interpolants.Trigonometric()
        >>> x0, x1 = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> path.interpolate(1.0, x0, x1).tolist()
        [[0.0, 1.0]]
        >>> [round(value, 4) for value in path.interpolate(0.5, x0, x1)[0].tolist()]
        [0.7071, 0.7071]
        >>> [round(value, 4) for value in path.velocity(0.0, x0, x1)[0].tolist()]
        [0.0, 1.5708]
    """

    def __init__(self, scale: float = 1.0):
        self.scale = as_positive(scale, "scale")

    @property
    def times(self) -> tuple[float, float]:
        """The interval (0, 1)."""
        return (0.0, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """Return scale cos(pi t / 2)."""
        return self.scale * torch.sin(_QUARTER * (1 - t))

    def beta(self, t: Tensor) -> Tensor:
        """Return sin(pi t / 2)."""
        return torch.sin(_QUARTER * t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return -pi/2 scale sin(pi t / 2)."""
        return -_QUARTER * self.scale * self.beta(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return pi/2 cos(pi t / 2)."""
        return _QUARTER * torch.sin(_QUARTER * (1 - t))

    def config(self) -> dict[str, Any]:
        """Return the scale."""
        return {"scale": self.scale}

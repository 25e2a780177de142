"""The quarter circle from base to data."""

import math
from typing import Any, final

import torch
from torch import Tensor

from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["Trigonometric"]

_QUARTER = math.pi / 2


@final
class Trigonometric(Interpolant):
    """I_t = cos(pi t / 2) x0 + sin(pi t / 2) x1 on [0, 1]; any base law.

    Variances add to one: independent samples of unit variance keep it at every time. The cosine is
    written sin(pi (1 - t) / 2), which is zero at t = 1 where cos(pi t / 2) is 6e-17.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, the trigonometric interpolant.

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

    @property
    def times(self) -> tuple[float, float]:
        """The interval (0, 1)."""
        return (0.0, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """Return cos(pi t / 2)."""
        return torch.sin(_QUARTER * (1 - t))

    def beta(self, t: Tensor) -> Tensor:
        """Return sin(pi t / 2)."""
        return torch.sin(_QUARTER * t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return -pi/2 sin(pi t / 2)."""
        return -_QUARTER * self.beta(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return pi/2 cos(pi t / 2)."""
        return _QUARTER * self.alpha(t)

    def config(self) -> dict[str, Any]:
        """Return no arguments: there are none."""
        return {}

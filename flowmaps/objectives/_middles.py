"""Laws of the middle time u, by way of which a semigroup objective goes."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

__all__ = ["MiddleLaw", "Midpoint", "UniformMiddle"]


class MiddleLaw(ABC):
    """A law of u = gamma s + (1 - gamma) t between s and t.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Late(fm.objectives.MiddleLaw):
        ...     def sample(self, s, t, generator=None, progress=1.0):
        ...         return torch.lerp(s, t, 0.75)
        >>> Late().sample(torch.zeros(1), torch.ones(1)).item()
        0.75
    """

    @abstractmethod
    def sample(
        self,
        s: Tensor,
        t: Tensor,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Tensor:
        """Return u (n,), float64 on the device of s.

        Args:
            s, t: times (n,), float64.
            generator: a CPU generator.
            progress: fraction of training done, in [0, 1], for laws that change with it.
        """


@final
class Midpoint(MiddleLaw):
    """u halfway between s and t: gamma = 1/2.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.objectives.Midpoint().sample(torch.zeros(1), torch.ones(1)).item()
        0.5
    """

    def sample(
        self,
        s: Tensor,
        t: Tensor,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Tensor:
        """Return (s + t) / 2; see MiddleLaw."""
        return torch.lerp(s, t, 0.5)


@final
class UniformMiddle(MiddleLaw):
    """u uniform between s and t.

    Example:
        >>> import torch, flowmaps as fm
        >>> u = fm.objectives.UniformMiddle().sample(torch.zeros(9), torch.ones(9))
        >>> bool((u >= 0).all() and (u <= 1).all())
        True
    """

    def sample(
        self,
        s: Tensor,
        t: Tensor,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Tensor:
        """Return uniform times between s and t; see MiddleLaw."""
        fraction = torch.rand(len(s), generator=generator, dtype=torch.float64, device="cpu")
        return torch.lerp(s, t, fraction.to(s))

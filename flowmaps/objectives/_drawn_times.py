"""Laws of pairs of times made of others: sorted draws of one law, both orders, up to the end."""

from typing import final

import torch
from torch import Tensor

from flowmaps.objectives._marginals import Marginal, UniformTime, check_marginal
from flowmaps.objectives._times import SortedPair, SpanLimit, TimeLaw

__all__ = ["SortedDraws", "Square", "ToEnd"]


@final
class SortedDraws(TimeLaw):
    """Two times of one law, sorted.

    Args:
        marginal: the law, such as ``LogitNormal(0.4, 1.0)``; for uniform times ``SortedPair`` is
            the same and takes limits.

    Source:
        Geng et al. (2025), arXiv:2505.13447, section 4.3.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.SortedDraws(fm.objectives.LogitNormal()).sample(9, (0.0, 1.0))
        >>> bool((s <= t).all())
        True
    """

    def __init__(self, marginal: Marginal):
        self.marginal = check_marginal(marginal)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return sorted times; see TimeLaw."""
        one = self.marginal.sample(n, interval, generator)
        two = self.marginal.sample(n, interval, generator)
        return torch.minimum(one, two), torch.maximum(one, two)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class Square(TimeLaw):
    """Two uniform times in any order: forwards and backwards in time, equally often.

    Args:
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``;
            None for one.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2024), arXiv:2406.07507, proposition 3.11.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.Square().sample(100, (0.0, 1.0))
        >>> bool((s < t).any()), bool((s > t).any())
        (True, True)
    """

    def __init__(self, limit: SpanLimit | None = None):
        self.pair = SortedPair(limit)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return times in any order; see TimeLaw."""
        first, second = self.pair.sample(n, interval, generator, progress)
        swap = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu") < 0.5
        return torch.where(swap, second, first), torch.where(swap, first, second)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class ToEnd(TimeLaw):
    """t at the interval's upper end, s before it.

    Args:
        marginal: law of s; None for uniform.

    Source:
        Song et al. (2023), arXiv:2303.01469: a consistency model is X_{s,1}.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.ToEnd().sample(3, (0.0, 1.0))
        >>> t.tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, marginal: Marginal | None = None):
        self.marginal = UniformTime() if marginal is None else check_marginal(marginal)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return times to the end; see TimeLaw."""
        s = self.marginal.sample(n, interval, generator)
        return s, torch.full_like(s, interval[1])

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0

"""Laws of times on grids, and the next time on a grid: for methods that step."""

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_count, brief, is_number
from flowmaps.objectives._marginals import Marginal, UniformTime, check_marginal
from flowmaps.objectives._middles import MiddleLaw
from flowmaps.objectives._times import TimeLaw

__all__ = ["Doubling", "Dyadic", "NextNode", "Nodes", "OnNodes", "Shrinking"]

Count = int | Callable[[float], int]
"""A number of steps, or such a number by progress of training."""


@final
class Doubling:
    """A number of steps that doubles at equal intervals of training.

    Args:
        first, last: number of steps at the beginning and at the end.

    Raises:
        TypeError, ValueError: for counts that are none, or a last one below the first.

    Source:
        Song and Dhariwal (2023), arXiv:2310.14189, equation 5 (10 to 1280).

    Example:
        >>> import flowmaps as fm
        >>> steps = fm.objectives.Doubling(10, 40)
        >>> [steps(progress) for progress in (0.0, 0.5, 0.9)]
        [10, 20, 40]
    """

    def __init__(self, first: int = 10, last: int = 1280):
        self.first, self.last = as_count(first, "first"), as_count(last, "last")
        if self.last < self.first:
            raise ValueError(f"last must be at least first, got {first} and {last}")

    def __call__(self, progress: float) -> int:
        """Return the number of steps at this progress."""
        stages = 1 + math.ceil(math.log2(self.last / self.first) - 1e-9)
        return min(self.last, self.first * 2 ** min(int(progress * stages), stages - 1))


@final
class Nodes(TimeLaw):
    """s at a node of a grid of equal steps, the last left out, t at the interval's upper end.

    Args:
        count: number of steps, or that number by progress, such as ``Doubling()``.
        marginal: law of a time whose node, the last not after it, is s; None for all nodes alike.

    Raises:
        TypeError, ValueError: for a count that is none.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithms 2 and 3.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.Nodes(4).sample(100, (0.0, 1.0))
        >>> sorted(set(s.tolist())), set(t.tolist())
        ([0.0, 0.25, 0.5, 0.75], {1.0})
    """

    def __init__(self, count: Count, marginal: Marginal | None = None):
        self.count = _check_count(count)
        self.marginal = UniformTime() if marginal is None else check_marginal(marginal)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return nodes and the end; see TimeLaw."""
        count = _counted(self.count, progress)
        lower, upper = interval
        fraction = (self.marginal.sample(n, interval, generator) - lower) / (upper - lower)
        number = (fraction * count).long().clamp(0, count - 1)
        return _node(number, count, interval), torch.full((n,), interval[1], dtype=torch.float64)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class OnNodes(TimeLaw):
    """s and t neighbours on a grid of equal steps.

    Args:
        count: number of steps, or that number by progress.

    Raises:
        TypeError, ValueError: for a count that is none.

    Source:
        Salimans and Ho (2022), arXiv:2202.00512, algorithm 2.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.OnNodes(2).sample(100, (0.0, 1.0))
        >>> sorted(set(zip(s.tolist(), t.tolist())))
        [(0.0, 0.5), (0.5, 1.0)]
    """

    def __init__(self, count: Count):
        self.count = _check_count(count)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return neighbours; see TimeLaw."""
        count = _counted(self.count, progress)
        number = torch.randint(count, (n,), generator=generator, device="cpu")
        return _node(number, count, interval), _node(number + 1, count, interval)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class Dyadic(TimeLaw):
    """Spans 1, 1/2, 1/4, ... of the interval, each as often, starting at a multiple of themselves.

    Args:
        depth: number of halvings: the shortest span is 2^-depth.

    Raises:
        TypeError, ValueError: for a count that is none.

    Source:
        Frans et al. (2024), arXiv:2410.12557, section 3.2 (depth 7).

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.Dyadic(depth=1).sample(100, (0.0, 1.0))
        >>> sorted(set(zip(s.tolist(), t.tolist())))
        [(0.0, 0.5), (0.0, 1.0), (0.5, 1.0)]
    """

    def __init__(self, depth: int = 7):
        self.depth = as_count(depth, "depth", least=0)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return dyadic pairs; see TimeLaw."""
        level = torch.randint(self.depth + 1, (n,), generator=generator, device="cpu")
        fraction = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
        count = 2**level
        number = (fraction * count).long()
        return _node(number, count, interval), _node(number + 1, count, interval)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class NextNode(MiddleLaw):
    """u the next node after s on a grid of equal steps over an interval, at most t.

    Args:
        count: number of steps, or that number by progress, as of the law of s.
        times: the interval.

    Raises:
        TypeError, ValueError: for a count that is none, or times that do not increase.

    Source:
        Song et al. (2023), arXiv:2303.01469, algorithms 2 and 3.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.objectives.NextNode(4, (0.0, 1.0)).sample(torch.zeros(1), torch.ones(1)).tolist()
        [0.25]
    """

    def __init__(self, count: Count, times: tuple[float, float] = (0.0, 1.0)):
        self.count, (lower, upper) = _check_count(count), times
        if not lower < upper:
            raise ValueError(f"times must increase, got {times}")
        self.times = (float(lower), float(upper))

    def sample(
        self,
        s: Tensor,
        t: Tensor,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Tensor:
        """Return the next node; see MiddleLaw."""
        lower, upper = self.times
        count = _counted(self.count, progress)
        # the number of s, or of the last node before it; the sum may pass t by a rounding
        number = ((s - lower) / (upper - lower) * count + 1e-9).floor()
        return torch.minimum(lower + (number + 1) / count * (upper - lower), t)


@final
class Shrinking(MiddleLaw):
    """u so that what is left from s to t shrinks: u = s + (t - s) base^-k, k rising by progress.

    Starts with u = t, where the compared state is the end itself and training is a regression on
    data, and ends at a step of ``base^-stages`` of the way.

    Args:
        base: above 1.
        stages: the last k.

    Raises:
        TypeError, ValueError: for numbers that are none of these.

    Source:
        Geng et al. (2024), arXiv:2406.14548, equation 11 (base 2, 8 stages), of the noise level.

    Example:
        >>> import torch, flowmaps as fm
        >>> law = fm.objectives.Shrinking(base=2.0, stages=2)
        >>> zero, one = torch.zeros(1), torch.ones(1)
        >>> [law.sample(zero, one, progress=progress).item() for progress in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.25]
    """

    def __init__(self, base: float = 2.0, stages: int = 8):
        if not is_number(base) or not 1 < base < math.inf:
            raise ValueError(f"base must be a number above 1, got {brief(base)}")
        self.base, self.stages = float(base), as_count(stages, "stages")

    def sample(
        self,
        s: Tensor,
        t: Tensor,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> Tensor:
        """Return the times nearer to s by progress; see MiddleLaw."""
        stage = min(int(progress * (self.stages + 1)), self.stages)
        return torch.minimum(s + (t - s) * self.base**-stage, t)


def _check_count(count: Count) -> Count:
    for progress in (0.0, 1.0):
        _counted(count, progress)
    return count if callable(count) else as_count(count, "count")


def _counted(count: Count, progress: float) -> int:
    return as_count(count(progress) if callable(count) else count, "count")


def _node(number: Tensor, count: Tensor | int, interval: tuple[float, float]) -> Tensor:
    lower, upper = interval
    return (lower + number.double() / count * (upper - lower)).clamp(max=upper)

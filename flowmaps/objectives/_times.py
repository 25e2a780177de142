"""Laws of the pairs of times (s, t) at which an objective compares, of fixed shapes and counts."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import brief, is_number
from flowmaps.objectives._marginals import Marginal, check_marginal

__all__ = [
    "Diagonal",
    "FromStart",
    "GrowingSpan",
    "Mixed",
    "SortedPair",
    "TimeLaw",
]

SpanLimit = Callable[[float], float]


class TimeLaw(ABC):
    """A law of pairs of times; of n rows the first ``diagonal(n)`` have s = t.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Whole(fm.objectives.TimeLaw):
        ...     def sample(self, n, interval, generator=None, progress=1.0):
        ...         return tuple(torch.full((n,), end, dtype=torch.float64) for end in interval)
        ...     def diagonal(self, n, progress=1.0):
        ...         return 0
        >>> [time.tolist() for time in Whole().sample(2, (0.0, 1.0))]
        [[0.0, 0.0], [1.0, 1.0]]
    """

    @abstractmethod
    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return s and t, (n,) each, float64 on the CPU.

        Args:
            n: number of pairs.
            interval: lower and upper end of all times.
            generator: a CPU generator.
            progress: fraction of training done, in [0, 1]; 1, the law as it is at last.
        """

    @abstractmethod
    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return how many of n rows have s = t, at this progress of training."""


@final
class GrowingSpan:
    """The longest span allowed, as a fraction of the interval: grows linearly with progress.

    Args:
        start: fraction at the beginning, in (0, 1].
        until: progress at which the whole interval is allowed, in (0, 1].

    Example:
        >>> import flowmaps as fm
        >>> limit = fm.objectives.GrowingSpan(start=0.5, until=0.5)
        >>> limit(0.0), limit(0.25), limit(1.0)
        (0.5, 0.75, 1.0)
    """

    def __init__(self, start: float = 0.1, until: float = 0.5):
        for name, value in (("start", start), ("until", until)):
            if not is_number(value):
                raise TypeError(f"{name} must be a number, got {brief(value)}")
        if not (0 < start <= 1 and 0 < until <= 1):
            raise ValueError(f"start and until must be in (0, 1], got {start} and {until}")
        self.start, self.until = start, until

    def __call__(self, progress: float) -> float:
        """Return the fraction allowed at this progress."""
        return min(1.0, self.start + (1 - self.start) * progress / self.until)


@final
class Diagonal(TimeLaw):
    """s = t, uniform in the interval or by another law.

    Args:
        marginal: law of the time, such as ``LogitNormal()``; None for uniform.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.Diagonal().sample(4, (0.0, 1.0))
        >>> bool((s == t).all())
        True
    """

    def __init__(self, marginal: Marginal | None = None):
        self.marginal = None if marginal is None else check_marginal(marginal)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return equal times; see TimeLaw."""
        if self.marginal is None:
            t = _scaled(_uniform(n, generator), interval)
        else:
            t = self.marginal.sample(n, interval, generator)
        return t, t.clone()

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return n."""
        return n


@final
class SortedPair(TimeLaw):
    """Two uniform times, sorted; with a limit, the same law given that the span is within it.

    The span r of two sorted uniforms has density 2 (1 - r); it is drawn by inversion, so that a
    limit changes no shape and rejects nothing.

    Args:
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``;
            None for one.

    Raises:
        TypeError, ValueError: for a limit that is no function, or not in (0, 1].

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.SortedPair().sample(100, (0.0, 2.0))
        >>> bool((s <= t).all() and (t <= 2).all())
        True
    """

    def __init__(self, limit: SpanLimit | None = None):
        self.limit = _check_limit(limit)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return sorted times; see TimeLaw."""
        longest = _allowed(self.limit, progress)
        mass = longest * (2 - longest)
        span = 1 - torch.sqrt(1 - mass * _uniform(n, generator))
        s = (1 - span) * _uniform(n, generator)
        return _scaled(s, interval), _scaled(s + span, interval)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class FromStart(TimeLaw):
    """s at the interval's lower end, t uniform after it.

    For autonomous fields, whose flow map depends on t - s alone.

    Args:
        limit: longest span as a fraction of the interval, by progress, such as ``GrowingSpan()``;
            None for one.

    Raises:
        TypeError, ValueError: for a limit that is no function, or not in (0, 1].

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.FromStart().sample(3, (0.0, 0.25))
        >>> s.tolist(), bool((t <= 0.25).all())
        ([0.0, 0.0, 0.0], True)
    """

    def __init__(self, limit: SpanLimit | None = None):
        self.limit = _check_limit(limit)

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return times from the start; see TimeLaw."""
        span = _allowed(self.limit, progress) * _uniform(n, generator)
        return _scaled(torch.zeros_like(span), interval), _scaled(span, interval)

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return 0."""
        return 0


@final
class Mixed(TimeLaw):
    """A fixed share of rows on the diagonal, the rest by another law.

    Args:
        share: fraction of rows with s = t; of n rows it is ``round(share * n)``, but at least one
            row and all but one row at most, unless the share is 0 or 1.
        rest: law of the other rows.
        pretrain: fraction of training, in [0, 1), in which all rows are on the diagonal; the other
            law's progress starts after it.
        own: law of the rows with s = t; None for ``Diagonal()``.

    Raises:
        TypeError: for what is no number, or no law.
        ValueError: for a share or a fraction outside; at a draw of a single row, which cannot be on
            the diagonal and off it.

    Example:
        >>> import flowmaps as fm
        >>> s, t = fm.objectives.Mixed(0.75).sample(8, (0.0, 1.0))
        >>> (s == t).tolist()
        [True, True, True, True, True, True, False, False]
    """

    def __init__(
        self,
        share: float,
        rest: TimeLaw | None = None,
        pretrain: float = 0.0,
        own: Diagonal | None = None,
    ):
        for name, value in (("the share of the diagonal", share), ("pretrain", pretrain)):
            if not is_number(value):
                raise TypeError(f"{name} must be a number, got {brief(value)}")
        for name, law, kind in (("rest", rest, TimeLaw), ("own", own, Diagonal)):
            if law is not None and not isinstance(law, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {brief(law)}")
        if not 0 <= share <= 1:
            raise ValueError(f"the share of the diagonal must be in [0, 1], got {share}")
        if not 0 <= pretrain < 1:
            raise ValueError(f"pretrain must be a fraction of training in [0, 1), got {pretrain}")
        self.share, self.rest, self.pretrain = share, rest or SortedPair(), pretrain
        self.own = own or Diagonal()

    def sample(
        self,
        n: int,
        interval: tuple[float, float],
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return diagonal pairs, then the others; see TimeLaw."""
        count = self._count(n, progress)
        s, t = self.own.sample(count, interval, generator, progress)
        after = self._after(progress)
        other_s, other_t = self.rest.sample(n - count, interval, generator, after)
        return torch.cat([s, other_s]), torch.cat([t, other_t])

    def diagonal(self, n: int, progress: float = 1.0) -> int:
        """Return the share's rows, n while pre-training, and what the other law adds."""
        count = self._count(n, progress)
        return count + self.rest.diagonal(n - count, self._after(progress))

    def _count(self, n: int, progress: float) -> int:
        if n == 0 or progress < self.pretrain:
            return n
        if self.share in (0, 1):
            return round(self.share * n)
        if n == 1:
            raise ValueError(
                f"a share of {self.share:g} of the rows is on the diagonal, the rest is not: that "
                "takes two rows at least, got 1; give a larger batch"
            )
        # a law that small batches round away would never be trained
        return min(max(round(self.share * n), 1), n - 1)

    def _after(self, progress: float) -> float:
        return max(0.0, progress - self.pretrain) / (1 - self.pretrain)


def _uniform(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")


def _scaled(fraction: Tensor, interval: tuple[float, float]) -> Tensor:
    lower, upper = interval
    # min: lower + 1 * (upper - lower) may pass upper by a rounding
    return (lower + fraction * (upper - lower)).clamp(max=upper)


def _check_limit(limit: SpanLimit | None) -> SpanLimit | None:
    """Return a limit of spans; raise unless it is a function of progress with values in (0, 1]."""
    if limit is not None and not callable(limit):
        raise TypeError(
            "limit must be a function of progress such as GrowingSpan(), or None, got "
            f"{brief(limit)}; for a constant give lambda progress: {brief(limit)}"
        )
    for progress in (0.0, 0.5, 1.0):
        _allowed(limit, progress)
    return limit


def _allowed(limit: SpanLimit | None, progress: float) -> float:
    longest = 1.0 if limit is None else float(limit(progress))
    if not 0 < longest <= 1:
        raise ValueError(
            f"a limit of spans must be in (0, 1], got {longest} at progress {progress}"
        )
    return longest

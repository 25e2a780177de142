"""Laws of one time, as fractions of an interval."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive, brief, is_number
from flowmaps.interpolants import Interpolant

__all__ = ["LogitNormal", "Marginal", "NoiseLevel", "UniformTime", "check_marginal"]


class Marginal(ABC):
    """A law of a time in an interval, drawn by inversion.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Late(fm.objectives.Marginal):
        ...     def quantile(self, level, interval):
        ...         return interval[0] + level.sqrt() * (interval[1] - interval[0])
        >>> s, t = fm.objectives.SortedDraws(Late()).sample(5, (0.0, 1.0))
        >>> bool((s <= t).all())
        True
    """

    @abstractmethod
    def quantile(self, level: Tensor, interval: tuple[float, float]) -> Tensor:
        """Return the times (n,) below which a time falls with chance ``level`` (n,), float64."""

    def sample(
        self, n: int, interval: tuple[float, float], generator: torch.Generator | None = None
    ) -> Tensor:
        """Return n times in the interval, float64 on the CPU."""
        level = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
        return self.quantile(level, interval).clamp(*interval)


def check_marginal(marginal: Any) -> Marginal:
    """Return a law of one time; raise TypeError for anything else."""
    if not isinstance(marginal, Marginal):
        raise TypeError(
            "marginal must be an fm.objectives.Marginal such as LogitNormal(), got "
            f"{brief(marginal)}"
        )
    return marginal


@final
class UniformTime(Marginal):
    """Uniform in the interval.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.objectives.UniformTime().quantile(torch.tensor([0.25]), (0.0, 2.0)).tolist()
        [0.5]
    """

    def quantile(self, level: Tensor, interval: tuple[float, float]) -> Tensor:
        """Return the quantile; see Marginal."""
        return interval[0] + level * (interval[1] - interval[0])


@final
class LogitNormal(Marginal):
    """The logistic function of a normal number, as a fraction of the interval.

    Args:
        mean: of the normal number; positive means nearer to the data, time's upper end.
        std: its standard deviation.

    Raises:
        TypeError, ValueError: for numbers that are none, or std that is not positive.

    Source:
        Esser et al. (2024), arXiv:2403.03206, section 3.1.

    Example:
        >>> import torch, flowmaps as fm
        >>> half = torch.tensor([0.5], dtype=torch.float64)
        >>> round(fm.objectives.LogitNormal(0.0, 1.0).quantile(half, (0.0, 1.0)).item(), 12)
        0.5
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0):
        if not is_number(mean):
            raise TypeError(f"mean must be a number, got {brief(mean)}")
        self.mean, self.std = float(mean), as_positive(std, "std")

    def quantile(self, level: Tensor, interval: tuple[float, float]) -> Tensor:
        """Return the quantile; see Marginal."""
        fraction = torch.sigmoid(self.mean + self.std * torch.special.ndtri(level))
        return interval[0] + fraction * (interval[1] - interval[0])


@final
class NoiseLevel(Marginal):
    """Times at which the noise alpha(t) / beta(t) of an interpolant is log-normal.

    Levels beyond those of the interval's ends are drawn again, by inversion of the truncated law.

    Args:
        interpolant: whose noise falls with time.
        mean, std: of the noise's natural logarithm; -1.1 and 2.0 in iCT.

    Raises:
        TypeError, ValueError: for what is no interpolant, or numbers that are none.

    Source:
        Karras et al. (2022), arXiv:2206.00364, table 1; Song and Dhariwal (2023), arXiv:2310.14189,
        section 3.5.

    Example:
        >>> import torch, flowmaps as fm
        >>> law = fm.objectives.NoiseLevel(fm.interpolants.Linear(), mean=0.0, std=1.0)
        >>> half = torch.tensor([0.5], dtype=torch.float64)
        >>> round(law.quantile(half, (0.0, 1.0)).item(), 6)  # (1 - t) / t = 1
        0.5
    """

    def __init__(self, interpolant: Interpolant, mean: float = -1.1, std: float = 2.0):
        if not isinstance(interpolant, Interpolant):
            raise TypeError(
                f"interpolant must be an fm.interpolants.Interpolant, got {brief(interpolant)}"
            )
        if not is_number(mean):
            raise TypeError(f"mean must be a number, got {brief(mean)}")
        self.interpolant, self.mean, self.std = interpolant, float(mean), as_positive(std, "std")

    def quantile(self, level: Tensor, interval: tuple[float, float]) -> Tensor:
        """Return the quantile; see Marginal."""
        ends = torch.tensor(interval, dtype=torch.float64)
        most, least = torch.special.ndtr((self._noise(ends) - self.mean) / self.std)
        # time rises as noise falls
        wanted = self.mean + self.std * torch.special.ndtri(torch.lerp(most, least, level))
        return _bisected(lambda t: wanted - self._noise(t), level, interval)

    def _noise(self, t: Tensor) -> Tensor:
        """Return the logarithm of alpha / beta at times (n,)."""
        return torch.log(self.interpolant.alpha(t)) - torch.log(self.interpolant.beta(t))


def _bisected(
    rising: Callable[[Tensor], Tensor], like: Tensor, interval: tuple[float, float]
) -> Tensor:
    """Return the times at which a rising function of time is zero."""
    low, high = torch.full_like(like, interval[0]), torch.full_like(like, interval[1])
    for _ in range(60):
        middle = (low + high) / 2
        below = rising(middle) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2

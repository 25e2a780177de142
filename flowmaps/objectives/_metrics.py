"""Metrics: how far a residual is from zero, one number a sample."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_count, as_positive, brief, is_number

__all__ = [
    "Absolute",
    "Adaptive",
    "Between",
    "InHighDimension",
    "Metric",
    "Normalised",
    "PseudoHuber",
    "Squared",
    "check_metric",
]

Square = Callable[[Tensor], Tensor]


class Metric(ABC):
    """Turns residuals (rows, *event) into numbers (rows,), by way of the square |r|^2.

    The square is summed or averaged over a sample's coordinates, as the objective's ``reduction``
    says; the constants of a metric mean that square.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Fourth(fm.objectives.Metric):
        ...     def __call__(self, residual, square):
        ...         return square(residual) ** 2
        >>> o = fm.objectives
        >>> term = o.Term("tangent", o.principles.tangent, o.teachers.data, metric=Fourth())
    """

    robust = False
    """Whether noise of mean zero in the residual moves the minimum."""
    compares = False
    """Whether it asks for both states, by ``compare(a, b)``, and not for their difference."""

    @abstractmethod
    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return one number a row (rows,).

        Args:
            residual: (rows, *event).
            square: the objective's reduction, (rows, *event) -> (rows,), in float32 or better.
        """


@final
class Squared(Metric):
    """|r|^2: where the residual holds noise of mean zero the minimum is at its conditional mean.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.objectives.Squared()(torch.ones(1, 2), lambda r: r.square().sum(1)).tolist()
        [2.0]
    """

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return |r|^2; see Metric."""
        return square(residual)


@final
class Absolute(Metric):
    """|r|_1, the sum of absolute values: where the residual holds noise, at its median.

    With ``reduction="mean"`` the mean. Its gradient is of size one however small the residual: let
    the learning rate go to zero, or take ``PseudoHuber`` to converge.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.Absolute()
        >>> metric(torch.tensor([[3.0, -4.0]]), lambda r: r.square().sum(1)).tolist()
        [7.0]
    """

    robust = True

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return |r|_1; see Metric."""
        wide = residual.to(torch.promote_types(residual.dtype, torch.float32)).flatten(1)
        # the square of ones is their number or 1: so a reduction tells the sum from the mean
        share = square(torch.ones_like(wide)) / max(wide.shape[1], 1)
        return share * wide.abs().sum(1)


@final
class PseudoHuber(Metric):
    """sqrt(|r|^2 + c^2) - c: a square within c, a length beyond.

    On a residual that holds noise of the data it estimates no mean: the minimum moves for laws that
    are skewed.

    Args:
        c: in units of the residual; None for 0.00054 sqrt(dim), the paper's for sums over dim
            coordinates.

    Raises:
        TypeError, ValueError: for c that is no positive number.

    Source:
        Song and Dhariwal (2023), arXiv:2310.14189, equation 7.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.PseudoHuber(c=4.0)
        >>> metric(torch.tensor([[3.0]]), lambda r: r.square().sum(1)).tolist()
        [1.0]
    """

    robust = True

    def __init__(self, c: float | None = None):
        self.c = None if c is None else as_positive(c, "c")

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return sqrt(|r|^2 + c^2) - c; see Metric."""
        value, c = square(residual), self.c
        if c is None:
            c = 0.00054 * math.sqrt(residual[0].numel())
        # the difference of the two roots, multiplied out: no cancellation at small residuals
        return value / (torch.sqrt(value + c**2) + c)


@final
class Adaptive(Metric):
    """|r|^2 / sg(|r|^2 + c)^p: rows with large residuals count less.

    Its gradient is that of (|r|^2 + c)^(1 - p) / (1 - p). On a residual that holds noise of the
    data it moves the minimum for laws that are skewed, the more so the fewer the coordinates.

    Args:
        power: p, in [0, 1]; 0 is the square.
        c: in units of the square.

    Raises:
        TypeError, ValueError: for a power outside, or c that is no positive number.

    Source:
        Geng et al. (2025), arXiv:2505.13447, equation 22, p = .75 and c = 1e-3 on CIFAR-10.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.Adaptive(power=1.0, c=1.0)
        >>> metric(torch.tensor([[3.0]]), lambda r: r.square().sum(1)).tolist()
        [0.8999999761581421]
    """

    def __init__(self, power: float = 0.75, c: float = 1e-3):
        if not is_number(power):
            raise TypeError(f"power must be a number, got {brief(power)}")
        if not 0 <= power <= 1:
            raise ValueError(f"power must be in [0, 1], got {power}")
        self.power, self.c = float(power), as_positive(c, "c")
        self.robust = power > 0

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return |r|^2 / sg(|r|^2 + c)^p; see Metric."""
        value = square(residual)
        return value / (value.detach() + self.c) ** self.power


@final
class Normalised(Metric):
    """|r|^2 / sg(|r| + c): its gradient is that of a square whose residual is r / (|r| + c).

    The tangent normalisation: however large the residual, the step is bounded. On a residual that
    holds noise of the data it moves the minimum for laws that are skewed.

    Args:
        c: in units of |r|; the papers take 0.1.

    Raises:
        TypeError, ValueError: for c that is no positive number.

    Source:
        Lu and Song (2024), arXiv:2410.11081, section 4.1; Sabour, Fidler and Kreis (2025),
        arXiv:2506.14603.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.Normalised(c=1.0)
        >>> metric(torch.tensor([[3.0]]), lambda r: r.square().sum(1)).tolist()
        [2.25]
    """

    robust = True

    def __init__(self, c: float = 0.1):
        self.c = as_positive(c, "c")

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return |r|^2 / sg(|r| + c); see Metric."""
        value = square(residual)
        return value / (value.detach().sqrt() + self.c)


@final
class InHighDimension(Metric):
    """A robust metric where a state has many coordinates, the square where it has few.

    In thousands of dimensions the noise's length hardly varies and a robust metric moves the
    minimum little; in two it moves it by more than the field itself for skewed laws. The default of
    methods whose papers train images.

    Args:
        metric: where there are at least ``least`` coordinates.
        least: number of coordinates.

    Raises:
        TypeError, ValueError: for what is no metric, or a number that is none.

    Example:
        >>> import torch, flowmaps as fm
        >>> metric = fm.objectives.InHighDimension(fm.objectives.PseudoHuber(), least=64)
        >>> metric(torch.ones(1, 2), lambda r: r.square().sum(1)).tolist()
        [2.0]
    """

    robust = True

    def __init__(self, metric: Metric, least: int = 64):
        self.metric, self.least = check_metric(metric), as_count(least, "least")

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Return the metric's value, or |r|^2; see Metric."""
        many = residual[0].numel() >= self.least
        return self.metric(residual, square) if many else square(residual)


@final
class Between(Metric):
    """A user's distance of two states, such as a perceptual one.

    For principles with ``sides``, ``recorded``, ``Consistency`` and ``Chained``: the learned
    state and the one that it is to be.

    Args:
        distance: ``distance(a, b) -> (rows,)`` of states (rows, *event); least where a is b.

    Raises:
        TypeError: if it cannot be called.

    Example:
        >>> import torch, flowmaps as fm
        >>> longest = fm.objectives.Between(lambda a, b: (a - b).abs().amax(1))
        >>> longest.compare(torch.zeros(1, 2), torch.tensor([[1.0, -3.0]])).tolist()
        [3.0]
    """

    robust = True
    compares = True

    def __init__(self, distance: Callable[[Tensor, Tensor], Tensor]):
        if not callable(distance):
            raise TypeError(f"distance must be callable as (a, b), got {brief(distance)}")
        self.distance = distance

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (rows,) of states a and b (rows, *event).

        Raises:
            ValueError: if the user's function returns another shape.
        """
        value = self.distance(a, b)
        if value.shape != a.shape[:1]:
            raise ValueError(
                f"distance(a, b) must return one number a row, ({len(a)},), "
                f"got {tuple(value.shape)}"
            )
        return value

    def __call__(self, residual: Tensor, square: Square) -> Tensor:
        """Refuse: a distance asks for both sides.

        Raises:
            TypeError: always; a Term calls ``compare``.
        """
        raise TypeError("a distance of two states is not a function of their difference")


def check_metric(metric: Metric | None) -> Metric:
    """Return the metric, squared for None; raise TypeError for what is none."""
    if metric is None:
        return Squared()
    if not isinstance(metric, Metric):
        raise TypeError(
            "metric must be an fm.objectives.Metric such as PseudoHuber(0.03), or "
            f"Between(distance) for a function of two states, got {brief(metric)}"
        )
    return metric

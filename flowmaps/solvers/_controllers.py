"""Step-size controllers: from error ratios to the factor by which the next step is longer."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import torch

from flowmaps._typing import PerSample

__all__ = ["PI", "Controller", "I"]


@dataclass(frozen=True)
class Controller(ABC):
    """Chooses the next step of every sample from the ratio of its error to its tolerance.

    Args:
        safety: the factor aims at this fraction of the step that would just be accepted, in (0, 1).
        shortest: least factor from one step to the next, in (0, 1).
        longest: greatest factor, above 1.

    Raises:
        ValueError: for values outside these ranges.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Bold(fm.solvers.Controller):
        ...     def raw_factor(self, ratio, previous, order):
        ...         return torch.exp(-torch.log(ratio) / (order - 1))
        >>> growth, bold = lambda t, x: x, Bold()
        >>> bool(fm.solvers.solve(growth, 0.0, 1.0, torch.ones(1, 1), controller=bold).success)
        True
    """

    safety: float = 0.9
    shortest: float = 0.2
    longest: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.safety < 1 and 0 < self.shortest < 1 < self.longest):
            raise ValueError(
                "a controller needs 0 < safety < 1 and 0 < shortest < 1 < longest, got "
                f"{self.safety}, {self.shortest}, {self.longest}"
            )

    @abstractmethod
    def raw_factor(self, ratio: PerSample, previous: PerSample, order: int) -> PerSample:
        """Return the unlimited factor.

        Args:
            ratio: error over tolerance, (batch,), positive.
            previous: the ratio of the last accepted step.
            order: order of the local error.

        Powers are best written as exponentials of logarithms: torch rounds ``**`` differently for
        one sample and for many, and a sample alone should take the steps that it takes in a batch.
        """

    def factor(self, ratio: PerSample, previous: PerSample, order: int) -> PerSample:
        """Return the factor of the next step, within the limits; arguments as in raw_factor."""
        ratio, previous = ratio.clamp_min(1e-10), previous.clamp_min(1e-10)
        factor = self.safety * self.raw_factor(ratio, previous, order)
        return torch.clamp(factor, self.shortest, self.longest)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return asdict(self)


@dataclass(frozen=True)
class I(Controller):  # noqa: E742  (the literature's name)
    """The integral controller: factor = safety * ratio^(-1/k), k the order of the local error.

    Source:
        Hairer, Norsett, Wanner (1993), Solving ODEs I, section II.4, equation 4.13.

    Example:
        >>> import torch, flowmaps as fm
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> round(fm.solvers.I().factor(32 * one, one, 5).item(), 6)
        0.45
    """

    def raw_factor(self, ratio: PerSample, previous: PerSample, order: int) -> PerSample:
        """Return ratio^(-1/order)."""
        return torch.exp(-torch.log(ratio) / order)


@dataclass(frozen=True)
class PI(Controller):
    """The proportional-integral controller: factor = safety * ratio^(-alpha/k) * previous^(beta/k).

    Args:
        alpha: exponent of the present ratio, times k.
        beta: exponent of the previous accepted ratio, times k.

    Source:
        Gustafsson (1991), Control theoretic techniques for stepsize selection in explicit
            Runge-Kutta methods, ACM Trans. Math. Softw. 17, 533-554; Hairer, Wanner (1996), Solving
            ODEs II, section IV.2, with alpha = 0.7, beta = 0.4.

    Example:
        >>> import torch, flowmaps as fm
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> fm.solvers.PI().factor(one, one, 5).item()
        0.9
    """

    alpha: float = 0.7
    beta: float = 0.4

    def raw_factor(self, ratio: PerSample, previous: PerSample, order: int) -> PerSample:
        """Return ratio^(-alpha/order) * previous^(beta/order)."""
        exponent = self.beta * torch.log(previous) - self.alpha * torch.log(ratio)
        return torch.exp(exponent / order)

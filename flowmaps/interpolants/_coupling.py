"""Couplings: which base sample meets which data sample."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

__all__ = ["Coupling", "Given", "Independent"]


class Coupling(ABC):
    """A joint law of base and data samples; data samples are drawn first, then their partners.

    A coupling of a batch, such as minibatch optimal transport, draws partners independently and
    permutes them against ``x1[rows]``: that leaves the law of each side as it is.

    Example:
        >>> import torch, flowmaps as fm
        >>> class Sorted(fm.interpolants.Coupling):  # of numbers: the optimal one
        ...     def check(self, x0, x1):
        ...         fm.interpolants.Independent().check(x0, x1)
        ...     def draw(self, x0, x1, rows, generator=None):
        ...         drawn = fm.interpolants.Independent().draw(x0, x1, rows, generator)
        ...         return drawn.sort(0).values[x1[rows].argsort(0).argsort(0)[:, 0]]
        >>> x1 = torch.tensor([[3.0], [1.0], [2.0]])
        >>> x0 = Sorted().draw(None, x1, torch.arange(3))[:, 0]
        >>> bool(x0[1] <= x0[2] <= x0[0])
        True
    """

    @abstractmethod
    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        """Raise ValueError if these sets cannot be coupled; arguments as in draw."""

    @abstractmethod
    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the base samples (batch, *event) that meet the data samples ``x1[rows]``.

        Args:
            x0: the set of base samples (n0, *event); None for the standard normal law.
            x1: the set of data samples (n1, *event).
            rows: the data samples drawn, (batch,), on the CPU.
            generator: a CPU generator, the only source of randomness.
        """


@final
class Given(Coupling):
    """Row i of the base set meets row i of the data set.

    Example:
        >>> import torch, flowmaps as fm
        >>> x0, x1 = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
        >>> fm.interpolants.Given().draw(x0, x1, torch.tensor([1, 0])).tolist()
        [[2.0], [1.0]]
    """

    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        """Raise ValueError unless x0 is given and has x1's shape, dtype and device."""
        if x0 is None:
            raise ValueError(
                "normal draws have no rows to couple; give x0, or coupling=Independent()"
            )
        if x0.shape != x1.shape or not _alike(x0, x1):
            raise ValueError(
                "x0 and x1 are coupled row by row: shape, dtype and device must agree, got "
                f"{_described(x0)} and {_described(x1)}; couple sets of different sizes by "
                "coupling=fm.interpolants.Independent()"
            )

    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return ``x0[rows]``; see Coupling."""
        assert x0 is not None  # as checked
        return x0[rows.to(x0.device)]


@final
class Independent(Coupling):
    """Every data sample meets a base sample drawn independently of it, with replacement.

    Example:
        >>> import torch, flowmaps as fm
        >>> x0, x1 = torch.zeros(3, 2), torch.ones(100, 2)
        >>> fm.interpolants.Independent().draw(x0, x1, torch.arange(5)).shape
        torch.Size([5, 2])
    """

    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        """Raise ValueError unless samples of x0 have the shape, dtype and device of x1's."""
        if x0 is None:
            return
        if len(x0) == 0:
            raise ValueError("x0 holds no samples; give at least one row, or None for normal draws")
        if x0.shape[1:] != x1.shape[1:] or not _alike(x0, x1):
            raise ValueError(
                "samples of x0 and x1 must agree in shape, dtype and device, got sets "
                f"{_described(x0)} and {_described(x1)}"
            )

    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return base samples drawn anew for every row; see Coupling."""
        if x0 is None:
            shape = (len(rows), *x1.shape[1:])
            noise = torch.randn(shape, generator=generator, dtype=x1.dtype, device="cpu")
            return noise.to(x1.device)
        own = torch.randint(len(x0), (len(rows),), generator=generator, device="cpu")
        return x0[own.to(x0.device)]


def _alike(x0: Tensor, x1: Tensor) -> bool:
    return x0.dtype == x1.dtype and x0.device == x1.device


def _described(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype} {x.device}"

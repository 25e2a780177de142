"""Changes of coordinates with closed inverses, and what they make of a domain."""

from functools import lru_cache
from typing import Any, final

import torch
from hypothesis import strategies as st
from torch import Tensor

from flowmaps._checks import as_count, as_positive, brief, is_number
from flowmaps._typing import Count, Mask, State
from flowmaps.domains import Domain
from flowmaps.maps import Affine, Diffeomorphism
from flowmaps.testing.strategies._numbers import numbers

__all__ = ["Coupling", "Image", "Squeeze", "described", "diffeomorphisms"]


@final
class Coupling(Diffeomorphism):
    """The second half of the coordinates moves by amount times the sine of the first half's sum.

    Args:
        amount: a finite number; 0 leaves all as it is.

    Raises:
        TypeError: if it is no number.

    Source:
        Dinh, Krueger and Bengio (2015), NICE, arXiv:1410.8516, equation 3.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.testing.strategies.Coupling(1.0)(torch.tensor([[0.0, 2.0]])).tolist()
        [[0.0, 2.0]]
    """

    def __init__(self, amount: float):
        super().__init__()
        if not is_number(amount):
            raise TypeError(f"amount must be a number, got {brief(amount)}")
        self.amount = float(amount)

    def forward(self, x: State) -> Tensor:
        """Return (x_1, x_2 + amount sin(sum x_1)) of the halves of x (batch, dim)."""
        return self._moved(x, self.amount)

    def inverse(self, y: State) -> Tensor:
        """Return (y_1, y_2 - amount sin(sum y_1))."""
        return self._moved(y, -self.amount)

    def _moved(self, x: State, amount: float) -> Tensor:
        first, second = x.tensor_split((x.shape[1] // 2,), dim=1)
        return torch.cat([first, second + amount * torch.sin(first.sum(1, keepdim=True))], dim=1)

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"amount": self.amount}


@final
class Squeeze(Diffeomorphism):
    """y = arsinh(rate x) / rate, in every coordinate: far states come close.

    Args:
        rate: a positive number; towards 0 all stays as it is.

    Raises:
        TypeError, ValueError: if it is not.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.testing.strategies.Squeeze(1.0)(torch.tensor([[0.0, 100.0]])).round().tolist()
        [[0.0, 5.0]]
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = as_positive(rate, "rate")

    def forward(self, x: State) -> Tensor:
        """Return arsinh(rate x) / rate."""
        return torch.asinh(self.rate * x) / self.rate

    def inverse(self, y: State) -> Tensor:
        """Return sinh(rate y) / rate."""
        return torch.sinh(self.rate * y) / self.rate

    def config(self) -> dict[str, Any]:
        """Return the constructor's keyword arguments."""
        return {"rate": self.rate}


@final
class Image(Domain):
    """phi(domain): the states y whose phi^{-1}(y) lies in a domain.

    Args:
        inner: the domain.
        diffeomorphism: phi.
    """

    def __init__(self, inner: Domain, diffeomorphism: Diffeomorphism):
        super().__init__(inner.dim)
        self.inner, self.diffeomorphism = inner, diffeomorphism

    @torch.no_grad()
    def image(self, x: State) -> Tensor:
        """Return phi of points (n, dim) of the inner domain."""
        return self.diffeomorphism(x)

    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self.image(self.inner.sample(n, generator, torch.float64))

    @torch.no_grad()
    def _contains(self, x: State) -> Mask:
        # In float64 phi and back is off by a few rounding units: allow for them at the boundary.
        back = self.diffeomorphism.inverse(x.double())
        slack = 64 * torch.finfo(x.dtype).eps * (1 + back.abs())
        inside = self.inner.contains(back)
        corners = [self.inner.contains(back + sign * slack) for sign in (-1, 1)]
        return inside | corners[0] | corners[1]

    def __repr__(self) -> str:
        return f"Image({self.inner}, {described(self.diffeomorphism)})"


def diffeomorphisms(dim: Count) -> st.SearchStrategy[Diffeomorphism]:
    """Return a strategy for changes of coordinates: affine, a squeeze or a coupling.

    Args:
        dim: number of coordinates; couplings need two.

    Raises:
        TypeError, ValueError: if dim is no positive whole number.

    Example:
        >>> import hypothesis, torch, flowmaps as fm
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> phi = hypothesis.find(fm.testing.strategies.diffeomorphisms(2), lambda phi: True)
        >>> bool(torch.allclose(phi.inverse(phi(x)), x))
        True
    """
    return _diffeomorphisms(as_count(dim, "dim"))


@lru_cache(maxsize=64)  # drawn anew for every flow
def _diffeomorphisms(d: int) -> st.SearchStrategy[Diffeomorphism]:
    shifts = st.lists(numbers(-1.0, 1.0), min_size=d, max_size=d)
    factors = st.builds(lambda size, sign: sign * size, numbers(0.5, 2.0), st.sampled_from((1, -1)))
    scales = st.lists(factors, min_size=d, max_size=d)
    kinds = [st.builds(Affine, shift=shifts, scale=scales), st.builds(Squeeze, numbers(0.25, 1.0))]
    if d > 1:
        kinds.append(st.builds(Coupling, numbers(-1.0, 1.0)))
    return st.one_of(kinds)


def described(part: Any) -> str:
    """Return what makes a problem or a diffeomorphism, as a call."""
    arguments = ", ".join(f"{name}={value}" for name, value in part.config().items())
    return f"{type(part).__name__}({arguments})"

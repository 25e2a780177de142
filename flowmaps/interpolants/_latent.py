"""A path with noise of its own between its ends."""

import math
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_positive, brief
from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["Latent"]


@final
class Latent(Interpolant):
    """I_t + gamma(t) z, z normal and drawn anew for every pair: a path that is smoothed inside.

    With paired data, or data on a set of measure zero, the noise makes the law at every time
    between the ends smooth, and its score known: -E[z | x] / gamma.

    Args:
        path: the interpolant without noise.
        scale: the largest gamma.
        shape: ``"sine"``, gamma = scale sin^2(pi u) at the fraction u of the interval, which is
            smooth and zero at the ends; ``"root"``, scale 2 sqrt(u (1 - u)), whose derivative is
            infinite at both: the interval is then clipped by ``clip`` of its length, and the ends
            are missed by gamma's value there.
        clip: for ``"root"``.

    Raises:
        TypeError: for a path that is none.
        ValueError: for a path that is latent itself, another shape, or numbers out of range.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, definition 2.1 and table 2.

    Example:
        >>> import torch, flowmaps as fm
        >>> path = fm.interpolants.Latent(fm.interpolants.Linear(), scale=0.5)
        >>> zero = torch.zeros(1, 1)
        >>> round(path.interpolate(0.5, zero, zero, z=zero + 1).item(), 6)
        0.5
    """

    latent = True

    def __init__(
        self, path: Interpolant, scale: float = 1.0, shape: str = "sine", clip: float = 1e-4
    ):
        if not isinstance(path, Interpolant):
            raise TypeError(f"path must be an fm.interpolants.Interpolant, got {brief(path)}")
        if path.latent:
            raise ValueError(f"{type(path).__name__} has noise of its own already")
        if shape not in ("sine", "root"):
            raise ValueError(f'shape must be "sine" or "root", got {shape!r}')
        self.path, self.scale, self.shape = path, as_positive(scale, "scale"), shape
        self.clip = as_positive(clip, "clip")
        if not self.clip < 0.5:
            raise ValueError(f"clip must be below 1/2, got {clip}")

    @property
    def times(self) -> tuple[float, float]:
        """The path's interval; for the shape "root" clipped at both ends."""
        lower, upper = self.path.times
        cut = 0.0 if self.shape == "sine" else self.clip * (upper - lower)
        return lower + cut, upper - cut

    def alpha(self, t: Tensor) -> Tensor:
        """Return the path's coefficient of x0."""
        return self.path.alpha(t)

    def beta(self, t: Tensor) -> Tensor:
        """Return the path's coefficient of x1."""
        return self.path.beta(t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Return d alpha / dt."""
        return self.path.alpha_derivative(t)

    def beta_derivative(self, t: Tensor) -> Tensor:
        """Return d beta / dt."""
        return self.path.beta_derivative(t)

    def gamma(self, t: Tensor) -> Tensor:
        """Return the coefficient of z."""
        u, _ = self._fraction(t)
        if self.shape == "sine":
            # the nearer end's distance: zero at both, to rounding
            return self.scale * torch.sin(math.pi * torch.minimum(u, 1 - u)) ** 2
        return 2 * self.scale * torch.sqrt(u * (1 - u))

    def gamma_derivative(self, t: Tensor) -> Tensor:
        """Return d gamma / dt."""
        u, rate = self._fraction(t)
        if self.shape == "sine":
            return rate * self.scale * math.pi * torch.sin(2 * math.pi * u)
        return rate * self.scale * (1 - 2 * u) / torch.sqrt(u * (1 - u))

    def config(self) -> dict[str, Any]:
        """Return path, scale, shape and clip."""
        return {"path": self.path, "scale": self.scale, "shape": self.shape, "clip": self.clip}

    def _fraction(self, t: Tensor) -> tuple[Tensor, float]:
        lower, upper = self.path.times
        return (t - lower) / (upper - lower), 1 / (upper - lower)

"""Flows whose field is known exactly because the law of the data is."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from flowmaps._checks import as_clock, brief, check_state, per_sample
from flowmaps._typing import State, Time
from flowmaps.interpolants import Interpolant, Linear
from flowmaps.maps import SolverFlowMap
from flowmaps.solvers import Dopri5

__all__ = ["InterpolantFlow"]


class InterpolantFlow(ABC):
    """The flow from N(0, 1) to a law of data along an interpolant, independent coupling.

    b(t, x) = alpha'(t) E[x0 | I_t = x] + beta'(t) E[x1 | I_t = x], computed in float64; the noise
    of a latent path joins that of the base.

    Args:
        interpolant: I_t = alpha(t) x0 + beta(t) x1, or a latent one; None for ``Linear()``.

    Raises:
        TypeError: for what is no interpolant.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797, theorem 2.6.

    Example:
        >>> import flowmaps as fm
        >>> isinstance(fm.problems.eight_gaussians_flow(), fm.problems.InterpolantFlow)
        True
    """

    dim: int

    def __init__(self, interpolant: Interpolant | None = None):
        path = Linear() if interpolant is None else interpolant
        if not isinstance(path, Interpolant):
            raise TypeError(
                "interpolant must be an fm.interpolants.Interpolant such as Linear(), "
                f"got {brief(path)}"
            )
        self.interpolant = path
        self._placed: dict[torch.device, list[Tensor]] = {}

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return data (n, dim) in torch's default dtype, drawn by a CPU generator."""

    @abstractmethod
    def _means(self, alpha: Tensor, beta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[x0 | x] and E[x1 | x], (batch, dim), of coefficients (batch, 1), float64."""

    def field(self, t: Time, x: State, *condition: Any) -> Tensor:
        """Return b(t, x), shape and dtype of x (batch, dim).

        Args:
            t: times in the interpolant's interval.
            x: states (batch, dim).
            condition: not looked at, so that the field teaches conditional maps too.

        Raises:
            ValueError: for states of another dimension.
        """
        if check_state(x).shape[1:] != (self.dim,):
            raise ValueError(f"x must have shape (batch, {self.dim}), got {tuple(x.shape)}")
        clock, path, wide = as_clock(t, x, "t"), self.interpolant, x.double()
        (level, slope), beta = path.noise_level(clock), path.beta(clock)
        base, data = self._means(per_sample(level, wide), per_sample(beta, wide), wide)
        slope0, slope1 = (per_sample(s, wide) for s in (slope, path.beta_derivative(clock)))
        return (slope0 * base + slope1 * data).to(x.dtype)

    def posterior_mean(self, t: Time, x: State) -> Tensor:
        """Return E[x1 | I_t = x], shape and dtype of x (batch, dim)."""
        clock, path, wide = as_clock(t, check_state(x), "t"), self.interpolant, x.double()
        level, beta = path.noise_level(clock)[0], path.beta(clock)
        return self._means(per_sample(level, wide), per_sample(beta, wide), wide)[1].to(x.dtype)

    @abstractmethod
    def _constants(self) -> list[Tensor]:
        """Return tensors that the field needs, float64 on the CPU."""

    def _on(self, device: torch.device) -> list[Tensor]:
        """Return the constants on a device; copied once, as a captured graph cannot."""
        if device not in self._placed:
            self._placed[device] = [constant.to(device) for constant in self._constants()]
        return self._placed[device]

    def flow_map(self, rtol: float = 1e-6, atol: float = 1e-6, **options: Any) -> SolverFlowMap:
        """Return the numerical flow map of the field, by ``Dopri5`` unless method= says another."""
        options = {"method": Dopri5()} | options
        return SolverFlowMap(self.field, rtol=rtol, atol=atol, **options)

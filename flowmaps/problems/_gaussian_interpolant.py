"""The linear interpolant between a standard Gaussian and another, with full covariance."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from flowmaps._checks import as_numbers
from flowmaps._typing import State, Time
from flowmaps.domains import Box
from flowmaps.problems._exact import ExactProblem
from flowmaps.problems._operations import Operations, dot
from flowmaps.problems._problem import like_batch, stack

__all__ = ["GaussianInterpolant"]


@final
class GaussianInterpolant(ExactProblem):
    """Probability flow of the linear interpolant from N(0, 1) to N(mean, covariance), independent.

    For I_t = (1 - t) x0 + t x1 let S(t)^2 = (1 - t)^2 + t^2 covariance. Then
    b = mean + S'(t) S(t)^{-1} (x - t mean) and X_{s,t}(x) = t mean + S(t) S(s)^{-1} (x - s mean).
    All these matrices share the principal axes of the covariance; so they are written as numbers
    along the axes, and the parameters are the mean ``mean_1, ...`` and the variances along the
    axes, ascending, ``variance_1, ...``. The constructor fixes the axes: derivatives in the
    parameters then stay finite where variances coincide.

    Args:
        mean: of the data, list or tensor (dim,).
        covariance: of the data, nested lists or tensor (dim, dim), symmetric and positive definite.

    Raises:
        ValueError: if the covariance is not symmetric and positive definite, or the sizes differ.

    Source:
        Albergo, Boffi and Vanden-Eijnden (2023), arXiv:2303.08797.

    Example:
        >>> import torch, flowmaps as fm
        >>> problem = fm.problems.GaussianInterpolant(mean=[1.0], covariance=[[4.0]])
        >>> problem.exact(0.0, 1.0, torch.tensor([[-1.0], [0.0]])).tolist()
        [[-1.0], [1.0]]
    """

    name = "gaussian_interpolant"
    autonomous = False

    def __init__(
        self,
        mean: Sequence[float] | Tensor = (1.0, -0.5),
        covariance: Sequence[Sequence[float]] | Tensor = ((1.0, 0.6), (0.6, 0.5)),
    ):
        center, matrix = as_numbers(mean, "mean"), as_numbers(covariance, "covariance")
        d = center.numel()
        if center.shape != (d,) or d == 0 or matrix.shape != (d, d):
            raise ValueError(
                "mean must have shape (dim,) and covariance (dim, dim), "
                f"got {tuple(center.shape)} and {tuple(matrix.shape)}"
            )
        if not torch.isfinite(center).all():
            raise ValueError(f"mean must be finite, got {center.tolist()}")
        if not torch.allclose(matrix, matrix.T, rtol=1e-6, atol=0.0):
            raise ValueError(f"covariance must be finite and symmetric, got {matrix.tolist()}")
        variances, axes = torch.linalg.eigh(matrix)
        if variances[0] <= 0:
            raise ValueError(
                f"covariance must be positive definite, got eigenvalues {variances.tolist()}"
            )
        names = [f"mean_{i + 1}" for i in range(d)] + [f"variance_{i + 1}" for i in range(d)]
        super().__init__(
            parameters=dict(zip(names, center.tolist() + variances.tolist(), strict=True)),
            parameter_domain=Box([-2.0] * d + [0.05] * d, [2.0] * d + [4.0] * d),
            domain=Box([-3.0] * d, [3.0] * d),
            times=(0.0, 1.0),
        )
        self._mean, self._covariance, self._axes = center.tolist(), matrix.tolist(), axes.tolist()

    def config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the problem."""
        return {"mean": self._mean, "covariance": self._covariance}

    def formula(self, m: Operations, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return mean + S'(t) S(t)^{-1} (x - t mean)."""
        mean, variances = self._law(p)
        rates = [(t * v - (1 - t)) / _variance(t, v) for v in variances]
        return _add(mean, self._scaled(rates, _minus(x, t, mean)))

    def solution(self, m: Operations, s: Any, t: Any, x: Sequence[Any], p: Any) -> Sequence[Any]:
        """Return t mean + S(t) S(s)^{-1} (x - s mean)."""
        mean, variances = self._law(p)
        ratios = [m.sqrt(_variance(t, v) / _variance(s, v)) for v in variances]
        return _add([t * c for c in mean], self._scaled(ratios, _minus(x, s, mean)))

    def posterior_mean(self, t: Time, x: State, condition: Tensor | None = None) -> State:
        """Return E[x1 | I_t = x] = mean + t covariance S(t)^{-2} (x - t mean), like x.

        Example:
            >>> import torch, flowmaps as fm
            >>> problem = fm.problems.GaussianInterpolant([1.0], [[4.0]])
            >>> problem.posterior_mean(1.0, torch.tensor([[3.0]])).item()
            3.0
        """
        mean, variances = self._law(self._parameters(x, condition))
        t = like_batch(t, x, "t")
        gains = [t * v / _variance(t, v) for v in variances]
        return stack(_add(mean, self._scaled(gains, _minus(x.unbind(1), t, mean))), x)

    def _law(self, p: Any) -> tuple[list[Any], list[Any]]:
        values = [getattr(p, name) for name in self.parameters]
        return values[: self.dim], values[self.dim :]

    def _scaled(self, factors: Sequence[Any], y: Sequence[Any]) -> list[Any]:
        """Return y with its coordinates along the principal axes multiplied by factors."""
        columns = zip(*self._axes, strict=True)
        along = [factor * dot(axis, y) for factor, axis in zip(factors, columns, strict=True)]
        return [dot(row, along) for row in self._axes]


def _variance(t: Any, variance: Any) -> Any:
    return (1 - t) ** 2 + t**2 * variance


def _minus(x: Sequence[Any], t: Any, mean: Sequence[Any]) -> list[Any]:
    return [a - t * b for a, b in zip(x, mean, strict=True)]


def _add(x: Sequence[Any], y: Sequence[Any]) -> list[Any]:
    return [a + b for a, b in zip(x, y, strict=True)]

"""Functions of time between two ends, by their values at Chebyshev-Lobatto nodes."""

import math

import torch
from torch import Tensor, nn

from flowmaps.networks._constants import Constants

__all__ = ["Chebyshev"]


class Chebyshev(nn.Module):
    """The cosine series of a function of time, sum_k c_k cos(k theta), by its values at n nodes.

    Time runs from start to end as (1 - cos theta) / 2 runs from 0 to 1, so the series is the
    Chebyshev expansion in time: it asks for no periodic function, as a Fourier series in time would
    do, and between the nodes it is a polynomial, differentiable in time everywhere. Transforms are
    products with fixed matrices, not FFTs, and pass forward mode, vmap, compilation and bfloat16.

    Args:
        nodes: n, two at least.
        start, end: in either order.

    Example:
        >>> import torch
        >>> series = Chebyshev(3, 0.0, 2.0)
        >>> [round(time, 6) for time in series.times.tolist()]
        [0.0, 1.0, 2.0]
        >>> squares = series.times[:, None].float() ** 2
        >>> basis = series.basis(torch.tensor([0.5]))
        >>> round((basis.T @ series.analyse(squares)).item(), 6)
        0.25
    """

    def __init__(self, nodes: int, start: float, end: float):
        super().__init__()
        self.nodes, self.start, self.end = nodes, start, end
        last = nodes - 1
        # cos(pi j k / last) with j k taken modulo its period: exact however many nodes
        cosines = [
            [math.cos(math.pi * (j * k % (2 * last)) / last) for k in range(nodes)]
            for j in range(nodes)
        ]
        half = [0.5 if k in (0, last) else 1.0 for k in range(nodes)]
        forth = [
            [2 / last * half[k] * half[j] * cosines[j][k] for j in range(nodes)]
            for k in range(nodes)
        ]
        self._back = Constants([value for row in cosines for value in row])
        self._forth = Constants([value for row in forth for value in row])

    @property
    def times(self) -> Tensor:
        """The nodes' times (nodes,), float64, from start to end."""
        cosines = self._back(torch.float64).reshape(self.nodes, self.nodes)[:, 1]
        return (self.start * (1 + cosines) + self.end * (1 - cosines)) / 2

    def analyse(self, values: Tensor, modes: int | None = None) -> Tensor:
        """Return the lowest coefficients (modes, ...) of values (nodes, ...) at the nodes."""
        matrix = self._forth(values.dtype).reshape(self.nodes, self.nodes)[:modes]
        return torch.tensordot(matrix, values, dims=1)

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Return values (nodes, ...) at the nodes from the lowest coefficients (modes, ...)."""
        matrix = self._back(coefficients.dtype).reshape(self.nodes, self.nodes)
        return torch.tensordot(matrix[:, : len(coefficients)], coefficients, dims=1)

    def basis(self, t: Tensor) -> Tensor:
        """Return cos(k theta), k = 0, 1, ..., at times t (...): (nodes, ...).

        By T_{k+1}(x) = 2 x T_k(x) - T_{k-1}(x): polynomials, whose derivatives in t are exact and
        finite at the ends too, where those of theta are not.
        """
        x = 1 - 2 * (t - self.start) / (self.end - self.start)
        rows = [torch.ones_like(x), x]
        for _ in range(self.nodes - 2):
            rows.append(2 * x * rows[-1] - rows[-2])
        return torch.stack(rows)

    def extra_repr(self) -> str:
        """Return the number of nodes and the ends."""
        return f"{self.nodes} nodes from {self.start:g} to {self.end:g}"

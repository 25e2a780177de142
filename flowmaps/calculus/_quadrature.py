"""Rules of Gauss for integrals along a path."""

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_count
from flowmaps._typing import Count

__all__ = ["gauss_rule"]


def gauss_rule(nodes: Count, ends: bool = False) -> tuple[Tensor, Tensor]:
    """Return nodes in [-1, 1] and weights of Gauss and Legendre's rule, each (nodes,), float64.

    Args:
        nodes: how many; exact for polynomials of degree up to 2 nodes - 1.
        ends: Gauss and Lobatto's rule instead, which has nodes at both ends, so that it sees a
            layer there; at least two nodes, exact up to degree 2 nodes - 3.

    Raises:
        TypeError, ValueError: if there are too few nodes.

    Source:
        Golub and Welsch (1969), Calculation of Gauss quadrature rules, Math. Comp. 23, 221-230;
            Davis and Rabinowitz (1984), Methods of numerical integration, section 2.7.1.

    Example:
        >>> [part.tolist() for part in gauss_rule(2, ends=True)]
        [[-1.0, 1.0], [1.0, 1.0]]
    """
    n = as_count(nodes, "nodes")
    if not ends:
        points, weights = np.polynomial.legendre.leggauss(n)
        return torch.from_numpy(points), torch.from_numpy(weights)
    if n < 2:
        raise ValueError(f"got nodes={n}, expected at least 2: a rule with both ends has those")
    last = np.polynomial.legendre.Legendre.basis(n - 1)
    inner = np.sort(last.deriv().roots().real)
    points = np.concatenate([[-1.0], (inner - inner[::-1]) / 2, [1.0]])
    return torch.from_numpy(points), torch.from_numpy(2 / (n * (n - 1) * last(points) ** 2))

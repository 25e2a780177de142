"""Couplings of a batch by minibatch optimal transport, exact or entropic."""

import math
from typing import final

import torch
from torch import Tensor

from flowmaps._checks import as_count, as_positive, finite_samples
from flowmaps.interpolants._coupling import Coupling, Independent

__all__ = ["OptimalTransport", "Sinkhorn"]


@final
class OptimalTransport(Coupling):
    """Base samples drawn independently, permuted so that sum |x0 - x1|^2 over the batch is least.

    The law of each side is as it was, and paths cross less: the plan tends to the optimal transport
    as the batch grows; on a finite batch it is another coupling. The assignment is exact, found on
    the CPU by ``scipy.optimize.linear_sum_assignment`` in a time that grows like batch^3. Costs mix
    all data samples of a batch: with a condition, base and condition are not independent any more,
    and base samples drawn anew for a given condition follow another law than those in training.

    Source:
        Pooladian et al. (2023), arXiv:2304.14772; Tong et al. (2023), arXiv:2302.00482, section 3.

    Example:
        >>> import torch, flowmaps as fm
        >>> x0, x1 = torch.tensor([[0.0], [1.0]]), torch.tensor([[11.0], [10.0]])
        >>> fm.interpolants.OptimalTransport().assign(x0, x1).tolist()
        [1, 0]
        >>> data = fm.objectives.Pairs(None, x1, coupling=fm.interpolants.OptimalTransport())
        >>> data.sample(4)[0].shape
        torch.Size([4, 1])
    """

    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        """Raise ValueError unless samples of x0 have the shape, dtype and device of x1's."""
        Independent().check(x0, x1)

    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return base samples as Independent draws them, permuted; see Coupling."""
        drawn = Independent().draw(x0, x1, rows, generator)
        return drawn[self.assign(drawn, x1[rows.to(x1.device)])]

    def assign(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Return the rows of x0 that meet those of x1 at the least cost: a permutation (batch,).

        Args:
            x0, x1: base and data samples (batch, *event).

        Raises:
            ValueError: if they differ in shape, or are not finite.
        """
        from scipy.optimize import linear_sum_assignment

        if len(x0) != len(x1):
            raise ValueError(f"as many base as data samples are assigned, got {len(x0)}, {len(x1)}")
        _, partners = linear_sum_assignment(_products(x0, x1).cpu().numpy(), maximize=True)
        return torch.as_tensor(partners, device=x1.device)


@final
class Sinkhorn(Coupling):
    """Partners drawn from the entropic optimal plan between the batch and base samples.

    The plan P of least <P, |x0 - x1|^2> - regularization entropy(P) with uniform marginals is found
    by Sinkhorn's iteration of logarithms, on the data's device in float64; row i of the plan is the
    law of data sample i's partner. Partners are drawn with replacement: base samples of a batch may
    repeat, so they are not independent. Each still has the base law if the iteration has converged.
    It ends at the data's marginal, so the other one is off by what is left: more iterations are
    needed the smaller the regularization is beside the spread of costs. About conditions, see
    ``OptimalTransport``.

    Args:
        regularization: weight of the entropy, in units of squared distance; for Schrodinger bridges
            of diffusion sigma, 2 sigma^2. Towards 0 the plan is the exact assignment, towards
            infinity the independent coupling.
        iterations: number of updates of both marginals.

    Raises:
        TypeError, ValueError: for other than a positive number and a positive count.

    Source:
        Cuturi (2013), arXiv:1306.0895, algorithm 1; Tong et al. (2023), arXiv:2302.00482.

    Example:
        >>> import torch, flowmaps as fm
        >>> x0, x1 = torch.tensor([[0.0], [1.0]]), torch.tensor([[11.0], [10.0]])
        >>> plan = fm.interpolants.Sinkhorn(0.1).plan(x0, x1)
        >>> [[round(p, 3) for p in row] for row in plan.tolist()]
        [[0.0, 0.5], [0.5, 0.0]]
    """

    def __init__(self, regularization: float, iterations: int = 200):
        self.regularization = as_positive(regularization, "regularization")
        self.iterations = as_count(iterations, "iterations")

    def check(self, x0: Tensor | None, x1: Tensor) -> None:
        """Raise ValueError unless samples of x0 have the shape, dtype and device of x1's."""
        Independent().check(x0, x1)

    def draw(
        self,
        x0: Tensor | None,
        x1: Tensor,
        rows: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return for every data sample one of the base samples drawn for the batch; see Coupling.

        ``generator`` draws those as Independent does, then one number for every row.
        """
        drawn = Independent().draw(x0, x1, rows, generator)
        chances = torch.rand(len(rows), 1, generator=generator, dtype=torch.float64, device="cpu")
        if not len(rows):
            return drawn
        sums = self.plan(drawn, x1[rows.to(x1.device)]).cumsum(1)
        # a chance below 1 of the last sum, so the partner found has a positive probability
        partners = torch.searchsorted(sums, chances.to(sums.device) * sums[:, -1:], right=True)
        return drawn[partners[:, 0].clamp(max=len(drawn) - 1)]

    def plan(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Return the plan (n1, n0) in float64: probabilities of the pairs (x1[i], x0[j]).

        Args:
            x0, x1: base samples (n0, *event) and data samples (n1, *event), at least one of each.

        Raises:
            ValueError: if they differ in the shape of a sample, or are not finite.
        """
        # potentials take up |x0|^2 and |x1|^2
        kernel = 2 * _products(x0, x1) / self.regularization
        n1, n0 = kernel.shape
        of_x0 = torch.zeros(n0, dtype=kernel.dtype, device=kernel.device)
        of_x1 = -math.log(n1) - torch.logsumexp(kernel, 1)
        for _ in range(self.iterations):
            of_x0 = -math.log(n0) - torch.logsumexp(kernel + of_x1[:, None], 0)
            of_x1 = -math.log(n1) - torch.logsumexp(kernel + of_x0, 1)
        return torch.exp(kernel + of_x0 + of_x1[:, None])


def _products(x0: Tensor, x1: Tensor) -> Tensor:
    """Return <x1[i], x0[j]>, (n1, n0), in float64, both sets centred.

    Squared distances are minus twice that, but for terms of one of the two samples alone, which no
    plan with given marginals can change.
    """
    if x0.shape[1:] != x1.shape[1:]:
        raise ValueError(
            f"samples of x0 and x1 must agree in shape, got sets {tuple(x0.shape)} and "
            f"{tuple(x1.shape)}"
        )
    for name, x in (("x0", x0), ("x1", x1)):
        if not finite_samples(x).all():
            raise ValueError(f"{name} holds values that are not finite; remove or repair them")
    a, b = (x.reshape(len(x), math.prod(x.shape[1:])).double() for x in (x1, x0))
    return (a - a.mean(0)) @ (b - b.mean(0)).T

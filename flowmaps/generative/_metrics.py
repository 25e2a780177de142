"""How far samples are from data, and a learned map from the flow of its own velocity."""

import torch
from torch import Tensor

from flowmaps._checks import as_positive, check_state
from flowmaps._typing import Condition
from flowmaps.generative._sampling import ends, evaluating, sample
from flowmaps.maps import FlowMap, SolverFlowMap

__all__ = ["frechet_distance", "nearest_distance", "transport_error"]

_CHUNK = 2**24
"""Distances held at once."""


def frechet_distance(samples: Tensor, others: Tensor) -> float:
    """Return the squared Frechet distance |m - n|^2 + tr(A + B - 2 (A B)^(1/2)) of two sets.

    m, A and n, B are the sets' means and covariances; computed in float64. It is biased upwards for
    small sets: compare sets of like sizes.

    Args:
        samples, others: points or features (n, *event) and (m, *event), at least two each.

    Raises:
        ValueError: for sets of different events, or of a single point.

    Source:
        Dowson and Landau (1982), The Frechet distance between multivariate normal distributions.

    Example:
        >>> import torch, flowmaps as fm
        >>> x = torch.tensor([[-1.0], [1.0]])
        >>> round(fm.generative.frechet_distance(x, x + 3.0), 9)
        9.0
    """
    if samples.shape[1:] != others.shape[1:] or min(len(samples), len(others)) < 2:
        raise ValueError(
            "a Frechet distance is between two sets of at least two like points, "
            f"got {tuple(samples.shape)} and {tuple(others.shape)}"
        )
    a, b = samples.flatten(1).double(), others.flatten(1).double()
    spread_a, spread_b = (torch.cov(x.T).reshape(x.shape[1], -1) for x in (a, b))
    values, vectors = torch.linalg.eigh(spread_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # (A B)^(1/2) has the trace of the symmetric (A^(1/2) B A^(1/2))^(1/2)
    cross = torch.linalg.eigvalsh(root @ spread_b @ root).clamp_min(0).sqrt().sum()
    between = (a.mean(0) - b.mean(0)).square().sum()
    return float(between + spread_a.trace() + spread_b.trace() - 2 * cross)


def nearest_distance(samples: Tensor, data: Tensor) -> float:
    """Return the mean Euclidean distance of samples to their nearest point of the data.

    Well below that of held-out data, it says that the samples repeat the data.

    Args:
        samples, data: points (n, *event) and (m, *event), at least one each.

    Raises:
        ValueError: for different events, or none of one kind.

    Example:
        >>> import torch, flowmaps as fm
        >>> fm.generative.nearest_distance(torch.zeros(2, 2), torch.tensor([[3.0, 4.0]]))
        5.0
    """
    if samples.shape[1:] != data.shape[1:] or 0 in (len(samples), len(data)):
        raise ValueError(
            "a nearest distance is from points to like points, at least one each, "
            f"got {tuple(samples.shape)} and {tuple(data.shape)}"
        )
    a, b = samples.flatten(1).double(), data.flatten(1).double()
    rows = max(1, _CHUNK // len(b))
    return float(torch.cat([torch.cdist(part, b).amin(1) for part in a.split(rows)]).mean())


@torch.no_grad()
def transport_error(
    learned: FlowMap,
    noise: Tensor,
    steps: int = 1,
    condition: Condition = None,
    reference: FlowMap | None = None,
    tolerance: float = 1e-5,
) -> float:
    """Return E|Y - X|^2 / E|X - x|^2: samples Y against the numerical flow X of a velocity.

    It measures the consistency of a learned map, apart from how good the velocity is. Where the
    flow leaves every point in place it is 0 for samples that stay too, else infinite.

    Args:
        learned: the map, from the lower to the upper end of its times.
        noise: x, (batch, *event).
        steps: of the map.
        condition: tensor or pytree with leading batch axis.
        reference: the map whose velocity is solved, such as a teacher; None for the learned one.
        tolerance: relative and absolute, of the solve.

    Raises:
        TypeError: if a map is none.
        ValueError: for no noise, a tolerance that is not positive, or steps as ``sample`` refuses.

    Source:
        Boffi, Albergo and Vanden-Eijnden (2025), arXiv:2505.18825, for the comparison.

    Example:
        >>> import torch, flowmaps as fm
        >>> drift = fm.maps.ExactFlowMap(lambda s, t, x: x + (t - s)[:, None])
        >>> fm.generative.transport_error(drift, torch.zeros(4, 2)) < 1e-10
        True
    """
    if len(check_state(noise, "noise")) == 0:
        raise ValueError("a transport error is a mean over samples, got none; give some noise")
    tolerance = as_positive(tolerance, "tolerance")
    made = sample(learned, noise, steps, condition)
    origin = learned if reference is None else reference
    # the ends matter alone: a longest span is for the learned map's steps, not for the flow
    start, end = ends(learned)
    with evaluating(origin):
        solver = SolverFlowMap(origin.velocity, rtol=tolerance, atol=tolerance)
        exact = solver(start, end, noise, condition)
    error, moved = (made - exact).square().sum(), (exact - noise).square().sum()
    return float(torch.where(error == 0, error, error / moved))

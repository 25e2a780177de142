"""States of a domain, and directions in which they are moved."""

import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from flowmaps._checks import as_count, as_positive, brief
from flowmaps._typing import Count
from flowmaps.domains import Ball, Box, Domain, Points, SubLevel
from flowmaps.testing.strategies._coordinates import Image
from flowmaps.testing.strategies._numbers import as_counts, as_dtype, numbers, rows

__all__ = ["states", "tangents"]


def states(
    domain: Domain | Tensor,
    batch: Count | tuple[Count, Count] = (1, 4),
    event: Sequence[Count] | None = None,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Tensor]:
    """Return a strategy for states (batch, *event) of a domain, which shrinks to few and plain.

    Args:
        domain: a Box, a Ball or another domain, or data (m, *event), of which rows are taken.
            Draws from a Ball outside of it are moved to its sphere; from a SubLevel they are drawn
            again; from a domain of your own its ``sample`` draws, with a drawn seed.
        batch: how many states, or (least, most).
        event: the shape of one state where that is not (dim,), or that of the data.
        dtype: of the states.

    Raises:
        TypeError: if domain is neither a domain nor a tensor, or dtype is no floating dtype.
        ValueError: if the event's shape does not fit the domain.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> box = fm.testing.Box([-2.0, -2.0], [2.0, 2.0])
        >>> hypothesis.find(fm.testing.strategies.states(box), lambda x: bool((x != 0).any()))
        tensor([[0., 1.]], dtype=torch.float64)
    """
    if isinstance(domain, Tensor):
        if domain.ndim < 2 or not domain.numel():
            raise ValueError(f"data must have shape (m, *event), got {tuple(domain.shape)}")
        event = tuple(domain.shape[1:]) if event is None else event
        domain = Points(domain.reshape(len(domain), -1))
    as_dtype(dtype)
    if not isinstance(domain, Domain):
        raise TypeError(
            "domain must be a domain such as flowmaps.testing.Box([-1.0], [1.0]), or data "
            f"(m, *event), got {brief(domain)}"
        )
    shape = (domain.dim,) if event is None else tuple(as_count(n, "event", 0) for n in event)
    if math.prod(shape) != domain.dim:
        raise ValueError(f"event {shape} does not have the domain's {domain.dim} coordinates")

    def tensor(found: list[Sequence[float]]) -> Tensor:
        return torch.tensor(found, dtype=torch.float64).to(dtype).reshape(len(found), *shape)

    return rows(_points(domain), as_counts(batch, "batch")).map(tensor)


def tangents(
    shape: Sequence[Count],
    bound: float = 1.0,
    nonzero: bool = False,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Tensor]:
    """Return a strategy for tangent vectors of a shape, such as that of states, ``x.shape``.

    Args:
        shape: of the result, (batch, *event).
        bound: largest size of an entry.
        nonzero: whether every sample has one.
        dtype: of the result.

    Raises:
        TypeError, ValueError: if shape holds no whole numbers, or bound is not positive.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> directions = fm.testing.strategies.tangents((1, 2), nonzero=True)
        >>> hypothesis.find(directions, lambda v: True)
        tensor([[0., 1.]], dtype=torch.float64)
    """
    if not isinstance(shape, Sequence):
        raise TypeError(f"shape must be (batch, *event), got {brief(shape)}")
    as_dtype(dtype)
    sizes = tuple(as_count(n, "shape", 0) for n in shape)
    if not sizes:
        raise ValueError("shape must be (batch, *event), got ()")
    as_positive(bound, "bound")
    one = st.tuples(*[numbers(-bound, bound)] * math.prod(sizes[1:]))
    if nonzero:
        one = one.filter(any)
    batches = rows(one, (sizes[0], sizes[0]))
    return batches.map(lambda found: torch.tensor(found, dtype=dtype).reshape(sizes))


def _points(domain: Domain) -> st.SearchStrategy[Sequence[float]]:
    """Return a strategy for the coordinates of one point."""
    if isinstance(domain, Box):
        return _box(domain.lower.tolist(), domain.upper.tolist())
    if isinstance(domain, Ball):
        center = domain.center
        cube = _box((center - domain.radius).tolist(), (center + domain.radius).tolist())
        return cube.map(lambda point: _on_or_inside(domain, point))
    if isinstance(domain, Points):
        data = domain.data.detach().cpu().double()
        return st.integers(0, len(data) - 1).map(lambda row: data[row].tolist())
    if isinstance(domain, Image):
        return _points(domain.inner).map(lambda point: domain.image(_row(point))[0].tolist())
    if isinstance(domain, SubLevel):
        return _points(domain.box).filter(lambda point: bool(domain.contains(_row(point))[0]))
    return st.integers(0, 2**31 - 1).map(lambda seed: _sampled(domain, seed))


def _box(lower: Sequence[float], upper: Sequence[float]) -> st.SearchStrategy[Sequence[float]]:
    return st.tuples(*(numbers(a, b) for a, b in zip(lower, upper, strict=True)))


def _on_or_inside(ball: Ball, point: Sequence[float]) -> list[float]:
    offset = torch.tensor(point, dtype=torch.float64) - ball.center
    distance = torch.linalg.vector_norm(offset).item()
    if distance <= ball.radius:
        return list(point)
    return (ball.center + offset * (ball.radius / distance)).tolist()


def _row(point: Sequence[float]) -> Tensor:
    return torch.tensor([point], dtype=torch.float64)


def _sampled(domain: Domain, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return domain.sample(1, generator, torch.float64)[0].tolist()

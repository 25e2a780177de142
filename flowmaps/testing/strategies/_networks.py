"""Small networks with weights that a few numbers tell."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from flowmaps._checks import as_count, as_positive, brief
from flowmaps._typing import Count
from flowmaps.maps import NeuralFlowMap, Parametrization, TimeSet
from flowmaps.networks import MLP
from flowmaps.testing.strategies._numbers import numbers

__all__ = ["networks", "neural_maps", "perceptron"]

_MOST = 512
"""Weights that are drawn one by one."""


def perceptron(
    weights: Count | Sequence[float],
    dim: Count = 2,
    width: Count = 4,
    depth: Count = 1,
    condition_dim: Count = 0,
    size: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> MLP:
    """Return a multilayer perceptron with given weights, none of which starts at zero.

    Args:
        weights: all numbers of the network in the order of its parameters, or the seed of a normal
            law from which they are drawn.
        dim, width, depth, condition_dim: of the network, as for ``flowmaps.networks.MLP``.
        size: standard deviation of the weights from a seed, over the root of a layer's width.
        dtype: of the network.

    Raises:
        TypeError, ValueError: for sizes that make no network, or a wrong number of weights.

    Example:
        >>> import torch, flowmaps as fm
        >>> net = fm.testing.strategies.perceptron(weights=0, dtype=torch.float32)
        >>> bool(net(torch.zeros(1), torch.ones(1), torch.ones(1, 2)).abs().min() > 0)
        True
    """
    net = MLP(dim, width, depth, condition_dim, frequencies=(1.0,)).to(dtype)
    flat = torch.cat([part.detach().reshape(-1) for part in net.parameters()])
    if isinstance(weights, Sequence):
        if len(weights) != len(flat):
            raise ValueError(f"the network has {len(flat)} weights, got {len(weights)}")
        flat = torch.tensor(weights, dtype=dtype)
    else:
        generator = torch.Generator().manual_seed(as_count(weights, "weights", least=0))
        law = torch.randn(len(flat), generator=generator, dtype=torch.float64)
        flat = (law * (as_positive(size, "size") / as_count(width, "width") ** 0.5)).to(dtype)
    torch.nn.utils.vector_to_parameters(flat, net.parameters())
    return net


def networks(
    dim: Count = 2,
    width: Count = 4,
    depth: Count = 1,
    condition_dim: Count = 0,
    weights: str = "seed",
    size: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[MLP]:
    """Return a strategy for small networks ``net(s, t, x, condition)``, printed as ``perceptron``.

    Args:
        dim, width, depth, condition_dim: of the networks, as for ``flowmaps.networks.MLP``.
        weights: "seed" for weights of a normal law, whose seed alone is drawn; "numbers" for
            weights in [-size, size] drawn one by one, which shrink to zeros and ones.
        size: of the weights.
        dtype: of the networks.

    Raises:
        TypeError, ValueError: for arguments that make no network, or more than 512 weights that are
            drawn one by one.

    Example:
        >>> import hypothesis, flowmaps as fm
        >>> drawn = fm.testing.strategies.networks(weights="numbers")
        >>> net = hypothesis.find(drawn, lambda net: True)
        >>> max(part.abs().max().item() for part in net.parameters())
        0.0
    """
    sizes: dict[str, Any] = {"dim": dim, "width": width, "depth": depth}
    sizes["condition_dim"] = condition_dim
    count = sum(part.numel() for part in perceptron(0, **sizes).parameters())
    as_positive(size, "size")
    if weights == "seed":
        seeds = st.integers(0, 2**16)
        return st.builds(perceptron, weights=seeds, **_fixed(sizes, size=size, dtype=dtype))
    if weights != "numbers":
        raise ValueError(f'weights must be "seed" or "numbers", got {brief(weights)}')
    if count > _MOST:
        raise ValueError(
            f"a network of {count} weights is too large to draw one by one, {_MOST} at most; use "
            'weights="seed"'
        )
    drawn = st.lists(numbers(-size, size), min_size=count, max_size=count)
    return st.builds(perceptron, weights=drawn, **_fixed(sizes, dtype=dtype))


def neural_maps(
    dim: Count = 2,
    parametrization: Parametrization | None = None,
    times: TimeSet | None = None,
    **options: Any,
) -> st.SearchStrategy[NeuralFlowMap]:
    """Return a strategy for flow maps made of small networks, which are no flows of any field.

    Args:
        dim: number of coordinates.
        parametrization, times: of ``flowmaps.maps.NeuralFlowMap``.
        options: of ``networks``.

    Raises:
        TypeError, ValueError: as ``networks``.

    Example:
        >>> import hypothesis, torch, flowmaps as fm
        >>> drawn = fm.testing.strategies.neural_maps(dim=2, dtype=torch.float32)
        >>> learned = hypothesis.find(drawn, lambda flow_map: True)
        >>> learned(0.0, 1.0, torch.ones(3, 2)).shape
        torch.Size([3, 2])
    """
    given = {"parametrization": parametrization, "times": times}
    return st.builds(
        NeuralFlowMap,
        networks(dim, **options),
        **{name: st.just(value) for name, value in given.items() if value is not None},
    )


def _fixed(sizes: dict[str, Any], **others: Any) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.just(value) for name, value in {**sizes, **others}.items()}

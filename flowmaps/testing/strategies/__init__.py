"""Hypothesis strategies for tests of flow maps: times, states, matrices, flows, networks.

All draws are made of plain numbers, so that what Hypothesis reports ends at zeros and ones.

Example:
    >>> import torch, flowmaps as fm
    >>> from hypothesis import given
    >>> @given(fm.testing.strategies.cases(fm.testing.strategies.linear_flows(dim=2)))
    ... def test_inverse(case):
    ...     flow, s, u, t, x = case
    ...     there = flow.flow_map(s, t, x)
    ...     assert torch.allclose(flow.flow_map(t, s, there), x, atol=1e-9)
    >>> test_inverse()
"""

import flowmaps.testing._hypothesis  # noqa: F401  (says what to install where it is missing)
from flowmaps.testing.strategies._cases import Case, cases
from flowmaps.testing.strategies._coordinates import Coupling, Squeeze, diffeomorphisms
from flowmaps.testing.strategies._falling import Falling
from flowmaps.testing.strategies._flows import (
    conjugated_flows,
    flows,
    gaussian_flows,
    hamiltonian_flows,
    linear_flows,
    rotation_flows,
    scalar_flows,
)
from flowmaps.testing.strategies._known_flow import KnownFlow
from flowmaps.testing.strategies._matrices import matrices
from flowmaps.testing.strategies._networks import networks, neural_maps, perceptron
from flowmaps.testing.strategies._numbers import numbers
from flowmaps.testing.strategies._states import states, tangents
from flowmaps.testing.strategies._times import spans, times, triples

__all__ = [
    "Case",
    "Coupling",
    "Falling",
    "KnownFlow",
    "Squeeze",
    "cases",
    "conjugated_flows",
    "diffeomorphisms",
    "flows",
    "gaussian_flows",
    "hamiltonian_flows",
    "linear_flows",
    "matrices",
    "networks",
    "neural_maps",
    "numbers",
    "perceptron",
    "rotation_flows",
    "scalar_flows",
    "spans",
    "states",
    "tangents",
    "times",
    "triples",
]

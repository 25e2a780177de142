"""Rules of Gauss: exact for the polynomials they are exact for, with ends where asked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowmaps.calculus._quadrature import gauss_rule


@given(st.integers(2, 40), st.booleans(), st.data())
def test_a_rule_is_exact_up_to_its_degree(nodes, ends, data):
    points, weights = gauss_rule(nodes, ends)
    degree = data.draw(st.integers(0, 2 * nodes - (3 if ends else 1)))
    exact = 2 / (degree + 1) if degree % 2 == 0 else 0.0
    assert abs(float((weights * points**degree).sum()) - exact) < 1e-13
    # Just beyond its degree it is not: the monomial of the next even degree.
    beyond = 2 * nodes - (2 if ends else 0)
    off = abs(float((weights * points**beyond).sum()) - 2 / (beyond + 1))
    assert off > 1e-13 or nodes > 15


@given(st.integers(2, 40))
def test_the_ends_are_there_and_nodes_are_symmetric(nodes):
    points, weights = gauss_rule(nodes, ends=True)
    assert points[0] == -1 and points[-1] == 1 and len(points) == len(weights) == nodes
    assert bool((weights > 0).all()) and bool((points.diff() > 0).all())
    assert torch.equal(points, -points.flip(0))


def test_one_node_has_no_two_ends():
    with pytest.raises(ValueError, match="at least 2"):
        gauss_rule(1, ends=True)

"""Whole numbers of any kind are taken everywhere; halves and truth values nowhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import flowmaps as fm
from flowmaps._checks import as_count

X = torch.ones(2, 1)
FLOW = fm.maps.ExactFlowMap(lambda s, t, x: x * torch.exp(t - s)[:, None])
RK4 = {"method": fm.solvers.RK4()}

TAKERS: dict[str, Callable[[Any], Any]] = {
    "steps": lambda n: fm.solvers.solve(lambda t, x: x, 0.0, 1.0, X, steps=n, **RK4),
    "max_steps": lambda n: fm.solvers.solve(
        lambda t, x: 0 * x, 0.0, 1.0, X, max_steps=n, throw=False
    ),
    "max_iterations": lambda n: fm.maps.NewtonInverse(FLOW.between(0.0, 1.0), n)(X),
    "nodes": lambda n: fm.residuals.liouville(FLOW, lambda t, x: x, 0.0, 1.0, X, nodes=n),
    "probes": lambda n: fm.calculus.divergence(
        lambda t, x: x, 0.0, X, method="hutchinson", probes=n
    ),
    "n": lambda n: fm.domains.Box(0.0, 1.0).sample(n),
}


@pytest.mark.parametrize("name", TAKERS)
def test_whole_numbers_of_any_kind(name: str) -> None:
    for count in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)):
        assert as_count(count, name) == 3
        if name != "probes" or not isinstance(count, torch.Tensor):  # there a tensor is the probes
            TAKERS[name](count)
    for wrong in (2.5, 3.0, True, np.True_, "3", None):
        if name == "steps" and wrong is None:
            continue
        with pytest.raises(TypeError, match=f"{name} must be a whole number"):
            TAKERS[name](wrong)
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least"):
        TAKERS[name](-1)


def test_the_least_is_told() -> None:
    assert as_count(0, "n", least=0) == 0
    with pytest.raises(ValueError, match="n must be a whole number of at least 2, got 1"):
        as_count(1, "n", least=2)
    with pytest.raises(TypeError, match="n must be a whole number"):
        as_count(torch.tensor(True), "n")

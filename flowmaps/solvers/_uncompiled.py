"""Adaptive solves in a compiled function; imported only while one is being compiled."""

from collections.abc import Callable
from typing import cast

import torch

from flowmaps.solvers._solution import Solution
from flowmaps.solvers._solve import solve

__all__ = ["solve_uncompiled"]

_disabled = torch.compiler.disable(
    solve,
    reason=(
        "flowmaps.solvers: adaptive steps depend on the data, as do those of ContinuousAdjoint and "
        "of solves with events, and do not compile; "
        "give steps=... or compile without fullgraph=True, where the solve runs between two graphs"
    ),
)
solve_uncompiled = cast(Callable[..., Solution], _disabled)
"""``solve``, left out of the graphs and run eagerly."""

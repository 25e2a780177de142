"""Gradient routing: which part of an equation the gradient of its square flows through.

The value of a residual is the same under every routing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["ROUTINGS", "check_routing", "constant", "routed", "stopped"]

ROUTINGS = ("full", "target", "value", "state")
"""What carries gradient: both sides; all but the target's; the mean velocity; X_{s,t}(x)."""


def check_routing(routing: str) -> str:
    """Return the routing; raise ValueError for one of another name."""
    if routing not in ROUTINGS:
        raise ValueError(f"routing must be one of {ROUTINGS}, got {routing!r}")
    return routing


def stopped(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a field or map with the gradient stopped, of its evaluation and of its inputs."""

    def evaluate(*arguments: Any) -> Tensor:
        return constant(lambda: function(*pytree.tree_map(_detached, arguments)))

    if hasattr(function, "check_times"):  # what is known by this as a flow map gets exact times
        evaluate.check_times = function.check_times
    return evaluate


def constant(compute: Callable[[], Tensor]) -> Tensor:
    """Return what ``compute`` returns, without gradient and without tangent."""
    # no_grad saves the graph, detach drops forward-mode tangents too
    with torch.no_grad():
        value = compute()
    return value.detach()


def routed(value: Tensor, moving: Tensor) -> Tensor:
    """Return the value with the gradient of ``moving``."""
    return value.detach() + (moving - moving.detach())


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf

"""What decides on data, left out of compiled graphs; imported only while one is being compiled.

Importing ``torch.compiler.disable`` early would make ``import flowmaps`` slow.
"""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["run_eagerly"]


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


run_eagerly: Callable[..., Any] = torch.compiler.disable(
    _call,
    reason=(
        "flowmaps.maps: Newton's method, and Autonomous at times given as tensors, decide on data "
        "and do not compile; without fullgraph=True they run between two graphs"
    ),
)
"""``run_eagerly(function, *arguments)`` calls a function outside the graph."""

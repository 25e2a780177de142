"""Shape aliases of annotations: ``batch`` counts samples, ``event`` is the state's own axes."""

from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor

__all__ = [
    "Clock",
    "Codes",
    "Condition",
    "Count",
    "Field",
    "Leaf",
    "Mask",
    "PerSample",
    "SquareMatrix",
    "State",
    "States",
    "Time",
    "Transport",
]

State = Float[Tensor, "batch *event"]
"""One state for every sample."""
States = Float[Tensor, "n_times batch *event"]
"""States at several times."""
Clock = Float64[Tensor, " batch"]
"""One time for every sample, always float64."""
PerSample = Float[Tensor, " batch"]
"""One real number for every sample."""
Mask = Bool[Tensor, " batch"]
"""One truth value for every sample."""
SquareMatrix = Float[Tensor, "batch n n"]
"""One matrix for every sample, over the flattened event."""
Codes = Int[Tensor, " batch"]
"""One result code for every sample."""
Leaf = Shaped[Tensor, "batch ..."]
"""A leaf of a condition."""

Time = float | np.number | np.ndarray | Tensor
"""A time as users give it: a number, a tensor (or an array) of shape () or (batch,)."""
Count = SupportsIndex
"""A whole number of any kind: Python's, numpy's."""
Condition = Any
"""A tensor or a pytree of tensors with a leading batch axis, or None."""
Field = Callable[..., Tensor]
"""``field(t, x)`` or ``field(t, x, condition)``."""
Transport = Callable[..., Tensor]
"""``flow_map(s, t, x)`` or ``flow_map(s, t, x, condition)``: a FlowMap or any callable like it."""

"""What is solved: a batch of one field, written once for torch, jax, NumPy and plain Python."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["TOLERANCES", "Case", "of_components"]

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
Field = Callable[[Any, Any, Any, Any], Any]


@dataclass(frozen=True)
class Case:
    """A batch to solve from time 0 to ``end``, with the parameter of every sample.

    Args:
        x: states (batch, n).
        parameter: (batch, ...).
        end: the last time.
        array_field: (library, t, x, parameter) for arrays x of any shape (..., n).
        components: the same of one sample for plain numbers, where that is quicker, else None.
        compared_every: one sample of so many is compared with the reference.
        tolerances: at which it is solved, rtol and atol alike.
    """

    x: Tensor
    parameter: Tensor
    end: float
    array_field: Field
    components: Field | None = None
    compared_every: int = 1
    tolerances: Sequence[float] = TOLERANCES

    def torch_field(self, t: Tensor, x: Tensor, parameter: Tensor) -> Tensor:
        """Return the field as torch's solvers ask for it; t 0-d or (batch,)."""
        return self.array_field(torch, t, x, parameter)

    def on(self, device: str) -> "Case":
        """Return the case on a device."""
        return replace(self, x=self.x.to(device), parameter=self.parameter.to(device))

    def reference(self, tolerance: float = 1e-13) -> np.ndarray:
        """Return the ends of the compared samples by scipy's DOP853, these as one system."""
        from scipy.integrate import solve_ivp

        x, parameter = self.x[:: self.compared_every], self.parameter[:: self.compared_every]

        def field(t: float, flat: Any) -> Any:
            state = torch.from_numpy(flat.reshape(x.shape))
            return self.torch_field(torch.tensor(t), state, parameter).numpy().ravel()

        found = solve_ivp(
            field, (0, self.end), x.numpy().ravel(), "DOP853", rtol=tolerance, atol=tolerance
        )
        return found.y[:, -1].reshape(x.shape)


def of_components(formula: Callable[..., Sequence[Any]]) -> Field:
    """Return a field of arrays from ``formula(library, t, components, parameter)``."""

    def field(library: Any, t: Any, x: Any, parameter: Any) -> Any:
        parts = [x[..., i] for i in range(x.shape[-1])]
        return library.stack(list(formula(library, t, parts, parameter)), -1)

    return field

"""What every adapter of fields is: a module with the field inside."""

import math
from typing import Any

from torch import nn

from flowmaps._checks import brief, is_number, method_owner

__all__ = ["Adapter", "as_finite", "require_callable"]


class Adapter(nn.Module):
    """A field made of a callable; the parameters of a module, or of a method's, are its own."""

    def __init__(self, field: Any):
        super().__init__()
        require_callable(field)
        self._owner = method_owner(field)


def require_callable(field: Any) -> None:
    """Raise TypeError for what is no field."""
    if not callable(field):
        raise TypeError(f"a field is a callable b(t, x) or b(t, x, condition), got {brief(field)}")


def as_finite(value: Any, name: str) -> float:
    """Return a finite number as a float; raise TypeError or ValueError for anything else."""
    if not is_number(value):
        raise TypeError(f"{name} must be a finite number, got {brief(value)}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return float(value)

"""What every network here asks of its sizes, times, states and conditions."""

from typing import Any

import torch
from torch import Tensor

from flowmaps._typing import Condition
from flowmaps.networks._features import ClassFeatures

__all__ = [
    "check_condition_kind",
    "check_sizes",
    "check_time_scale",
    "check_times_and_precision",
    "condition_features",
]


def check_sizes(sizes: dict[str, Any]) -> None:
    """Raise ValueError for a size, by name, that is no positive integer."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_condition_kind(condition_dim: int, classes: int | None) -> None:
    """Raise ValueError unless a network takes vectors, or labels, or nothing."""
    if condition_dim < 0 or (classes is not None and classes < 1):
        raise ValueError(
            "condition_dim must be >= 0 and classes >= 1 or None, "
            f"got {condition_dim} and {classes}"
        )
    if condition_dim and classes is not None:
        raise ValueError(
            "give condition_dim (a continuous condition) or classes (integer labels), not both"
        )


def check_time_scale(time_scale: float) -> None:
    """Raise ValueError unless the length of time that counts as one is positive."""
    if not time_scale > 0:
        raise ValueError(f"time_scale must be positive, got {time_scale}")


def check_times_and_precision(s: Tensor, t: Tensor, x: Tensor, weight: Tensor) -> None:
    """Raise unless s, t are tensors (batch,) and the weights keep the digits of x (batch, ...).

    Raises:
        TypeError: for numbers as times, or float64 states before weights of fewer digits.
        ValueError: for times of another shape.
    """
    for time, name in ((s, "s"), (t, "t")):
        if not isinstance(time, Tensor):
            raise TypeError(
                f"{name} must be a tensor of shape (batch,), got {type(time).__name__}; "
                "to call with numbers wrap the network in fm.maps.NeuralFlowMap"
            )
        if time.shape != x.shape[:1]:
            raise ValueError(f"{name} must have shape ({x.shape[0]},), got {tuple(time.shape)}")
    if x.dtype == torch.float64 and weight.dtype != torch.float64:
        raise TypeError(
            f"x is float64 but the weights are {weight.dtype} and lose its digits; "
            "use network.double() or x.float()"
        )


def condition_features(
    condition: Condition, x: Tensor, condition_dim: int, table: ClassFeatures | None
) -> Tensor | None:
    """Return what a network sees of a condition: a vector as it is, a row of the table, or None.

    Args:
        condition: real (batch, condition_dim), or integer labels (batch,), or None.
        x: the states (batch, ...).
        condition_dim: size of a continuous condition; 0 for none.
        table: of a network that takes labels, else None.

    Raises:
        TypeError: for labels that are no integers.
        ValueError: for a missing or superfluous condition, or one of another shape.
    """
    if table is None and condition_dim == 0:
        if condition is not None:
            raise ValueError(
                "this network takes no condition, got one; build it with condition_dim= or classes="
            )
        return None
    if not isinstance(condition, Tensor):
        vector = f"({x.shape[0]}, {condition_dim})"
        labels = f"({x.shape[0]},), integer labels, -1 for no class"
        raise ValueError(
            f"condition must be a tensor of shape {vector if table is None else labels}, "
            f"got {type(condition).__name__}"
        )
    if table is not None:
        _check_labels(condition, x)
        return table(condition)
    if condition.shape != (x.shape[0], condition_dim) or not condition.is_floating_point():
        raise ValueError(
            f"condition must be real with shape ({x.shape[0]}, {condition_dim}), "
            f"got {condition.dtype} {tuple(condition.shape)}"
        )
    return condition


def _check_labels(label: Tensor, x: Tensor) -> None:
    if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
        raise TypeError(
            f"class labels must be integers, got {label.dtype}; convert them with .long()"
        )
    if label.shape != x.shape[:1]:
        raise ValueError(f"class labels must have shape ({x.shape[0]},), got {tuple(label.shape)}")

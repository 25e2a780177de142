"""What every network here asks of its sizes, times, states and conditions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowmaps._checks import as_count, as_positive, brief, is_number
from flowmaps._typing import Condition
from flowmaps.networks._features import ClassFeatures

__all__ = [
    "Coordinates",
    "as_condition_kind",
    "as_config",
    "as_coordinates",
    "as_sizes",
    "check_times_and_precision",
    "condition_features",
]


Coordinates = Sequence[float] | np.ndarray | Tensor | None
"""A number for every coordinate of a sample, or None for the default."""


def as_config(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's ``locals()``, as called, in numbers and lists ready for JSON."""
    given = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value


def as_sizes(**sizes: Any) -> list[int]:
    """Return positive whole numbers, in their order; errors as of ``as_count``."""
    return [as_count(value, name) for name, value in sizes.items()]


def as_coordinates(
    values: Coordinates, default: float, dim: int, name: str, positive: bool = True
) -> list[float]:
    """Return a finite number for every coordinate, the same for all if none are given.

    Raises:
        TypeError: for what are no numbers.
        ValueError: for another number of them, or if they are not finite, or not positive.
    """
    numbers = [default] * dim if values is None else _plain(values)
    if not isinstance(numbers, list) or len(numbers) != dim:
        got = len(numbers) if isinstance(numbers, list) else brief(values)
        raise ValueError(f"{name} must have {dim} entries, got {got}")
    for i, number in enumerate(numbers):
        if positive:
            as_positive(number, f"{name}[{i}]")
        elif not is_number(number) or not math.isfinite(number):
            raise ValueError(f"{name}[{i}] must be a finite number, got {brief(number)}")
    return [float(number) for number in numbers]


def as_condition_kind(condition_dim: Any, classes: Any) -> tuple[int, int | None]:
    """Return both sizes; raise unless a network takes vectors, or labels, or nothing."""
    size = as_count(condition_dim, "condition_dim", least=0)
    number = None if classes is None else as_count(classes, "classes")
    if size and number is not None:
        raise ValueError(
            "give condition_dim (a continuous condition) or classes (integer labels), not both"
        )
    return size, number


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

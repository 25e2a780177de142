"""What a path must be, whoever wrote it: its interval, its coefficients, their slopes, its ends."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowmaps._checks import brief, is_number

if TYPE_CHECKING:
    from flowmaps.interpolants._interpolant import Interpolant

__all__ = ["as_interval", "check_path", "values_of"]

_NODES = 65


def as_interval(times: Any) -> tuple[float, float]:
    """Return an interval of time as two floats.

    Raises:
        TypeError: for what are not two numbers.
        ValueError: if they are not finite, or do not increase.
    """
    if not isinstance(times, tuple | list) or len(times) != 2 or not all(map(is_number, times)):
        raise TypeError(f"times must be two numbers, lower and upper end, got {brief(times)}")
    lower, upper = float(times[0]), float(times[1])
    if not -math.inf < lower < upper < math.inf:
        raise ValueError(f"times must be finite and increase, got {times}")
    return lower, upper


def values_of(function: Callable[[Tensor], Tensor], t: Tensor, name: str) -> Tensor:
    """Return a function's values at times (n,).

    Raises:
        TypeError: if they are no tensor like the times.
        ValueError: if they are not finite, or a time's value depends on the other times.
    """
    value = function(t)
    if not isinstance(value, Tensor) or value.shape != t.shape:
        raise TypeError(
            f"{name} must return a tensor of the times' shape, ({len(t)},), got {brief(value)}"
        )
    if not bool(value.isfinite().all()):
        bad = t[~value.isfinite()][0].item()
        raise ValueError(f"{name} must be finite, and is not at time {bad:g}; clip the interval")
    half = len(t) // 2
    if not torch.allclose(function(t[:half]), value[:half], rtol=1e-6, atol=1e-12):
        raise ValueError(
            f"{name} must be a function of each time alone, and changes with the other times"
        )
    return value


def check_path(path: "Interpolant", ends: Any = None) -> None:
    """Refuse a path whose coefficients are not finite, have other slopes, or miss its ends.

    Args:
        path: the interpolant.
        ends: (alpha, beta) at both ends, as declared; None for what ``path.ends`` says.

    Raises:
        TypeError, ValueError: names the coefficient, what was got and what was expected.
    """
    lower, upper = as_interval(path.times)
    t = torch.linspace(lower, upper, _NODES, dtype=torch.float64)
    coefficients = [("alpha", path.alpha, path.alpha_derivative)]
    coefficients += [("beta", path.beta, path.beta_derivative)]
    coefficients += [("gamma", path.gamma, path.gamma_derivative)] if path.latent else []
    for name, function, _ in coefficients:
        values_of(function, t, name)
    _check_ends(path, path.ends if ends is None else ends)
    for name, function, derivative in coefficients:
        slope = values_of(derivative, t, f"{name}_derivative")
        _check_slope(name, function, t[3:-3], slope[3:-3])


def _check_ends(path: "Interpolant", ends: Any) -> None:
    """Raise ValueError unless alpha and beta are at both ends what is declared."""
    times = torch.tensor(path.times, dtype=torch.float64)
    found = zip(path.alpha(times).tolist(), path.beta(times).tolist(), strict=True)
    for time, (alpha, beta), declared in zip(path.times, found, ends, strict=True):
        if abs(alpha - declared[0]) > 1e-6 or abs(beta - declared[1]) > 1e-6:
            raise ValueError(
                f"the path misses its end at time {time:g}: alpha and beta are "
                f"{alpha:g} and {beta:g}, declared {declared[0]:g} and {declared[1]:g}; "
                "mend the coefficients, or declare ends= as they are"
            )


def _check_slope(name: str, function: Callable[[Tensor], Tensor], t: Tensor, slope: Tensor) -> None:
    """Raise ValueError if a slope is not that of differences, up to a hundredth of the largest."""
    step = 1e-4 * (t[-1] - t[0])
    found = (function(t + step) - function(t - step)) / (2 * step)
    off = (found - slope).abs()
    if bool((off > 1e-2 * found.abs().max() + 1e-6).any()):
        worst = int(off.argmax())
        raise ValueError(
            f"{name}_derivative is not the derivative of {name}: at time {t[worst].item():g} it is "
            f"{slope[worst].item():g}, by differences {found[worst].item():g}"
        )

"""Mutants that are wrong in a part of the space of states, times and conditions alone.

All draws are uniform, so that the shares are volumes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowmaps._typing import Mask, State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth, wide

__all__ = ["MUTANTS"]

Region = Callable[..., Mask]
"""Tells at which (truth, s, t, x[, condition]) the mutant is wrong."""


def _grows(y: State, s: Tensor, t: Tensor) -> State:
    return y * (1 + 0.01 * wide(t - s))


def _jumps(y: State, s: Tensor, t: Tensor) -> State:
    return y + 1e-3


def _nowhere(y: State, s: Tensor, t: Tensor) -> State:
    return torch.full_like(y, float("nan"))


def _inside(region: Region, wrong: Callable[..., State] = _grows) -> Callable[[Truth], Transport]:
    """Return what makes a map that is wrong in a region."""

    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State, *condition: Any) -> State:
            y = truth(s, t, x, *condition)
            bad = region(truth, s, t, x, *condition)
            return torch.where(wide(bad), wrong(y, s, t), y)

        return flow_map

    return change


def _part(truth: Truth, t: Tensor) -> Tensor:
    """Return how much of the window has passed, 0 to 1."""
    low, high = truth.times
    return (t - low) / (high - low)


def _beyond_radius(share: float) -> Region:
    # the ball of radius 2 in the plane: a part 1 - (r / 2)^2 of its area is beyond r
    return lambda truth, s, t, x: x.square().sum(1) > 4 * (1 - share)


def _corner(share: float) -> Region:
    # in the square [-2, 2]^2
    return lambda truth, s, t, x: (x > 2 - 4 * share**0.5).all(1)


def _late_start(share: float) -> Region:
    return lambda truth, s, t, x: _part(truth, s) > 1 - share


def _long_span(share: float) -> Region:
    # two uniform times are further apart than a part h of the window with probability (1 - h)^2
    return lambda truth, s, t, x: (_part(truth, t) - _part(truth, s)).abs() > 1 - share**0.5


def _short_span(share: float) -> Region:
    # and nearer than h with 1 - (1 - h)^2
    return lambda truth, s, t, x: (_part(truth, t) - _part(truth, s)).abs() < 1 - (1 - share) ** 0.5


def _backwards(truth: Truth, s: Tensor, t: Tensor, x: State) -> Mask:
    return t < s


def _negative(truth: Truth, s: Tensor, t: Tensor, x: State) -> Mask:
    return x[:, 0] < 0


def _backwards_late(truth: Truth, s: Tensor, t: Tensor, x: State) -> Mask:
    # from the last tenth of the window to the first
    return (_part(truth, s) > 0.9) & (_part(truth, t) < 0.1)


def _high_condition(share: float) -> Region:
    def region(truth: Truth, s: Tensor, t: Tensor, x: State, condition: Tensor) -> Mask:
        box = truth.problem.parameter_domain
        top = box.upper - share * (box.upper - box.lower)
        return condition[:, 0] > top[0].to(condition.dtype)

    return region


def _both_extreme(truth: Truth, s: Tensor, t: Tensor, x: State, condition: Tensor) -> Mask:
    # a tenth of the conditions and a tenth of the states
    return _high_condition(0.1)(truth, s, t, x, condition) & (x[:, 0] > 0.8)


def _smooth(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        over = torch.relu(x.square().sum(1) - 4 * 0.95)
        return truth(s, t, x) * (1 + wide(over**2 * (t - s)))

    return flow_map


def _clamped(truth: Truth) -> Transport:
    # the interval [0.05, 0.95]: its last twentieth
    return lambda s, t, x: truth(s, t, x.clamp(max=0.905))


_SEEN = ("lagrangian", "eulerian", "semigroup", "integral lagrangian")

MUTANTS = (
    Mutant(
        "beyond a radius, 5 %",
        "rotation",
        "1 % too long a unit of time, where the state is far out",
        _inside(_beyond_radius(0.05)),
        0.05,
        _SEEN,
    ),
    Mutant(
        "beyond a radius, 1 %",
        "rotation",
        "the same, further out",
        _inside(_beyond_radius(0.01)),
        0.01,
        _SEEN,
    ),
    Mutant(
        "in a corner, 5 %",
        "harmonic_oscillator",
        "1 % too long a unit of time, from a corner of the square",
        _inside(_corner(0.05)),
        0.05,
        _SEEN,
    ),
    Mutant(
        "in a corner, 1 %",
        "linear_system",
        "the same, a smaller corner",
        _inside(_corner(0.01)),
        0.01,
        _SEEN,
    ),
    Mutant(
        "late starts, 5 %",
        "gaussian_interpolant",
        "1 % too long a unit of time, from the end of the window",
        _inside(_late_start(0.05)),
        0.05,
        _SEEN,
    ),
    Mutant(
        "late starts, 1 %",
        "scalar_separable",
        "the same, a shorter end",
        _inside(_late_start(0.01)),
        0.01,
        _SEEN,
    ),
    Mutant(
        "long spans, 5 %",
        "harmonic_oscillator",
        "1 % too long a unit of time, over long spans",
        _inside(_long_span(0.05)),
        0.05,
        _SEEN,
    ),
    Mutant(
        "long spans, 1 %",
        "logistic_growth",
        "the same, longer spans",
        _inside(_long_span(0.01)),
        0.01,
        _SEEN,
    ),
    Mutant(
        "short spans, 5 %",
        "rotation",
        "1 % too long a unit of time, over short spans",
        _inside(_short_span(0.05)),
        0.05,
        _SEEN,
    ),
    Mutant(
        "short spans, 1 %",
        "linear_system",
        "the same, shorter spans",
        _inside(_short_span(0.01)),
        0.01,
        _SEEN,
    ),
    Mutant(
        "backwards",
        "rotation",
        "1 % too long a unit of time, backwards",
        _inside(_backwards),
        0.5,
        ("inverse", *_SEEN),
    ),
    Mutant(
        "backwards, 1 %",
        "linear_system",
        "the same, from the last tenth of the window to the first",
        _inside(_backwards_late),
        0.01,
        _SEEN,
    ),
    Mutant(
        "negative positions",
        "harmonic_oscillator",
        "1 % too long a unit of time, for one sign of a component",
        _inside(_negative),
        0.5,
        _SEEN,
    ),
    Mutant(
        "smooth beyond a radius, 5 %",
        "rotation",
        "an error of the third order in the distance to the radius and the span",
        _smooth,
        0.05,
        _SEEN,
    ),
    Mutant(
        "clamps its input, 5 %",
        "logistic_growth",
        "the upper end of the interval",
        _clamped,
        0.05,
        ("identity",),
    ),
    Mutant(
        "jumps in a corner, 1 %",
        "linear_system",
        "off by 0.001, on the diagonal too",
        _inside(_corner(0.01), _jumps),
        0.01,
        ("identity",),
    ),
    Mutant(
        "NaN in a corner, 1 %",
        "harmonic_oscillator",
        "no value",
        _inside(_corner(0.01), _nowhere),
        0.01,
        ("identity",),
    ),
    Mutant(
        "some conditions, 5 %",
        "rotation",
        "1 % too long a unit of time, for high rates",
        _inside(_high_condition(0.05)),
        0.05,
        _SEEN,
        True,
    ),
    Mutant(
        "some conditions, 1 %",
        "rotation",
        "the same, higher rates",
        _inside(_high_condition(0.01)),
        0.01,
        _SEEN,
        True,
    ),
    Mutant(
        "extreme pairs, 1 %",
        "scalar_separable",
        "the same, high rates at high states",
        _inside(_both_extreme),
        0.01,
        _SEEN,
        True,
    ),
)

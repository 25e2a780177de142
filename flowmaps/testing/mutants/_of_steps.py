"""Mutants that are a numerical method of too few steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth, wide

__all__ = ["MUTANTS"]

Step = Callable[..., State]


def _euler(b: Step, t: Tensor, h: Tensor, x: State) -> State:
    return x + wide(h) * b(t, x)


def _midpoint(b: Step, t: Tensor, h: Tensor, x: State) -> State:
    return x + wide(h) * b(t + h / 2, x + wide(h / 2) * b(t, x))


def _heun(b: Step, t: Tensor, h: Tensor, x: State) -> State:
    first = b(t, x)
    return x + wide(h / 2) * (first + b(t + h, x + wide(h) * first))


def _runge_kutta(b: Step, t: Tensor, h: Tensor, x: State) -> State:
    first = b(t, x)
    second = b(t + h / 2, x + wide(h / 2) * first)
    third = b(t + h / 2, x + wide(h / 2) * second)
    fourth = b(t + h, x + wide(h) * third)
    return x + wide(h / 6) * (first + 2 * second + 2 * third + fourth)


def _taylor(b: Step, t: Tensor, h: Tensor, x: State) -> State:
    return x + wide(h) * b(t, x) + wide(h**2 / 2) * b(t, b(t, x))


def _steps(step: Callable[..., State], n: int) -> Callable[[Truth], Transport]:
    """Return what makes a map of n equal steps."""

    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            h = (t - s) / n
            for k in range(n):
                x = step(truth.field, s + k * h, h, x)
            return x

        return flow_map

    return change


def _of_one_length(truth: Truth) -> Transport:
    """Return what makes a map that goes to the next tenth of a span by four steps."""

    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        n = 4
        h = torch.round((t - s) * 10) / 10 / n
        for k in range(n):
            x = _runge_kutta(truth.field, s + k * h, h, x)
        return x

    return flow_map


_SEEN = ("semigroup", "lagrangian", "integral lagrangian")

MUTANTS = (
    Mutant("Euler, one step", "rotation", "x + (t - s) b(s, x)", _steps(_euler, 1), 1.0, _SEEN),
    Mutant("Euler, 16 steps", "logistic_growth", "first order", _steps(_euler, 16), 1.0, _SEEN),
    Mutant("midpoint, 8 steps", "linear_system", "second order", _steps(_midpoint, 8), 1.0, _SEEN),
    Mutant("Heun, one step", "gaussian_interpolant", "second order", _steps(_heun, 1), 1.0, _SEEN),
    Mutant("Heun, 16 steps", "rotation", "second order", _steps(_heun, 16), 1.0, _SEEN),
    Mutant(
        "Taylor, one step",
        "linear_system",
        "x + h A x + h^2 / 2 A^2 x",
        _steps(_taylor, 1),
        1.0,
        _SEEN,
    ),
    Mutant("RK4, 4 steps", "rotation", "fourth order", _steps(_runge_kutta, 4), 1.0, _SEEN),
    Mutant(
        "RK4, 16 steps", "harmonic_oscillator", "fourth order", _steps(_runge_kutta, 16), 1.0, _SEEN
    ),
    Mutant(
        "RK4, a rounded span",
        "linear_system",
        "fourth order, over the span rounded to tenths",
        _of_one_length,
        1.0,
        _SEEN,
    ),
)

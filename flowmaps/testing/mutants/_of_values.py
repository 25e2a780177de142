"""Mutants whose values are wrong nearly everywhere."""

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth, wide

__all__ = ["MUTANTS"]


def _contraction(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) * wide(torch.exp(-0.02 * (t - s)))


def _bias(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 1e-3


def _drift(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 1e-3 * wide(t - s)


def _quadratic(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 1e-3 * wide((t - s) ** 2)


def _cubic(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) * (1 + 1e-4 * wide((t - s) ** 3))


def _energy(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) * (1 + 1e-8 * wide(t - s))


def _chord(truth: Truth) -> Transport:
    return lambda s, t, x: x + wide(t - s) * (truth(s, s + 1, x) - x)


def _one_component(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        first, *rest = truth(s, t, x).unbind(1)
        return torch.stack([first, *(a * (1 + 1e-3 * (t - s)) for a in rest)], dim=1)

    return flow_map


def _exchanged(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x.flip(1))


def _of_exchanged(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x.flip(1)).flip(1)


def _sheared(truth: Truth) -> Transport:
    shear = torch.tensor([[1.0, 0.01], [0.0, 1.0]], dtype=torch.float64)
    back = torch.tensor([[1.0, -0.01], [0.0, 1.0]], dtype=torch.float64)

    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        return truth(s, t, x @ shear.to(x.dtype)) @ back.to(x.dtype)

    return flow_map


def _float32(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s.float(), t.float(), x.float()).to(x.dtype)


def _folded(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 0.1 * wide(t - s) * torch.sin(20 * x)


def _on_the_diagonal(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 1e-3 * wide((s == t).to(x.dtype))


def _slower_by(amount: float):
    def change(truth: Truth) -> Transport:
        return lambda s, t, x: truth(s, s + (1 + amount) * (t - s), x)

    return change


def _turning_by(amount: float):
    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            y, angle = truth(s, t, x), amount * (t - s)
            cos, sin = torch.cos(angle), torch.sin(angle)
            return torch.stack([cos * y[:, 0] - sin * y[:, 1], sin * y[:, 0] + cos * y[:, 1]], 1)

        return flow_map

    return change


_OF_FIELD = ("lagrangian", "integral lagrangian")

MUTANTS = (
    Mutant(
        "contraction",
        "linear_system",
        "shrinks by 2 % a unit of time: the flow of another field",
        _contraction,
        1.0,
        _OF_FIELD,
    ),
    Mutant("bias", "rotation", "off by 0.001, on the diagonal too", _bias, 1.0, ("identity",)),
    Mutant("drift", "gaussian_interpolant", "off by 0.001 (t - s)", _drift, 1.0, _OF_FIELD),
    Mutant(
        "quadratic error",
        "rotation",
        "off by 0.001 (t - s)^2: identity and tangent hold",
        _quadratic,
        1.0,
        ("semigroup", *_OF_FIELD),
    ),
    Mutant(
        "cubic error",
        "scalar_separable",
        "off by a factor 1 + 0.0001 (t - s)^3",
        _cubic,
        1.0,
        ("semigroup", *_OF_FIELD),
    ),
    Mutant(
        "gains energy",
        "harmonic_oscillator",
        "longer by a factor 1 + 1e-8 (t - s)",
        _energy,
        1.0,
        _OF_FIELD,
    ),
    Mutant(
        "chord",
        "harmonic_oscillator",
        "straight on at the mean velocity of a unit of time",
        _chord,
        1.0,
        ("semigroup", *_OF_FIELD),
    ),
    Mutant(
        "one component",
        "gaussian_interpolant",
        "the second component grows by 0.1 % a unit of time too fast",
        _one_component,
        1.0,
        _OF_FIELD,
    ),
    Mutant(
        "exchanged components",
        "linear_system",
        "takes the components in the wrong order",
        _exchanged,
        1.0,
        ("identity",),
    ),
    Mutant(
        "conjugated by an exchange",
        "linear_system",
        "the flow in the mirror: identity, semigroup and inverse hold",
        _of_exchanged,
        1.0,
        _OF_FIELD,
    ),
    Mutant(
        "conjugated by a shear",
        "harmonic_oscillator",
        "the flow in coordinates off by 1 %: identity, semigroup and inverse hold",
        _sheared,
        1.0,
        _OF_FIELD,
    ),
    Mutant(
        "float32 inside",
        "rotation",
        "computes in float32",
        _float32,
        1.0,
        ("identity", "semigroup", *_OF_FIELD),
    ),
    Mutant(
        "folded",
        "scalar_separable",
        "trajectories cross",
        _folded,
        1.0,
        ("order", "semigroup", *_OF_FIELD),
    ),
    Mutant(
        "wrong on the diagonal",
        "harmonic_oscillator",
        "off by 0.001 where s = t exactly and nowhere else",
        _on_the_diagonal,
        0.0,
        ("identity",),
    ),
    Mutant("field off by 2 %", "harmonic_oscillator", "1.02 b", _slower_by(0.02), 1.0, _OF_FIELD),
    Mutant("field off by 0.1 %", "logistic_growth", "1.001 b", _slower_by(1e-3), 1.0, _OF_FIELD),
    Mutant(
        "field off by 1e-6", "linear_system", "b, off by 1e-6", _slower_by(1e-6), 1.0, _OF_FIELD
    ),
    Mutant(
        "turns too fast by 2 %", "rotation", "by 0.02 (t - s)", _turning_by(0.02), 1.0, _OF_FIELD
    ),
    Mutant(
        "turns too fast by 1e-9", "rotation", "by 1e-9 (t - s)", _turning_by(1e-9), 1.0, _OF_FIELD
    ),
)

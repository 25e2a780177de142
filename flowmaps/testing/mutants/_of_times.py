"""Mutants that mistake the times."""

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth

__all__ = ["MUTANTS"]


def _warped(truth: Truth) -> Transport:
    def warp(t: Tensor) -> Tensor:
        return t + 0.1 * torch.sin(t)

    return lambda s, t, x: truth(warp(s), warp(t), x)


def _forward_only(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, s + (t - s).abs(), x)


def _ignores_start(truth: Truth) -> Transport:
    return lambda s, t, x: truth(torch.full_like(s, truth.times[0]), t, x)


def _ignores_end(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, torch.full_like(t, truth.times[1]), x)


def _swapped(truth: Truth) -> Transport:
    return lambda s, t, x: truth(t, s, x)


def _wrong_sign(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, 2 * s - t, x)


def _autonomous(truth: Truth) -> Transport:
    return lambda s, t, x: truth(torch.zeros_like(s), t - s, x)


def _half_way(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, (s + t) / 2, x)


def _on_a_grid(truth: Truth) -> Transport:
    def rounded(t: Tensor) -> Tensor:
        return torch.round(100 * t) / 100

    return lambda s, t, x: truth(rounded(s), rounded(t), x)


def _float32_span(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, s + (t - s).float().to(x.dtype), x)


def _stops(truth: Truth) -> Transport:
    low, high = truth.times
    last = low + 0.9 * (high - low)
    return lambda s, t, x: truth(s.clamp(max=last), t.clamp(max=last), x)


def _late_by_constant(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s + 1e-3, t + 1e-3, x)


def _first_time(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        return truth(s[:1].expand_as(s), t[:1].expand_as(t), x)

    return flow_map


def _first_end(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t[:1].expand_as(t), x)


MUTANTS = (
    Mutant(
        "time warp",
        "harmonic_oscillator",
        "X at the times t + 0.1 sin t: the flow of another field",
        _warped,
        1.0,
        ("lagrangian", "integral lagrangian"),
    ),
    Mutant(
        "forward only",
        "linear_system",
        "goes forward by |t - s|, whichever way it is asked",
        _forward_only,
        0.5,
        ("inverse", "semigroup"),
    ),
    Mutant("ignores the start", "rotation", "X from time 0", _ignores_start, 1.0, ("identity",)),
    Mutant("ignores the end", "rotation", "X to the last time", _ignores_end, 1.0, ("identity",)),
    Mutant(
        "swapped times",
        "harmonic_oscillator",
        "X_{t,s}: the flow of the field's negative",
        _swapped,
        1.0,
        ("lagrangian", "tangent"),
    ),
    Mutant(
        "wrong sign of the span",
        "rotation",
        "goes from s by s - t",
        _wrong_sign,
        1.0,
        ("semigroup", "lagrangian"),
    ),
    Mutant(
        "autonomous",
        "gaussian_interpolant",
        "X_{0,t-s}, though the field depends on time",
        _autonomous,
        1.0,
        ("lagrangian", "tangent"),
    ),
    Mutant(
        "half way",
        "linear_system",
        "stops in the middle of the span: the flow of half the field",
        _half_way,
        1.0,
        ("lagrangian", "tangent"),
    ),
    Mutant(
        "times on a grid",
        "scalar_separable",
        "times rounded to hundredths: identity and semigroup hold",
        _on_a_grid,
        1.0,
        ("lagrangian", "integral lagrangian"),
    ),
    Mutant(
        "span in float32",
        "harmonic_oscillator",
        "the span is rounded to float32",
        _float32_span,
        1.0,
        ("semigroup", "integral lagrangian"),
    ),
    Mutant(
        "stops",
        "scalar_separable",
        "nothing moves after nine tenths of the time",
        _stops,
        0.19,
        ("lagrangian", "tangent"),
    ),
    Mutant(
        "late by a constant",
        "rotation",
        "asks a field that depends on time at t + 0.001",
        _late_by_constant,
        1.0,
        ("lagrangian", "tangent"),
    ),
    Mutant(
        "first sample's times",
        "rotation",
        "the first sample's times for the whole batch",
        _first_time,
        1.0,
        ("batch consistency",),
    ),
    Mutant(
        "first sample's end",
        "logistic_growth",
        "the first sample's end time for the whole batch",
        _first_end,
        1.0,
        ("batch consistency", "identity"),
    ),
)

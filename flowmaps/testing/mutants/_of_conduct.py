"""Mutants that are no function of a sample: of batches, of calls, of what was asked before."""

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth, wide

__all__ = ["MUTANTS"]


def _row(number: int):
    """Return what makes a map that is wrong at one row of every batch that has so many."""

    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            chosen = torch.arange(len(x), device=x.device) == number
            return truth(s, t, x) * (1 + 1e-3 * wide(chosen.to(x.dtype)))

        return flow_map

    return change


def _batch_size(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) * (1 + 1e-9 * len(x))


def _alone(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        return truth(s, t, x) if len(x) > 1 else x + wide(t - s) * truth.field(s, x)

    return flow_map


def _squeezed(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x).squeeze()


def _batch_mean(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x) + 1e-3 * wide(t - s) * (x - x.mean(0))


def _permuted(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x).roll(1, 0)


def _sorted(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        order = t.argsort()
        return truth(s[order], t[order], x[order])

    return flow_map


def _one_for_all(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x)[:1].expand_as(x)


def _chunks(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        done = len(x) // 50 * 50
        return torch.cat([truth(s[:done], t[:done], x[:done]), x[done:]])

    return flow_map


def _noisy(amount: float, share: float):
    """Return what makes a map with noise at a share of the samples."""

    def change(truth: Truth) -> Transport:
        generator = torch.Generator().manual_seed(0)

        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            chosen = torch.rand(len(x), generator=generator) < share
            noise = torch.randn(x.shape, generator=generator).to(x)
            return truth(s, t, x) + amount * noise * wide(chosen)

        return flow_map

    return change


def _counter(truth: Truth) -> Transport:
    calls = [0]

    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        calls[0] += 1
        return truth(s, t, x) * (1 + 1e-10 * calls[0])

    return flow_map


def _after_first(truth: Truth) -> Transport:
    calls = [0]

    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        calls[0] += 1
        return truth(s, t, x) if calls[0] % 5 else truth(s, t, x) + 1e-3

    return flow_map


def _cached_by(name: str):
    """Return what makes a map that returns its last value if one argument is as it was."""

    def change(truth: Truth) -> Transport:
        last: dict[str, Tensor] = {}

        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            key = {"times": torch.stack([s, t]), "state": x}[name].detach()
            if last and last["key"].shape == key.shape and torch.equal(last["key"], key):
                return last["value"].clone()
            last.update(key=key.clone(), value=truth(s, t, x).detach())
            return truth(s, t, x)

        return flow_map

    return change


def _remembers(truth: Truth) -> Transport:
    last = {"mean": 0.0}

    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        y = truth(s, t, x) + 1e-6 * last["mean"]
        last["mean"] = float(x.detach().mean())
        return y

    return flow_map


def _changes_state(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        y = truth(s, t, x)
        x += 1e-3
        return y

    return flow_map


def _changes_times(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        y = truth(s, t, x)
        t -= s
        return y

    return flow_map


def _changes_condition(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State, condition: Tensor) -> State:
        y = truth(s, t, x, condition)
        condition *= 1.01
        return y

    return flow_map


def _in_place(truth: Truth) -> Transport:
    return lambda s, t, x: x.copy_(truth(s, t, x))


def _double(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x).double()


def _tolerance_of_dtype(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        factor = 1.0 if x.dtype == torch.float64 else 1 + 1e-2 * wide(t - s)
        return truth(s, t, x) * factor

    return flow_map


def _raises(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        if bool((t < s).all()):
            raise RuntimeError("no way back")
        return truth(s, t, x)

    return flow_map


_BATCH, _CALLS, _KEPT = ("batch consistency",), ("determinism",), ("input not mutated",)

MUTANTS = (
    Mutant("wrong at row 0", "rotation", "of every batch", _row(0), 1.0, _BATCH),
    Mutant("wrong at row 7", "linear_system", "of every batch", _row(7), 1.0, _BATCH),
    Mutant(
        "wrong at row 1000",
        "rotation",
        "of every batch that has so many",
        _row(1000),
        1.0,
        ("semigroup", "integral lagrangian"),
    ),
    Mutant(
        "depends on the size of the batch",
        "harmonic_oscillator",
        "off by 1e-9 for every sample there is",
        _batch_size,
        1.0,
        _BATCH,
    ),
    Mutant("alone", "linear_system", "a sample alone gets Euler's step", _alone, 1.0, _BATCH),
    Mutant("squeezed", "rotation", "a sample alone loses its axis", _squeezed, 1.0, _BATCH),
    Mutant(
        "mean of the batch",
        "gaussian_interpolant",
        "moves away from the mean of the batch",
        _batch_mean,
        1.0,
        _BATCH,
    ),
    Mutant("permutes samples", "logistic_growth", "by one", _permuted, 1.0, _BATCH),
    Mutant("sorts samples", "scalar_separable", "by their end times", _sorted, 1.0, _BATCH),
    Mutant("one for all", "linear_system", "the first sample's end", _one_for_all, 1.0, _BATCH),
    Mutant(
        "whole chunks",
        "rotation",
        "leaves what remains after chunks of 50 where it was",
        _chunks,
        1.0,
        _BATCH,
    ),
    Mutant("noisy", "rotation", "noise of 1e-6", _noisy(1e-6, 1.0), 1.0, _CALLS),
    Mutant(
        "noisy at 1 %",
        "linear_system",
        "noise of 0.001 at a hundredth of the samples",
        _noisy(1e-3, 0.01),
        0.01,
        _CALLS,
    ),
    Mutant("counts calls", "harmonic_oscillator", "off by 1e-10 a call", _counter, 1.0, _CALLS),
    Mutant("every fifth call", "logistic_growth", "is off by 0.001", _after_first, 1.0, ()),
    Mutant(
        "stale cache of times",
        "rotation",
        "the last value again if the times are the last ones",
        _cached_by("times"),
        1.0,
        _CALLS,
    ),
    Mutant(
        "stale cache of states",
        "linear_system",
        "the last value again if the states are the last ones",
        _cached_by("state"),
        1.0,
        _CALLS,
    ),
    Mutant(
        "remembers the last call",
        "scalar_separable",
        "adds a millionth of the last states' mean",
        _remembers,
        1.0,
        _CALLS,
    ),
    Mutant("changes the state", "rotation", "in place, after use", _changes_state, 1.0, _KEPT),
    Mutant("changes the times", "linear_system", "in place, after use", _changes_times, 1.0, _KEPT),
    Mutant(
        "changes the condition",
        "logistic_growth",
        "in place, after use",
        _changes_condition,
        1.0,
        _KEPT,
        True,
    ),
    Mutant("in place", "gaussian_interpolant", "returns its argument", _in_place, 1.0, _KEPT),
    Mutant(
        "always double",
        "rotation",
        "returns float64 for float32",
        _double,
        1.0,
        ("dtype consistency",),
    ),
    Mutant(
        "wrong in float32",
        "gaussian_interpolant",
        "off by 1 % a unit of time in float32 alone",
        _tolerance_of_dtype,
        1.0,
        ("dtype consistency",),
    ),
    Mutant("raises", "harmonic_oscillator", "if all go backwards", _raises, 0.5, ()),
)

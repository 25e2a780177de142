"""Mutants that mistake the condition; every sample has parameters of its own."""

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth

__all__ = ["MUTANTS"]


def _dropped(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x)


def _first(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x, condition[:1].expand_as(condition))


def _mean(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x, condition.mean(0).expand_as(condition))


def _exchanged(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x, condition.flip(1))


def _rounded(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x, torch.round(100 * condition) / 100)


def _neighbour(truth: Truth) -> Transport:
    return lambda s, t, x, condition: truth(s, t, x, condition.roll(1, 0))


def _last_column(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State, condition: Tensor) -> State:
        own = torch.tensor(list(truth.problem.parameters.values())).to(condition)
        last = torch.arange(len(own)) == len(own) - 1
        return truth(s, t, x, torch.where(last, own, condition))

    return flow_map


_SEEN = ("lagrangian", "integral lagrangian")

MUTANTS = (
    Mutant(
        "drops the condition",
        "harmonic_oscillator",
        "the problem's own parameters for every sample",
        _dropped,
        1.0,
        ("condition respected", *_SEEN),
        True,
    ),
    Mutant(
        "first sample's condition",
        "logistic_growth",
        "for the whole batch",
        _first,
        1.0,
        ("batch consistency", *_SEEN),
        True,
    ),
    Mutant(
        "mean condition",
        "rotation",
        "for the whole batch",
        _mean,
        1.0,
        ("batch consistency", *_SEEN),
        True,
    ),
    Mutant(
        "neighbour's condition",
        "scalar_separable",
        "each sample has the condition of the one before it",
        _neighbour,
        1.0,
        ("batch consistency", *_SEEN),
        True,
    ),
    Mutant(
        "exchanged condition",
        "logistic_growth",
        "takes the parameters in the wrong order",
        _exchanged,
        1.0,
        _SEEN,
        True,
    ),
    Mutant(
        "rounded condition",
        "scalar_separable",
        "parameters rounded to hundredths",
        _rounded,
        1.0,
        _SEEN,
        True,
    ),
    Mutant(
        "last parameter alone",
        "rotation",
        "the problem's own values for all parameters but the last",
        _last_column,
        1.0,
        _SEEN,
        True,
    ),
)

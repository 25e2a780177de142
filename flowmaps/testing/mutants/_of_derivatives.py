"""Mutants whose derivatives are not those of their values."""

from typing import Any, final

import torch
from torch import Tensor

from flowmaps._typing import State, Transport
from flowmaps.testing.mutants._mutant import Mutant, Truth, wide

__all__ = ["MUTANTS"]


def _detached_state(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, x.detach())


def _detached_start(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s.detach(), t, x)


def _detached_end(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t.detach(), x)


def _claims_field(amount: float):
    """Return what makes a map of other values whose derivative in t is b at these values."""

    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            end = t.detach()
            y = truth(s, s + (1 + amount) * (end - s), x)
            return y + wide(t - end) * truth.field(end, y.detach())

        return flow_map

    return change


def _scaled(x: Tensor, factor: float) -> Tensor:
    """Return x, with tangents and gradients multiplied by a factor."""
    return x.detach() + factor * (x - x.detach())


def _end_rate(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, _scaled(t, 1.001), x)


def _jacobian_off(truth: Truth) -> Transport:
    return lambda s, t, x: truth(s, t, _scaled(x, 1.0001))


def _straight_through(truth: Truth) -> Transport:
    def flow_map(s: Tensor, t: Tensor, x: State) -> State:
        y = truth(s, t, x)
        return y + (torch.round(1e6 * y) / 1e6 - y).detach()

    return flow_map


class _Linear(torch.autograd.Function):
    """y = M x with a rule of its own in either mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, x: Tensor) -> Tensor:
        return _product(matrix, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def vjp(ctx: Any, w: Tensor) -> tuple[Tensor, Tensor]:
        matrix, x = ctx.saved_tensors
        return w[:, :, None] * x[:, None, :], _product(matrix.mT, w)

    @staticmethod
    def jvp(ctx: Any, moved: Tensor, v: Tensor) -> Tensor:
        matrix, x = ctx.saved_tensors
        return _product(moved, x) + _product(matrix, v)


@final
class _TransposedBackward(_Linear):
    @staticmethod
    def vjp(ctx: Any, w: Tensor) -> tuple[Tensor, Tensor]:
        matrix, x = ctx.saved_tensors
        return w[:, :, None] * x[:, None, :], _product(matrix, w)


@final
class _TransposedForward(_Linear):
    @staticmethod
    def jvp(ctx: Any, moved: Tensor, v: Tensor) -> Tensor:
        matrix, x = ctx.saved_tensors
        return _product(moved, x) + _product(matrix.mT, v)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix * x[:, None, :]).sum(2)


def _by_rule(rule: type[_Linear]):
    """Return what makes the flow of a linear system with a rule for its derivatives."""

    def change(truth: Truth) -> Transport:
        def flow_map(s: Tensor, t: Tensor, x: State) -> State:
            columns = [truth(s, t, e.expand_as(x)) for e in torch.eye(2).to(x)]
            return rule.apply(torch.stack(columns, dim=2), x)  # pyright: ignore[reportReturnType]

        return flow_map

    return change


_HONEST = ("derivative honesty",)

MUTANTS = (
    Mutant(
        "detached state",
        "harmonic_oscillator",
        "right values, no derivative in x",
        _detached_state,
        1.0,
        _HONEST,
    ),
    Mutant(
        "detached start",
        "rotation",
        "right values, no derivative in s",
        _detached_start,
        1.0,
        _HONEST,
    ),
    Mutant(
        "detached end", "logistic_growth", "right values, none in t", _detached_end, 1.0, _HONEST
    ),
    Mutant(
        "claims the field, 2 %",
        "linear_system",
        "the derivative in t is b at values that are off by 2 % of the span",
        _claims_field(0.02),
        1.0,
        ("derivative honesty", "integral lagrangian"),
    ),
    Mutant(
        "claims the field, 0.1 %",
        "gaussian_interpolant",
        "the derivative in t is b at values that are off by 0.1 % of the span",
        _claims_field(1e-3),
        1.0,
        ("derivative honesty", "integral lagrangian"),
    ),
    Mutant(
        "derivative in the end off by 0.1 %",
        "rotation",
        "right values",
        _end_rate,
        1.0,
        _HONEST,
    ),
    Mutant("Jacobian off by 0.01 %", "linear_system", "right values", _jacobian_off, 1.0, _HONEST),
    Mutant(
        "straight through",
        "harmonic_oscillator",
        "values rounded to 1e-6, derivatives of what they were before",
        _straight_through,
        1.0,
        ("identity", "semigroup", "integral lagrangian"),
    ),
    Mutant(
        "transposed Jacobian backwards",
        "linear_system",
        "right values and forward mode; reverse mode takes the transposed Jacobian",
        _by_rule(_TransposedBackward),
        1.0,
        ("modes agree",),
    ),
    Mutant(
        "transposed Jacobian forwards",
        "harmonic_oscillator",
        "right values and reverse mode; forward mode takes the transposed Jacobian",
        _by_rule(_TransposedForward),
        1.0,
        ("derivative honesty", "modes agree", "eulerian"),
    ),
)

"""What a field holds and only later values depend on: followed, or refused by name."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from flowmaps.errors import UnsupportedTransform
from flowmaps.solvers import ContinuousAdjoint, DiscreteGradient, solve

START = 0.3
EXACT = -((1 - START) ** 3) * math.exp(-((1 - START) ** 3))
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9, "check_field": False}


def late(t: Tensor, x: Tensor, *, q: Any) -> Tensor:
    """Return -3 q (t - 0.3)^2 x from there on: X_{0,t}(x) = x exp(-q (t - 0.3)^3)."""
    return -3 * q[0] * (t[:, None] - START) ** 2 * x if t.max() > START else 0 * x


def nested(q: Tensor) -> Callable:
    inner = partial(late, q=[q])
    return lambda t, x: (lambda: inner(t, x))()


def defaults(q: Tensor) -> Callable:
    def field(t: Tensor, x: Tensor, *, held: tuple = (q,)) -> Tensor:
        return late(t, x, q=held)

    return field


class Object:
    def __init__(self, q: Tensor):
        self.q = {0: q}

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return late(t, x, q=self.q)

    def method(self, t: Tensor, x: Tensor) -> Tensor:
        return self(t, x)


KINDS: dict[str, Callable[[Tensor], Callable]] = {
    "nested": nested,
    "partial": lambda q: partial(late, q=[q]),
    "defaults": defaults,
    "object": Object,
    "method": lambda q: Object(q).method,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "gradient",
    [DiscreteGradient(), DiscreteGradient(checkpoint=True), ContinuousAdjoint(record=True)],
    ids=["steps", "checkpoint", "adjoint"],
)
def test_gradients_in_what_only_later_values_depend_on(kind, gradient) -> None:
    q = torch.tensor(1.0, requires_grad=True)
    end = solve(KINDS[kind](q), 0.0, 1.0, torch.ones(1, 1), gradient=gradient, **TIGHT).x[0, 0]
    (found,) = torch.autograd.grad(end, q)
    assert found.item() == pytest.approx(EXACT, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compile", [False, "eager"])
def test_tangents_in_what_only_later_values_depend_on_are_refused(kind, compile) -> None:
    with forward_ad.dual_level():
        q = forward_ad.make_dual(torch.tensor(1.0), torch.tensor(1.0))
        with pytest.raises(UnsupportedTransform, match="condition="):
            solve(KINDS[kind](q), 0.0, 1.0, torch.ones(1, 1), compile=compile, **TIGHT)


@pytest.mark.parametrize("kind", KINDS)
def test_such_tangents_of_functions_are_followed(kind) -> None:
    def end(q: Tensor) -> Tensor:
        return solve(KINDS[kind](q), 0.0, 1.0, torch.ones(1, 1), **TIGHT).x[0, 0]

    one = torch.tensor(1.0)
    pair: Any = torch.func.jvp(end, (one,), (one,))
    assert pair[1].item() == pytest.approx(EXACT, rel=1e-4)

"""Batches of non-stiff problems: cases (a) to (d)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from work_precision.case import TOLERANCES, Case, of_components

__all__ = ["BATCHES"]


def van_der_pol() -> Case:
    """Return 4096 oscillators from smooth to nearly stiff."""

    def formula(library: Any, t: Any, x: Any, mu: Any) -> Sequence[Any]:
        return x[1], mu * (1 - x[0] ** 2) * x[1] - x[0]

    x = torch.tensor([2.0, 0.0]) + 0.1 * torch.randn(4096, 2)
    return Case(x, torch.logspace(-1, 1, 4096), 10.0, of_components(formula))


def lorenz() -> Case:
    """Return one chaotic trajectory."""

    def formula(library: Any, t: Any, x: Any, _: Any) -> Sequence[Any]:
        a, b, c = x
        return 10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c

    return Case(torch.ones(1, 3), torch.zeros(1), 5.0, of_components(formula), formula)


def network() -> Case:
    """Return 4096 samples of a random network's field of time and state."""
    widths = (3, 64, 64, 2)
    layers = [torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
    for layer in layers:
        layer.requires_grad_(False).weight.mul_(3.0)
    arrays = [(layer.weight.numpy(), layer.bias.numpy()) for layer in layers]

    def field(library: Any, t: Any, x: Any, _: Any) -> Any:
        if library is torch:
            y = torch.cat([x, t.to(x).expand(len(x))[:, None]], dim=1)
            for layer in layers[:-1]:
                y = torch.tanh(layer(y))
            return layers[-1](y)
        y = library.concatenate([x, library.asarray(t)[None]])
        for weight, bias in arrays[:-1]:
            y = library.tanh(weight @ y + bias)
        return arrays[-1][0] @ y + arrays[-1][1]

    return Case(torch.randn(4096, 2), torch.zeros(4096), 1.0, field)


def lotka_volterra() -> Case:
    """Return 100,000 predators and prey; every rate log-uniform between a half and two.

    Periods are between 3 and 20, so that a run sees about one round.
    """

    def formula(library: Any, t: Any, x: Any, rates: Any) -> Sequence[Any]:
        a, b, c, d = (rates[..., i] for i in range(4))
        return x[0] * (a - b * x[1]), x[1] * (d * x[0] - c)

    rates = torch.exp(math.log(2) * (2 * torch.rand(100_000, 4) - 1))
    x = torch.tensor([2.0, 1.0]).repeat(100_000, 1)
    field = of_components(formula)
    return Case(x, rates, 10.0, field, compared_every=25, tolerances=TOLERANCES[:6:2])


BATCHES: dict[str, Callable[[], Case]] = {
    "van-der-pol": van_der_pol,
    "lorenz": lorenz,
    "network": network,
    "lotka-volterra": lotka_volterra,
}

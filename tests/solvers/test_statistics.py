"""Counts are exact: steps, and every call of the field but the probe's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowmaps.solvers import (
    PI,
    RK4,
    Bosh3,
    Dop853,
    Dopri5,
    Euler,
    Heun,
    Midpoint,
    TorchDiffEq,
    Tsit5,
    solve,
)

METHODS = {
    "tsit5": {"method": Tsit5()},
    "dopri5": {"method": Dopri5()},
    "dop853": {"method": Dop853()},
    "bosh3": {"method": Bosh3(), "rtol": 1e-3, "atol": 1e-3},
    "heun": {"method": Heun(), "rtol": 1e-3, "atol": 1e-3},
    "euler, fixed": {"method": Euler(), "steps": 3},
    "midpoint, fixed": {"method": Midpoint(), "steps": 3},
    "heun, fixed": {"method": Heun(), "steps": 3},
    "rk4, one step": {"method": RK4(), "steps": 1},
    "rk4, fixed": {"method": RK4(), "steps": 3},
    "tsit5, fixed": {"method": Tsit5(), "steps": 3},
    "dop853, fixed": {"method": Dop853(), "steps": 3},
    "torchdiffeq": {"method": TorchDiffEq()},
    "torchdiffeq, fixed": {"method": TorchDiffEq("rk4", options={"step_size": 0.25})},
}


class Counting:
    """Wraps a field and counts its calls."""

    def __init__(self, field: Callable[[Tensor, Tensor], Tensor]):
        self.field, self.calls = field, 0

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return self.field(t, x)


def bump(t: Tensor, x: Tensor) -> Tensor:
    """A field with a narrow rise, so that steps are rejected."""
    return -x + 30 * torch.exp(-1e3 * (t - 0.5)[:, None] ** 2)


@pytest.mark.parametrize("options", METHODS.values(), ids=list(METHODS))
@pytest.mark.parametrize("extra", ["values", "dense", "save_at", "gradient", "tangent", "at rest"])
def test_evaluations_are_the_calls_of_the_field(options, extra) -> None:
    if isinstance(options["method"], TorchDiffEq) and extra in ("dense", "save_at", "tangent"):
        return
    field = Counting(bump)
    x, t = torch.ones(1, 1), 0.0 if extra == "at rest" else 1.0
    outputs = {"dense": {"dense": True}, "save_at": {"save_at": [0.5]}}.get(extra, {})

    def run(x: Tensor):
        return solve(field, 0.0, t, x, check_field=False, **options, **outputs).statistics

    if extra == "tangent":
        found = []
        torch.func.jvp(lambda x: (found.append(run(x)), x)[1], (x,), (x,))
        statistics = found[0]
    else:
        statistics = run(x.requires_grad_(extra == "gradient"))
    assert statistics.evaluations.tolist() == [field.calls]


@pytest.mark.parametrize("twins", [False, True])
def test_the_probe_takes_three_calls(twins) -> None:
    probed, plain = Counting(bump), Counting(bump)
    x = torch.ones(2, 1) if twins else torch.tensor([[1.0], [2.0]])
    solve(probed, 0.0, 1.0, x)
    solve(plain, 0.0, 1.0, x, check_field=False)
    assert probed.calls - plain.calls == 3


@pytest.mark.parametrize("method", [Tsit5(), Dopri5(), Dop853(), Bosh3(), Heun()], ids=repr)
def test_steps_are_accepted_or_rejected(method) -> None:
    x = torch.tensor([[1.0], [-5.0], [0.3]])
    ends, bold = torch.tensor([1.0, 0.3, 0.0]), PI(first_step=0.4)
    found = solve(bump, 0.0, ends, x, method=method, rtol=1e-6, controller=bold).statistics
    assert torch.equal(found.accepted + found.rejected, found.steps)
    assert found.rejected[0] > 0
    assert found.rejected[2] == found.accepted[2] == 0
    for count in (found.steps, found.accepted, found.rejected, found.evaluations):
        assert count.dtype == torch.long
        assert count.shape == (3,)


def test_a_sample_is_not_charged_for_its_neighbours() -> None:
    x = torch.ones(2, 1)
    s, t = torch.zeros(2), torch.tensor([1.0, 0.01])
    for record in (False, True):
        whole = solve(bump, s, t, x, dense=record).statistics.evaluations
        alone = solve(bump, s[1:], t[1:], x[1:], dense=record).statistics.evaluations
        assert whole[1] == alone[0] < whole[0]


def test_a_tighter_tolerance_costs_more() -> None:
    costs = [
        solve(bump, 0.0, 1.0, torch.ones(1, 1), rtol=r, atol=r).statistics.evaluations.item()
        for r in (1e-3, 1e-6, 1e-9)
    ]
    assert costs[0] < costs[1] < costs[2]

"""A batch changes nothing for its samples, whatever happens to one of them on the way."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowmaps.solvers import (
    RK4,
    Bosh3,
    Dop853,
    Heun,
    Result,
    Rodas5P,
    StormerVerlet,
    Tsit5,
    solve,
)

WAYS: dict[str, dict[str, Any]] = {
    "Tsit5": {},
    "Dop853": {"method": Dop853()},
    "Bosh3": {"method": Bosh3()},
    "Heun": {"method": Heun(), "rtol": 1e-3, "atol": 1e-3},
    "dense": {"dense": True},
    "fixed": {"method": RK4(), "steps": 16},
    "symplectic": {"method": StormerVerlet(), "steps": 16},
    "compiled": {"compile": "eager"},
    "error": {"global_error": True},
}
every_way = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
FAILURES = Result.NOT_FINITE, Result.STEP_TOO_SMALL
N, BAD = 6, 2


def breaking(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    """An anharmonic spring, elementwise, that a condition of 1 breaks at time 0.6: not a number."""
    q, p = x.unbind(1)
    rate, broken = condition.unbind(1)
    gone = torch.where((broken > 0) & (t > 0.6), torch.nan, 0.0)
    return torch.stack([p + gone, -rate * q / (1 + q * q) + gone], dim=1)


def batch() -> tuple[Tensor, Tensor]:
    x, condition = torch.randn(N, 2), torch.rand(N, 2) * 8
    condition[:, 1] = 0.0
    condition[BAD, 1] = 1.0
    return x, condition


@every_way
def test_a_sample_that_breaks_on_the_way_is_alone_with_it(options) -> None:
    """torchode stops the whole batch there, and says SUCCESS of all."""
    x, condition = batch()
    others = torch.arange(N) != BAD
    whole = solve(breaking, 0.0, 1.0, x, condition, throw=False, **options)
    without = solve(breaking, 0.0, 1.0, x[others], condition[others], **options)
    assert whole.success.tolist() == others.tolist()
    assert whole.result[BAD] in FAILURES
    assert torch.isnan(whole.x[BAD]).all()
    assert torch.equal(whole.x[others], without.x)
    for name in ("steps", "accepted", "rejected", "evaluations"):
        counts = [getattr(found.statistics, name) for found in (whole, without)]
        assert torch.equal(counts[0][others], counts[1])
    if options.get("global_error"):
        assert torch.equal(whole.global_error[others], without.global_error)
    if "steps" not in options:
        assert whole.final_time[BAD].item() == pytest.approx(0.6, abs=1e-6)
        assert torch.isfinite(whole.final_state[BAD]).all()
    if whole.dense is not None:
        assert torch.equal(whole(0.3)[others], without(0.3))


@every_way
def test_a_sample_alone_is_the_same_to_the_last_bit(options) -> None:
    x, condition = batch()
    condition[:, 1] = 0.0
    whole = solve(breaking, 0.0, 1.0, x, condition, **options)
    for k in range(N):
        row = slice(k, k + 1)
        alone = solve(breaking, 0.0, 1.0, x[row], condition[row], **options)
        assert torch.equal(alone.x, whole.x[row])
        assert torch.equal(alone.statistics.evaluations, whole.statistics.evaluations[row])


@pytest.mark.parametrize("method", [Tsit5(), Dop853(), Bosh3(), Rodas5P()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_sample_alone_is_the_same_to_rounding_under_a_network(method, dtype) -> None:
    layers = torch.nn.Linear(5, 64), torch.nn.Tanh(), torch.nn.Linear(64, 5)
    network = torch.nn.Sequential(*layers).to(dtype)
    x, t, rtol = torch.randn(9, 5, dtype=dtype), torch.linspace(0.5, 2.0, 9), 1e-5
    field = lambda t, x: 2 * network(x) + torch.sin(t)[:, None]  # noqa: E731
    options: dict[str, Any] = {"method": method, "rtol": rtol, "atol": rtol}
    with torch.no_grad():
        whole = solve(field, 0.0, t, x, **options)
        for k in range(9):
            row = slice(k, k + 1)
            alone = solve(field, 0.0, t[row], x[row], **options)
            assert (alone.x - whole.x[row]).abs().max() < 10 * rtol * (1 + x[row].abs().max())
            assert abs(alone.statistics.steps - whole.statistics.steps[row]).item() <= 1

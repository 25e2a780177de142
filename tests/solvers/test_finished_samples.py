"""A sample that has finished, rests or fails costs nothing more and spoils no other's gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flowmaps.solvers import (
    PI,
    RK4,
    Bosh3,
    ContinuousAdjoint,
    DiscreteGradient,
    Dop853,
    Event,
    Rodas5P,
    Tsit5,
    solve,
)

METHODS = pytest.mark.parametrize("method", [Tsit5(), Dop853(), Rodas5P()], ids=repr)


def oscillator(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    q, p = x.unbind(1)
    return torch.stack([p, -(rate**2) * q - 0.1 * q**3 + torch.sin(t)], dim=1)


@METHODS
@pytest.mark.parametrize("checkpoint", [False, True])
@settings(max_examples=5, deadline=None)
@given(rates=st.lists(st.floats(0.1, 12.0), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_gradients_are_those_of_every_sample_alone(method, checkpoint, rates, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    n, options = len(rates), {"method": method, "rtol": 1e-4, "atol": 1e-4}
    options["gradient"] = DiscreteGradient(checkpoint=checkpoint)
    x, v = (torch.randn(n, 2, generator=generator) for _ in range(2))
    leaves = [x.requires_grad_(), torch.tensor(rates).requires_grad_(), torch.zeros(n), v]
    ends = torch.rand(n, generator=generator).requires_grad_()

    def gradients(rows: slice) -> list[Tensor]:
        start, rate, s, weight = (a[rows] for a in leaves)
        y = solve(oscillator, s, ends[rows], start, rate, **options).x
        found = torch.autograd.grad((y * weight).sum(), [*leaves[:2], ends])
        return [a[rows] for a in found]

    together = gradients(slice(None))
    for k in range(n):
        for whole, alone in zip(together, gradients(slice(k, k + 1)), strict=True):
            torch.testing.assert_close(whole[k : k + 1], alone, rtol=1e-9, atol=1e-9)


def test_forward_derivatives_pass_samples_that_leave() -> None:
    rate, x, v = torch.tensor([0.5, 9.0, 3.0]), torch.ones(3, 2), torch.eye(3, 2)
    run: Callable[..., Any] = lambda x, c: solve(oscillator, 0.0, 1.0, x, c, rtol=1e-5).x  # noqa: E731
    jvp: Any = torch.func.jvp
    together = jvp(run, (x, rate), (v, rate))[1]
    for k in range(3):
        row = slice(k, k + 1)
        alone = jvp(run, (x[row], rate[row]), (v[row], rate[row]))[1]
        torch.testing.assert_close(together[row], alone, rtol=1e-10, atol=1e-12)


def test_derivatives_cost_no_more_rows_than_the_samples_take() -> None:
    rows = []

    def field(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
        rows.append(len(x))
        return -rate[:, None] * x

    rate = torch.ones(200).index_fill(0, torch.tensor([7]), 300.0)
    x = torch.ones(200, 1, requires_grad=True)
    found = solve(field, 0.0, 1.0, x, rate, check_field=False, max_steps=10**5)
    searched, followed = 2 * 200, found.statistics.evaluations.sum().item()
    assert sum(rows) <= followed + searched + 200 * 70  # until half of a batch has finished


def meets_zero(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    """Return a field whose derivative in x is infinite where the first sample ends, at zero."""
    slow = -rate[:, None] * x
    return torch.where(rate[:, None] == 0, torch.sqrt(x.abs()) * 0 - 1.0, slow)


def test_an_infinite_derivative_at_one_end_stays_out_of_the_others() -> None:
    x = torch.tensor([[1.0], [1.0]], requires_grad=True)
    rate = torch.tensor([0.0, 90.0])
    found = solve(meets_zero, 0.0, 1.0, x, rate, method=Bosh3(), max_steps=10**5)
    gradient = torch.autograd.grad(found.x.sum(), x)[0]
    assert found.success.all() and gradient[0] == 1.0


@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 4}], ids=["tsit5", "rk4"])
@pytest.mark.parametrize("output", [{}, {"dense": True}, {"save_at": [0.0]}], ids=repr)
def test_a_sample_at_rest_succeeds_whatever_its_field_is(options, output) -> None:
    x = torch.tensor([[4.0], [-1.0]])  # whose field is not a number
    found = solve(lambda t, x: torch.sqrt(x), 0.0, torch.tensor([0.0, 0.0]), x, **options, **output)
    assert found.success.all() and torch.equal(found.x.reshape(2, 1), x)


def test_a_sample_at_rest_stays_out_of_what_all_share() -> None:
    factor = torch.tensor(1.0, requires_grad=True)
    ends, x = torch.tensor([1.0, 0.0]), torch.tensor([[1.0], [-1.0]])
    found = solve(lambda t, x: factor * torch.sqrt(x), 0.0, ends, x)
    found.x.sum().backward()
    torch.testing.assert_close(factor.grad, torch.tensor(1.5), rtol=1e-4, atol=0)


def test_a_sample_that_fails_at_its_start_can_be_left_out_of_a_gradient() -> None:
    factor = torch.tensor(1.0, requires_grad=True)
    x = torch.tensor([[1.0], [-1.0]])
    found = solve(lambda t, x: factor * torch.sqrt(x), 0.0, 1.0, x, throw=False)
    assert found.success.tolist() == [True, False]
    assert torch.equal(found.final_state[1], x[1])
    found.final_state[found.success].sum().backward()
    torch.testing.assert_close(factor.grad, torch.tensor(1.5), rtol=1e-4, atol=0)


class Later(nn.Module):
    """Asks its second half from time .5 on alone."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Parameter(torch.tensor(0.3))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        if not bool((t > 0.5).any()):
            return -x
        return -x + torch.where(t[:, None] > 0.5, self.late, 0.0)


def test_parameters_that_are_asked_late_have_their_gradients() -> None:
    field = Later()
    solve(field, 0.0, 1.0, torch.ones(1, 1), controller=PI(max_step=0.05)).x.sum().backward()
    expected = 1 - torch.exp(torch.tensor(-0.5))
    torch.testing.assert_close(field.late.grad, expected, rtol=0.05, atol=0)


def test_a_short_first_step_is_no_failure() -> None:
    found = solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), controller=PI(first_step=1e-17))
    torch.testing.assert_close(found.x.item(), 0.36787944, rtol=1e-5, atol=0)


def test_no_number_of_steps_is_too_many() -> None:
    assert solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), max_steps=2**70).success.all()


LOOKS: dict[str, Any] = {
    "dense": {"dense": True},
    "an event": {"events": Event(lambda t, x, a: x[:, 0] - 0.5)},
    "an event, dense": {"events": Event(lambda t, x, a: x[:, 0] - 0.5), "dense": True},
    "an event, equal steps": {
        "events": Event(lambda t, x, a: x[:, 0] - 0.5),
        "method": RK4(),
        "steps": 10,
    },
    "stops, dense": {"controller": PI(stops=(0.5,)), "dense": True},
    "the adjoint": {"gradient": ContinuousAdjoint()},
    "the adjoint, recorded": {"gradient": ContinuousAdjoint(record=True)},
    "stops and an event": {
        "controller": PI(stops=(0.5,)),
        "events": Event(lambda t, x, a: x[:, 0] - 0.5, terminal=False),
    },
}


@pytest.mark.parametrize("options", LOOKS.values(), ids=list(LOOKS))
@pytest.mark.parametrize("rests", [True, False])
def test_a_field_without_a_value_at_s_stays_out_of_what_all_share(options, rests) -> None:
    """One sample stands, or fails, at the pole of its field."""
    x, a = torch.tensor([[2.0], [0.0], [1.0]]), torch.tensor([0.0, 1.0, 0.0])
    t = torch.tensor([1.0, 0.0 if rests else 1.0, 1.0])

    def gradients(rows: list[int]) -> tuple[Tensor, Tensor]:
        scale, own = torch.tensor(1.3, requires_grad=True), x[rows].requires_grad_()
        field = lambda t, x, a: scale * (a[:, None] / x - x)  # noqa: E731
        facts = torch.zeros(len(rows)), t[rows], own, a[rows]
        found = solve(field, *facts, throw=False, check_field=False, **options)
        ends = [rows.index(0), rows.index(2)]
        value = found.final_state[ends].sum() + found.final_time[ends].sum()
        if found.dense is not None:
            value = value + found(0.4 * found.final_time.detach()[None])[:, ends].sum()
        by_scale, by_x = torch.autograd.grad(value, (scale, own))
        return by_scale, by_x

    (whole, own), (alone, others) = gradients([0, 1, 2]), gradients([0, 2])
    assert torch.allclose(whole, alone, rtol=1e-12)
    assert torch.allclose(own[[0, 2]], others, rtol=1e-12)

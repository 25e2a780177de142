"""Interpolants kept during the search: nothing is computed twice and nothing changes by it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flowmaps.solvers import (
    PI,
    Bosh3,
    Dop853,
    Dopri5,
    Heun,
    Result,
    Rodas5P,
    Solution,
    Tsit5,
    solve,
)

METHODS = [Tsit5(), Dopri5(), Dop853(), Bosh3(), Heun(), Rodas5P()]
jvp: Any = torch.func.jvp  # whose result has a type of two kinds


def decay(t: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    """x' = -rate (x - sin t), componentwise."""
    return -rate[:, None] * (x - torch.sin(t)[:, None])


def both(s: Any, t: Any, x: Tensor, rate: Tensor, **options: Any) -> tuple[Solution, Solution]:
    """The solve as it is, and followed once more because a derivative is asked for."""
    kept = solve(decay, s, t, x, rate, **options)
    followed = solve(decay, s, t, x.clone().requires_grad_(), rate, **options)
    return kept, followed


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("compile", [False, "eager"])
def test_values_are_those_of_the_followed_solve(method: Any, compile: Any) -> None:
    if compile and not isinstance(method, Tsit5):
        return
    batch = 70  # large enough to be compacted as samples finish
    s, t = torch.linspace(-1, 1, batch), torch.linspace(2, -1, batch)
    t[3] = s[3]
    x, rate = torch.randn(batch, 2), torch.logspace(-1, 0.7, batch)
    rows = s + torch.rand(9, batch).sort(0).values[torch.randperm(9)] * (t - s)
    rows = torch.cat([rows, s[None], t[None]])
    options = {"method": method, "rtol": 1e-4, "atol": 1e-6, "compile": compile}
    kept, followed = both(s, t, x, rate, dense=True, **options)
    assert not kept.x.requires_grad and followed.x.requires_grad
    for one in (kept(rows), solve(decay, s, t, x, rate, save_at=rows, **options).x):
        assert torch.allclose(one, followed(rows), rtol=1e-12, atol=1e-12)
        assert torch.equal(one[-2], x)
        assert torch.equal(one[-1], kept.x)
    rates = kept.derivative(rows), followed.derivative(rows)
    assert torch.allclose(*rates, rtol=1e-6, atol=1e-6), (rates[0] - rates[1]).abs().max()


@settings(max_examples=20)
@given(st.integers(1, 100), st.integers(0, 40), st.integers(0, 10_000))
def test_saved_states_are_those_of_dense_output_bit_by_bit(batch: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 1, generator=generator)
    rate = torch.rand(batch, generator=generator) * 30
    s, t = torch.randn(2, batch, generator=generator)
    fractions = torch.rand(n, batch, generator=generator)
    rows = torch.where(fractions < 0.1, s, torch.where(fractions > 0.9, t, s + fractions * (t - s)))
    options: Any = {"rtol": 1e-2, "atol": 1e-2}
    saved = solve(decay, s, t, x, rate, save_at=rows, **options)
    dense = solve(decay, s, t, x, rate, dense=True, **options)
    assert torch.equal(saved.x, dense(rows))
    assert torch.equal(saved.final_state, dense.x)


def test_a_sample_is_the_same_alone_bit_by_bit() -> None:
    x, rate = torch.randn(5, 2), torch.logspace(-1, 1.5, 5)
    rows = torch.linspace(0, 1, 7)[:, None].expand(7, 5)
    whole = solve(decay, 0.0, 1.0, x, rate, dense=True)
    for i in range(5):
        alone = solve(decay, 0.0, 1.0, x[i : i + 1], rate[i : i + 1], dense=True)
        assert torch.equal(alone(rows[:, :1]), whole(rows)[:, i : i + 1])


def test_stops_outside_every_span_leave_room_for_nothing() -> None:
    x, rate = torch.ones(2, 1), torch.ones(2)
    options: Any = {"controller": PI(stops=(-1.0, 0.5, 3.0)), "rtol": 1e-8, "atol": 1e-8}
    for far in (0.25, 1.0):
        dense = solve(decay, 0.0, far, x, rate, dense=True, **options)
        plain = solve(decay, 0.0, far, x, rate, rtol=1e-8, atol=1e-8, dense=True)
        rows = torch.linspace(0, far, 9)
        assert torch.allclose(dense(rows), plain(rows), rtol=1e-6)


def test_what_is_recorded_costs_no_evaluations() -> None:
    x, rate = torch.ones(3, 1), torch.tensor([0.1, 1.0, 30.0])
    plain = solve(decay, 0.0, 1.0, x, rate).statistics
    extras: list[dict[str, Any]] = [{"dense": True}, {"save_at": [0.5]}]
    for extra in extras:
        assert torch.equal(
            solve(decay, 0.0, 1.0, x, rate, **extra).statistics.evaluations, plain.evaluations
        )


def test_times_with_derivatives_keep_them() -> None:
    x, rate = torch.ones(2, 1), torch.ones(2)
    times = torch.tensor([0.25, 0.75], requires_grad=True)
    saved = solve(decay, 0.0, 1.0, x, rate, save_at=times, rtol=1e-8, atol=1e-8).x
    (slope,) = torch.autograd.grad(saved[:, 0].sum(), times)
    field = decay(times[:, None].expand(2, 2)[:, 0], saved[:, 0], rate)
    assert torch.allclose(slope, field[:, 0], atol=1e-5)


def test_samples_that_fail_end_where_they_stopped() -> None:
    x = torch.tensor([[0.5], [2.0], [torch.nan], [-1.0]])
    blow_up = lambda t, x: x**2  # noqa: E731
    options: Any = {"throw": False, "max_steps": 500}
    dense = solve(blow_up, 0.0, 1.0, x, dense=True, **options)
    saved = solve(blow_up, 0.0, 1.0, x, save_at=[0.25, 1.0], **options)
    codes = [Result.SUCCESS, Result.STEP_TOO_SMALL, Result.NOT_FINITE, Result.SUCCESS]
    assert dense.result.tolist() == saved.result.tolist() == codes
    assert torch.isnan(saved.x).all(dim=(0, 2)).tolist() == [False, True, True, False]
    assert dense(0.25)[1].item() == pytest.approx(4.0, rel=1e-5)
    assert torch.isnan(dense(0.75)).flatten().tolist() == [False, True, True, False]
    assert torch.isnan(dense.derivative(0.75)).flatten().tolist() == [False, True, True, False]


def test_stops_states_of_any_kind_and_no_samples_at_all() -> None:
    controller = PI(stops=(0.3, 0.6))
    rows = torch.tensor([0.0, 0.3, 0.45, 0.6, 1.0])
    x, rate = torch.randn(3, 2), torch.ones(3)
    kept, followed = both(0.0, 1.0, x, rate, dense=True, controller=controller)
    saved = solve(decay, 0.0, 1.0, x, rate, save_at=rows, controller=controller).x
    assert torch.allclose(kept(rows), followed(rows), rtol=1e-12)
    assert torch.equal(saved, kept(rows))
    tree = {"a": torch.ones(2), "b": torch.ones(2, 3, 1, dtype=torch.float64)}
    found = solve(lambda t, x: {"a": -x["a"], "b": x["b"]}, 0.0, 1.0, tree, save_at=[0.5, 1.0]).x
    assert found["a"].shape == (2, 2) and found["b"].shape == (2, 2, 3, 1)
    assert found["b"][0, 0, 0].item() == pytest.approx(math.exp(0.5), rel=1e-4)
    assert solve(decay, 0.0, 1.0, x[:0], rate[:0], save_at=[0.5]).x.shape == (1, 0, 2)
    assert solve(decay, 0.0, 1.0, x[:0], rate[:0], dense=True)(0.5).shape == (0, 2)
    assert solve(decay, 0.0, 1.0, x[:, :0], rate, save_at=[0.5]).x.shape == (1, 3, 0)


# ------------------------------------------------------------ the derivative of dense output


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_its_derivative_is_its_tangent(method: Any) -> None:
    x, rate = torch.randn(3, 2), torch.tensor([0.5, 1.0, 3.0])
    s, t = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1.0, -0.5, 0.5])
    options: Any = {"rtol": 1e-4, "atol": 1e-6} if method.order > 3 else {"steps": 20}
    solution = solve(decay, s, t, x, rate, method=method, dense=True, **options)
    rows = s + torch.linspace(0, 1, 12)[:, None] * (t - s)
    value, tangent = jvp(solution.dense, (rows,), (torch.ones_like(rows),))
    assert torch.allclose(solution.derivative(rows), tangent, rtol=1e-10, atol=1e-10)
    assert torch.allclose(solution.derivative(0.5)[2], decay(s, x, rate)[2])
    _, second = jvp(solution.derivative, (rows,), (torch.ones_like(rows),))
    _, again = jvp(
        lambda r: jvp(solution.dense, (r,), (torch.ones_like(rows),))[1],
        (rows,),
        (torch.ones_like(rows),),
    )
    assert torch.allclose(second, again, rtol=1e-8, atol=1e-6)
    assert value.shape == second.shape


@pytest.mark.parametrize(
    ("method", "order"), [(m, m.dense_order) for m in METHODS if m.order > 3], ids=str
)
def test_its_derivative_has_the_order_that_it_should_have(method: Any, order: int) -> None:
    x = torch.tensor([[0.3, -0.7]])
    field = lambda t, x: 2 * torch.cos(t)[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)  # noqa: E731
    errors = []
    sizes = torch.tensor([4.0, 8.0]) if order == 7 else torch.tensor([8.0, 16.0])
    for steps in sizes.int().tolist():
        solution = solve(field, 0.0, 2.0, x, method=method, steps=steps, dense=True)
        rows = torch.linspace(0, 2, 101)
        value = solution(rows)[:, 0]
        rate = field(rows, value)
        errors.append((solution.derivative(rows)[:, 0] - rate).abs().max().log2())
    assert (errors[0] - errors[1]).item() > order - 0.4


def test_pytrees_have_a_derivative_and_solves_without_dense_output_none() -> None:
    x = (torch.ones(2, 1), torch.zeros(2, 1))
    spring = lambda t, x: (x[1], -x[0])  # noqa: E731
    solution = solve(spring, 0.0, 1.0, x, dense=True, rtol=1e-9, atol=1e-9)
    position, velocity = solution.derivative([0.5, 1.0])
    times = torch.tensor([0.5, 1.0])[:, None, None].expand(2, 2, 1)
    assert torch.allclose(position, -times.sin(), atol=1e-6)
    assert torch.allclose(velocity, -times.cos(), atol=1e-6)
    with pytest.raises(ValueError, match="dense=True"):
        solve(spring, 0.0, 1.0, x).derivative(0.5)
    with pytest.raises(ValueError, match="t_eval must lie between"):
        solution.derivative(1.5)

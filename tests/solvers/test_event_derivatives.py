"""Derivatives of event times and states, of first and second order, against closed forms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.utils.checkpoint
from scipy.integrate import solve_ivp
from torch import Tensor

from flowmaps.solvers import PI, RK4, DiscreteGradient, Dop853, Event, Result, Rodas5P, Tsit5, solve

METHODS: dict[str, dict[str, Any]] = {
    "tsit5": {"rtol": 1e-9, "atol": 1e-9},
    "loose": {"rtol": 1e-3, "atol": 1e-3},
    "dop853": {"method": Dop853()},
    "rodas5p": {"method": Rodas5P()},
    "rk4, fixed": {"method": RK4(), "steps": 7},
    "one step": {"method": Tsit5(), "steps": 1},
    "stops": {"controller": PI(stops=(0.5, 1.0, 1.5))},
}
each_way = pytest.mark.parametrize("options", METHODS.values(), ids=list(METHODS))
modes = pytest.mark.parametrize("jacobian", [torch.func.jacfwd, torch.func.jacrev])
BALLS = torch.tensor([[10.0, 0.0], [5.0, 3.0]], dtype=torch.float64)
GRAVITY = torch.tensor([9.81, 3.7], dtype=torch.float64)
S = torch.tensor([0.0, 0.25], dtype=torch.float64)


def fall(t: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """A ball of height x[0] in a field of gravity g, polynomial: methods of order 2 are exact."""
    return torch.stack([x[:, 1], -g], dim=1)


def exact(s: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """When each ball lands and how fast."""
    speed = (x[:, 1].square() + 2 * g * x[:, 0]).sqrt()
    return torch.stack([s + (x[:, 1] + speed) / g, -speed])


def landed(options: dict[str, Any], terminal: bool = True) -> Callable[..., Tensor]:
    floor = Event(lambda t, x, g: x[:, 0], terminal)

    def run(s: Tensor, x: Tensor, g: Tensor) -> Tensor:
        found = solve(fall, s, 6.0, x, g, events=floor, **options)
        if terminal:
            return torch.stack([found.final_time, found.x[:, 1]])
        return torch.stack([found.events[0].times[0], found.events[0].states[0, :, 1]])

    return run


@modes
@each_way
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "recorded"])
def test_first_derivatives_in_start_state_and_condition(options, jacobian, terminal) -> None:
    run, at = landed(options, terminal), (S, BALLS, GRAVITY)
    assert torch.allclose(run(*at), exact(*at), rtol=1e-12)
    found, truth = (jacobian(f, argnums=(0, 1, 2))(*at) for f in (run, exact))
    for a, b in zip(found, truth, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("options", [METHODS["loose"], METHODS["one step"]], ids=str)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "recorded"])
def test_second_derivatives_are_exact(options, terminal) -> None:
    at = (S, BALLS, GRAVITY)
    found, truth = (
        torch.func.jacfwd(torch.func.jacrev(f, argnums=(0, 1, 2)), argnums=(0, 1, 2))(*at)
        for f in (landed(options, terminal), exact)
    )
    for row, true_row in zip(found, truth, strict=True):
        for a, b in zip(row, true_row, strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-9)


def test_values_with_derivatives_are_those_without() -> None:
    oscillator = lambda t, x, k: torch.stack([x[:, 1], -k * x[:, 0] ** 3], 1)  # noqa: E731
    x, k = torch.randn(6, 2), torch.linspace(0.5, 3, 6)
    events = [Event(lambda t, x, k: x[:, 0] - 0.1, False), Event(lambda t, x, k: x[:, 1] - 0.2)]
    plain, live = (
        solve(oscillator, 0.0, 5.0, x, k, events=events, dense=True, rtol=1e-4)
        for k in (k, k.clone().requires_grad_())
    )
    assert torch.equal(plain.result, live.result) and (plain.result == Result.EVENT).any()
    assert torch.allclose(plain.x, live.x, rtol=1e-11, atol=1e-12)
    assert torch.allclose(plain.final_time, live.final_time, rtol=1e-12)
    for one, other in zip(plain.events, live.events, strict=True):
        assert torch.equal(one.counts, other.counts)
        assert torch.allclose(one.times, other.times, rtol=1e-11, equal_nan=True)
        assert torch.allclose(one.states, other.states, rtol=1e-10, atol=1e-12, equal_nan=True)
    rows = torch.linspace(0, 5, 21)
    assert torch.allclose(plain(rows), live(rows), rtol=1e-9, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_against_dop853_with_events(pendulum, central, sign) -> None:
    """A driven pendulum until its angle is .3, either way through time."""
    x, p = torch.tensor([[1.2, 0.1]]), torch.tensor([[1.5, 0.2]])

    def reference(both: Tensor) -> Tensor:
        a, q = both[:2].numpy(), both[2:].numpy()

        def rate(t: float, y: np.ndarray) -> list[float]:
            return [y[1], -q[0] * np.sin(y[0]) - q[1] * y[1] * np.cos(t)]

        def hit(t: float, y: np.ndarray) -> float:
            return y[0] - 0.3

        hit.terminal = True  # type: ignore[attr-defined]
        tight: Any = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13, "events": hit}
        found = solve_ivp(rate, (0, 5 * sign), a, **tight)
        return torch.tensor([found.t_events[0][0], found.y_events[0][0][1]])

    def ours(both: Tensor) -> Tensor:
        event = Event(lambda t, x, p: x[:, 0] - 0.3)
        tight: Any = {"rtol": 1e-11, "atol": 1e-11, "method": Dop853()}
        state, parameters = both[None, :2], both[None, 2:]
        found = solve(pendulum.field, 0.0, 5 * sign, state, parameters, events=event, **tight)
        return torch.cat([found.final_time, found.x[:, 1]])

    both = torch.cat([x[0], p[0]])
    assert torch.allclose(ours(both), reference(both), rtol=1e-8)
    jacobian = torch.func.jacfwd(ours)(both)
    for i, unit in enumerate(torch.eye(4)):
        assert torch.allclose(jacobian[:, i], central(reference, both, unit), rtol=1e-5, atol=1e-6)


def test_the_end_time_moves_no_event_but_samples_without_one() -> None:
    x, t = torch.tensor([[10.0, 0.0], [900.0, 0.0]]), torch.tensor([3.0, 3.0])
    floor = Event(lambda t, x, g: x[:, 0])

    def ends(t: Tensor) -> tuple[Tensor, Tensor]:
        found = solve(fall, 0.0, t, x, torch.full((2,), 9.81), events=floor)
        return found.final_time, found.x

    times, states = torch.func.jacfwd(ends)(t)
    assert torch.allclose(times, torch.diag(torch.tensor([0.0, 1.0])), atol=1e-15)
    assert states[0].abs().max() == 0 and states[1, :, 0].abs().max() == 0
    assert torch.allclose(states[1, :, 1], torch.tensor([-3 * 9.81, -9.81]), rtol=1e-6)


def test_what_a_function_holds_is_differentiated_too() -> None:
    level = torch.tensor(2.0, requires_grad=True)
    line = lambda t, x: torch.full_like(x, 4.0)  # noqa: E731
    found = solve(line, 0.0, 1.0, torch.zeros(1, 1), events=Event(lambda t, x: x[:, 0] - level))
    (slope,) = torch.autograd.grad(found.final_time.sum(), level)
    assert slope.item() == pytest.approx(0.25)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.tensor(2.0), torch.tensor(1.0))
        found = solve(line, 0.0, 1.0, torch.zeros(1, 1), events=Event(lambda t, x: x[:, 0] - dual))
        tangent = forward_ad.unpack_dual(found.final_time).tangent
    assert tangent is not None and tangent.item() == pytest.approx(0.25)


def test_dense_output_up_to_the_event_is_differentiable() -> None:
    event = Event(lambda t, x: x[:, 0] - 2)
    growth = lambda t, x: x  # noqa: E731

    def run(x: Tensor, at: Tensor) -> Tensor:
        tight: Any = {"rtol": 1e-10, "atol": 1e-10}
        return solve(growth, 0.0, 3.0, x, events=event, dense=True, **tight)(at)

    x, at = torch.tensor([[1.0]]), torch.tensor([[0.1], [0.4], [0.69]])
    jacobian = torch.func.jacfwd(run)(x, at)[:, 0, 0, 0, 0]
    assert torch.allclose(jacobian, torch.exp(at[:, 0]), rtol=1e-6)


def test_gradients_of_samples_that_end_ignore_the_others() -> None:
    x = torch.tensor([[2.0], [0.5], [torch.nan]], requires_grad=True)
    level = Event(lambda t, x: x[:, 0] - 4)
    found = solve(lambda t, x: x**2, 0.0, 1.0, x, events=level, throw=False)
    assert found.result.tolist() == [Result.EVENT, Result.SUCCESS, Result.NOT_FINITE]
    (slope,) = torch.autograd.grad(found.final_time[:2].sum(), x)
    assert slope[:2].flatten().tolist() == pytest.approx([-0.25, 0.0], rel=1e-4)


def test_a_checkpoint_around_a_solve_changes_nothing() -> None:
    def end(x: Tensor) -> Tensor:
        field = lambda t, x: torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)  # noqa: E731
        return solve(field, 0.0, 9.0, x, events=Event(lambda t, x: x[:, 0] - 0.1 * t)).final_time

    x = torch.tensor([[1.0, 0.0], [0.5, 0.3]], requires_grad=True)
    (plain,) = torch.autograd.grad(end(x).sum(), x)
    sparing = torch.utils.checkpoint.checkpoint(end, x, use_reentrant=False)
    assert isinstance(sparing, Tensor)
    assert torch.equal(torch.autograd.grad(sparing.sum(), x)[0], plain)


def test_checkpoints_spare_memory_with_events_too() -> None:
    def kept(checkpoint: bool) -> tuple[int, Tensor]:
        sizes = []
        x = torch.tensor([[1.0, 0.0]] * 20, requires_grad=True)
        field = lambda t, x: torch.stack([x[:, 1], -torch.sin(x[:, 0])], dim=1)  # noqa: E731
        event = Event(lambda t, x: x[:, 0] + t - 20)
        gradient = DiscreteGradient(checkpoint=checkpoint)
        keep = lambda a: (sizes.append(a.numel()), a)[1]  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda a: a):
            end = solve(field, 0.0, 30.0, x, events=event, gradient=gradient).final_time
        return sum(sizes), torch.autograd.grad(end.sum(), x)[0]

    (whole, plain), (spared, same) = kept(False), kept(True)
    assert spared < 0.5 * whole
    assert torch.allclose(plain, same, rtol=1e-12)

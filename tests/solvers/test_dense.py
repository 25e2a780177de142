"""Dense output and save_at: any time inside, refused outside, never more than was computed."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmaps.solvers import RK4, Dop853, Dopri5, Heun, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

OPTIONS = [
    {},
    {"method": Dopri5()},
    {"method": Dop853()},
    {"method": Heun(), "rtol": 1e-4, "atol": 1e-4},
    {"method": RK4(), "steps": 30},
]
each_way = pytest.mark.parametrize(
    "options", OPTIONS, ids=["tsit5", "dopri5", "dop853", "heun", "rk4"]
)


@each_way
def test_it_follows_the_solution_between_the_steps(options, exact) -> None:
    n = 4
    x = torch.tensor(exact.start)[:1].repeat(n, 1)
    s, t = torch.tensor([0.0, 1.5, 0.7, 0.2]), torch.tensor([1.5, 0.0, 0.7, 1.1])
    solution = solve(exact.field, s, t, x, dense=True, **options)
    rows = s + torch.linspace(0, 1, 23)[:, None] * (t - s)
    path = solution(rows)
    truth = torch.stack([exact.flow(s, row, x) for row in rows])
    assert path.shape == (23, *x.shape)
    assert (path - truth).abs().max() < (5e-3 if "rtol" in options else 2e-5)
    assert (path[0] - x).abs().max() < 1e-15
    assert (path[-1] - solution.x).abs().max() < 1e-14


@each_way
def test_save_at_gives_what_dense_output_gives(options, exact_flows) -> None:
    exact = exact_flows["swing"]
    x = torch.tensor(exact.start)
    times = torch.tensor([0.0, 0.3, 0.1, 1.0, 0.99, 0.3])  # in any order, repeated
    dense = solve(exact.field, 0.0, 1.0, x, dense=True, **options)
    saved = solve(exact.field, 0.0, 1.0, x, save_at=times, **options)
    assert torch.equal(saved.x, dense(times))
    assert saved.dense is None
    assert (saved.final_state - dense.x).abs().max() < 1e-14


def test_times_may_be_given_in_any_form() -> None:
    field = lambda t, x: torch.ones_like(x)  # noqa: E731
    x = torch.zeros(3, 2)
    solution = solve(field, 0.0, 1.0, x, dense=True)
    half = torch.full((3, 2), 0.5)
    for one in (0.5, torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float32), np.float64(0.5)):
        assert torch.allclose(solution(one), half)
    many = ([0.5, 1], (0.5, 1.0), torch.tensor([0.5, 1.0]), np.array([0.5, 1.0]))
    for times in (*many, [torch.tensor(0.5), 1], torch.tensor([0.5, 1.0])[:, None].expand(2, 3)):
        assert solution(times).shape == (2, 3, 2)
        assert torch.allclose(solution(times)[0], half)
        assert torch.equal(solve(field, 0.0, 1.0, x, save_at=times).x, solution(times))
    assert solution([]).shape == (0, 3, 2)
    assert solve(field, 0.0, 1.0, x, save_at=0.5).x.shape == (1, 3, 2)


@settings(max_examples=15)
@given(st.floats(0, 1), st.booleans())
def test_every_time_of_the_span_is_inside(fraction, backward) -> None:
    s, t = (0.3, 0.1 + 0.2) if fraction == 1 else (0.1, 0.3)
    s, t = (t, s) if backward else (s, t)
    solution = solve(lambda t, x: 0 * x, s, t, torch.ones(1, 1), dense=True)
    inside = s + fraction * (t - s)
    assert solution(inside).item() == 1.0
    assert solution(math.nextafter(t, 9.0)).item() == 1.0  # rounding is forgiven


@pytest.mark.parametrize("name", ["save_at", "t_eval"])
@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (1.1, ValueError, "got 1.1 for sample 0 from s = 0 to t = 1"),
        ([-1e-9, 1.0], ValueError, "got -1e-09 for sample 0"),
        ([[0.5, 2.1]], ValueError, "got 2.1 for sample 1 from s = 1 to t = 2"),
        ([[0.5, 2.1], [0.5]], ValueError, "rows of .* must be of one length"),
        (torch.tensor([[0.5, 2.1]]), ValueError, "got 2.1 for sample 1 from s = 1 to t = 2"),
        (torch.tensor([0.5]), ValueError, "got 0.5 for sample 1"),
        (torch.tensor([math.nan, 1.0]), ValueError, "got nan for sample 0"),
        (math.nan, ValueError, "finite"),
        ([math.inf], ValueError, "finite"),
        ("noon", TypeError, "must be a number"),
        (["noon"], TypeError, r"\[0\] must be a number"),
        (torch.zeros(1, 3), ValueError, r"shape \(n_times,\) or \(n_times, 2\), got \(1, 3\)"),
        (torch.zeros(1, 2, 1), ValueError, r"got \(1, 2, 1\)"),
        (torch.tensor([1j]), TypeError, "real"),
        (torch.tensor([True]), TypeError, "real"),
        ([torch.zeros(2)], ValueError, "shape"),
    ],
    ids=repr,
)
def test_times_that_cannot_be_are_refused(name, times, error, message) -> None:
    field, s, t, x = (
        lambda t, x: -x,
        torch.tensor([0.0, 1.0]),
        torch.tensor([1.0, 2.0]),
        torch.ones(2),
    )
    with pytest.raises(error, match=message) as caught:
        if name == "save_at":
            solve(field, s, t, x, save_at=times)
        else:
            solve(field, s, t, x, dense=True)(times)
    assert name in str(caught.value)


def test_a_sample_at_rest_has_only_its_own_time() -> None:
    x = torch.ones(2, 1)
    solution = solve(lambda t, x: -x, 0.5, torch.tensor([0.5, 1.5]), x, dense=True)
    assert solution(0.5).tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="got 0.6 for sample 0 from s = 0.5 to t = 0.5"):
        solution(0.6)


@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 30}], ids=["tsit5", "rk4"])
def test_its_time_derivative_is_the_field_even_for_a_sample_at_rest(options) -> None:
    x = torch.ones(3, 1)
    t = torch.tensor([0.5, 1.5, -0.5])
    solution = solve(lambda t, x: -x, 0.5, t, x, dense=True, rtol=1e-9, atol=1e-9, **options)
    for r in (torch.full((1, 3), 0.5), t[None], (0.5 + t[None]) / 2):
        value, rate = jvp(solution, (r,), (torch.ones_like(r),))
        assert (rate + value).abs().max() < 1e-5
        leaf = r.clone().requires_grad_()
        (again,) = torch.autograd.grad(solution(leaf).sum(), leaf)
        assert torch.allclose(again, rate[..., 0])


def test_rounding_beyond_the_end_keeps_the_derivative() -> None:
    solution = solve(lambda t, x: torch.ones_like(x), 0.0, 0.3, torch.zeros(1, 1), dense=True)
    beyond = torch.tensor([0.1 + 0.2])  # one unit in the last place after the end
    _, rate = jvp(solution, (beyond,), (torch.ones(1),))
    assert rate.item() == pytest.approx(1.0)


def test_an_unfinished_sample_reads_nan_from_where_it_stopped() -> None:
    x = torch.ones(3, 1)
    rates = torch.tensor([[1.0], [1e4], [math.nan]])
    solution = solve(
        lambda t, x, k: -k * (x - torch.cos(t)[:, None]),
        0.0,
        1.0,
        x,
        rates,
        max_steps=50,
        dense=True,
        throw=False,
    )
    assert solution.result.tolist() == [0, 2, 1]
    stop = solution.final_time[1].item()
    assert 0 < stop < 1
    assert torch.isfinite(solution(stop * 0.999)[:2]).all()
    after = solution(min(1.0, stop * 1.001))
    assert torch.isfinite(after[0])
    assert torch.isnan(after[1:]).all()
    assert torch.isnan(solution(1.0)[1:]).all()
    saved = solve(
        lambda t, x, k: -k * x, 0.0, 1.0, x, rates, max_steps=50, save_at=[0.0], throw=False
    )
    assert torch.isnan(saved.x[0, 1:]).all()  # it did not succeed: nothing of it is handed out


def test_a_solution_without_it_says_how_to_get_it() -> None:
    solution = solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1))
    with pytest.raises(ValueError, match="dense=True"):
        solution(0.5)


def test_it_can_be_differentiated_in_the_start_and_by_the_state() -> None:
    def along(s: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return solve(lambda t, x: -x, s, 1.0, x, rtol=1e-9, atol=1e-9, save_at=[0.5, 1.0]).x

    s, x = torch.zeros(2), torch.tensor([[1.0], [2.0]])
    value, by_start = jvp(along, (s, x), (torch.ones(2), torch.zeros(2, 1)))
    assert torch.allclose(by_start, value, atol=1e-7)
    _, by_state = jvp(along, (s, x), (torch.zeros(2), torch.ones(2, 1)))
    assert torch.allclose(by_state, value / x, atol=1e-7)


@pytest.mark.parametrize("options", OPTIONS[:1] + OPTIONS[-1:], ids=["adaptive", "fixed"])
def test_it_passes_vmap(options) -> None:
    x, t = torch.randn(3, 2, 1), torch.tensor([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]])

    def run(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        solution = solve(lambda t, x: -x, 0.0, t, x, dense=True, **options)
        saved = solve(lambda t, x: -x, 0.0, t, x, save_at=t[None] / 2, **options)
        return solution(t[None] / 2), saved.x

    for whole in torch.func.vmap(run)(x, t):
        assert torch.allclose(whole[:, 0], x * torch.exp(-t / 2)[..., None], atol=1e-5)
    one = torch.func.vmap(lambda t: run(x[0], t)[1])(t)
    assert torch.allclose(one[:, 0], x[0] * torch.exp(-t / 2)[..., None], atol=1e-5)


def test_outside_reads_nan_where_values_cannot_be_checked() -> None:
    def late(t_eval: torch.Tensor) -> torch.Tensor:
        solution = solve(lambda t, x: -x, 0.0, 1.0, torch.ones(1, 1), dense=True)
        return solution(t_eval)

    times = torch.tensor([0.5, 1.5, -0.5])
    found = torch.func.vmap(late)(times).flatten()
    assert torch.isnan(found).tolist() == [False, True, True]


@given(st.floats(1.0, 1e12), st.integers(2, 64))
def test_times_beyond_a_short_span_are_refused(s: float, units: int) -> None:
    unit = math.ulp(s)
    found = solve(lambda t, x: -x, s, s + units * unit, torch.ones(1, 1), dense=True)
    with pytest.raises(ValueError, match="must lie between"):
        found(s + (units + 3) * unit)


def test_tolerances_may_be_arrays() -> None:
    x = torch.ones(2, 3)
    found = [
        solve(lambda t, x: -x, 0.0, 1.0, x, rtol=kind([1e-3, 1e-4, 1e-5])).x
        for kind in (list, np.array, torch.tensor)
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=0)

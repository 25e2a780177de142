"""A failure stays with its sample, has a code, and never reads as success."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowmaps.errors import SolveError
from flowmaps.solvers import RK4, Dopri5, Euler, Heun, Result, Tsit5, solve

OK, NOT_FINITE, MAX_STEPS, TOO_SMALL = (int(Result(k)) for k in range(4))


def relax(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    """x' = -k (x - cos t), stiff for large k."""
    return -condition * (x - torch.cos(t)[:, None])


def relaxed(s: float, t: float, x: float, k: float) -> float:
    """The closed form for one component."""

    def steady(r: float) -> float:
        return (k * k * math.cos(r) + k * math.sin(r)) / (k * k + 1)

    return steady(t) + (x - steady(s)) * math.exp(-k * (t - s))


CASE = {  # name: (s, t, x, k, code)
    "forward": (0.0, 1.0, 0.3, 2.0, OK),
    "not a number": (0.0, 1.0, math.nan, 2.0, NOT_FINITE),
    "too stiff": (0.0, 1.0, 0.3, 1e6, MAX_STEPS),
    "at rest": (0.4, 0.4, 0.3, 2.0, OK),
    "backward": (1.0, 0.0, 0.3, 2.0, OK),
    "infinite": (0.0, 1.0, math.inf, 2.0, NOT_FINITE),
    "no such time": (math.nan, 1.0, 0.3, 2.0, NOT_FINITE),
    "endless": (0.0, math.inf, 0.3, 2.0, NOT_FINITE),
}


def the_case(rows: slice = slice(None)) -> tuple[Tensor, ...]:
    s, t, x, k, code = torch.tensor(list(CASE.values()))[rows].unbind(1)
    return s, t, x[:, None], k[:, None], code.long()


@pytest.mark.parametrize(
    "options", [{}, {"method": Dopri5()}, {"dense": True}, {"save_at": "end"}], ids=repr
)
def test_good_and_bad_samples_share_a_batch(options) -> None:
    s, t, x, k, code = the_case()
    rows, extra = slice(None), dict[str, Any](options)
    if options.get("save_at") == "end":  # samples without finite times have no times to save at
        rows = slice(0, 6)
        s, t, x, k, code = the_case(rows)
        extra["save_at"] = t[None]
    solution = solve(
        relax,
        s,
        t,
        x,
        k,
        rtol=1e-11,
        atol=1e-11,
        max_steps=150,
        throw=False,
        **extra,
    )
    assert solution.result.tolist() == code.tolist()
    found = solution.x.reshape(-1)
    for i, (start, end, value, rate, expected) in enumerate(list(CASE.values())[rows]):
        if expected == OK:
            assert found[i].item() == pytest.approx(relaxed(start, end, value, rate), abs=1e-10)
            assert solution.final_time[i] == end
        else:
            assert torch.isnan(found[i])
            assert not solution.success[i]
    stiff = list(CASE).index("too stiff")
    assert solution.statistics.steps[stiff] == 150
    assert 0 < solution.final_time[stiff] < 1
    # What was reached is not lost.
    reached = relaxed(0.0, solution.final_time[stiff].item(), 0.3, 1e6)
    assert solution.final_state[stiff].item() == pytest.approx(reached, abs=1e-8)


def test_fixed_steps_tell_samples_that_are_not_finite() -> None:
    s, t, x, k, code = the_case(slice(0, 7))
    k[2] = 2.0  # fixed steps know no bound on their number
    code[2] = OK
    solution = solve(relax, s, t, x, k, method=RK4(), steps=200, throw=False)
    assert solution.result.tolist() == code.tolist()
    assert torch.isnan(solution.x[code != OK]).all()
    for i, (start, end, value, rate, _) in enumerate(CASE.values()):
        if i < 7 and code[i] == OK and i != 2:
            assert solution.x[i].item() == pytest.approx(relaxed(start, end, value, rate), abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 5}], ids=["adaptive", "fixed"])
def test_a_bad_sample_changes_nothing_for_the_others(options) -> None:
    s, t, x, k, _ = the_case(slice(0, 7))
    good = [0, 3, 4]
    alone = solve(relax, s[good], t[good], x[good], k[good], **options)
    beside = solve(relax, s, t, x, k, max_steps=60, throw=False, **options)
    assert torch.equal(beside.x[good], alone.x)
    assert torch.equal(beside.statistics.steps[good], alone.statistics.steps)


@pytest.mark.parametrize("options", [{}, {"method": RK4(), "steps": 5}], ids=["adaptive", "fixed"])
def test_a_bad_sample_poisons_no_derivative_of_the_others(options) -> None:
    s, t, x, k, _ = the_case(slice(0, 7))
    good = torch.tensor([0, 3, 4])

    def run(x: Tensor, k: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return solve(relax, s, t, x, k, max_steps=60, throw=False, **options).x

    def gradients(rows: Tensor) -> tuple[Tensor, ...]:
        leaves = [a[rows].clone().requires_grad_() for a in (x, k, s, t)]
        return torch.autograd.grad(run(*leaves).sum(), leaves)

    def tangent(rows: Tensor) -> Tensor:
        primals = tuple(a[rows] for a in (x, k, s, t))
        return torch.func.jvp(run, primals, tuple(map(torch.ones_like, primals)))[1]

    everyone = torch.arange(7)
    for whole, alone in zip(gradients(everyone), gradients(good), strict=True):
        assert torch.allclose(whole[good], alone, rtol=1e-12)
    whole = tangent(everyone)
    assert torch.allclose(whole[good], tangent(good), rtol=1e-12)
    assert torch.isnan(whole[1])  # a failed sample's derivative does not read as one either


# ---------------------------------------------------------------------------- codes


@pytest.mark.parametrize("method", [Tsit5(), Heun()], ids=repr)
@pytest.mark.parametrize(
    ("field", "s", "t", "time"),
    [
        (lambda t, x: x * x, 0.0, 2.0, 1.0),
        (lambda t, x: -x * x, 2.0, 0.0, 1.0),
        (lambda t, x: x / (1 - t[:, None]), 0.0, 2.0, 1.0),
        (lambda t, x: x / (1 - t[:, None]), 0.0, 1.0, 1.0),
        (lambda t, x: torch.where(t[:, None] > 0.3, torch.nan, 1.0) + 0 * x, 0.0, 1.0, 0.3),
        (lambda t, x: torch.where(t[:, None] > 0.3, torch.inf, 1.0) + 0 * x, 0.0, 1.0, 0.3),
        (lambda t, x: torch.sqrt(0.3 - t)[:, None] + 0 * x, 0.0, 1.0, 0.3),
        (lambda t, x: -torch.log(x), 0.01, 9.0, None),
    ],
    ids=["blow-up", "backwards", "pole", "pole at the end", "nan", "inf", "root", "log"],
)
def test_what_cannot_be_crossed_is_told(method, field, s, t, time) -> None:
    if time is None:
        x, s = torch.full((1, 1), s), 0.0  # log x is steep, but attracts to 1
        assert solve(field, s, t, x, method=method, rtol=1e-3, atol=1e-3).success.all()
        return
    tolerance = 1e-5 if method.order > 2 else 1e-2
    solution = solve(
        field, s, t, torch.ones(1, 1), method=method, rtol=tolerance, atol=tolerance, throw=False
    )
    assert solution.result.item() in (TOO_SMALL, NOT_FINITE)
    assert solution.final_time.item() == pytest.approx(time, abs=3 * tolerance)
    assert solution.statistics.steps.item() < 5000
    assert torch.isnan(solution.x).all()


def test_a_stiff_problem_ends() -> None:
    def robertson(t: Tensor, x: Tensor) -> Tensor:
        a, b, c = x.unbind(1)
        slow, fast, out = 0.04 * a, 1e4 * b * c, 3e7 * b * b
        return torch.stack([fast - slow, slow - fast - out, out], dim=1)

    x = torch.tensor([[1.0, 0.0, 0.0]])
    solution = solve(robertson, 0.0, 40.0, x, max_steps=100, throw=False)
    assert solution.result.item() == MAX_STEPS
    soon = solve(robertson, 0.0, 0.1, x, rtol=1e-7, atol=1e-9)
    truth = [0.99607774744, 3.580437235e-05, 0.0038864481852]  # by Radau at 1e-12
    assert soon.x[0].tolist() == pytest.approx(truth, rel=1e-5)


def test_max_steps_counts_attempts_and_the_last_one_counts_for_success() -> None:
    field, x = lambda t, x: -x, torch.ones(1, 1)
    needed = int(solve(field, 0.0, 1.0, x).statistics.steps)
    assert solve(field, 0.0, 1.0, x, max_steps=needed).success.all()
    short = solve(field, 0.0, 1.0, x, max_steps=needed - 1, throw=False)
    assert short.result.item() == MAX_STEPS
    assert short.statistics.steps.item() == needed - 1


# ---------------------------------------------------------------------------- the exception


def test_the_error_names_samples_codes_times_and_steps() -> None:
    s, t, x, k, _ = the_case()
    with pytest.raises(SolveError) as caught:
        solve(relax, s, t, x, k, max_steps=200)
    message = str(caught.value)
    assert "5 of 8 samples failed" in message
    assert "4 NOT_FINITE" in message
    assert "1 MAX_STEPS" in message
    assert "samples [1, 2, 5, 6, 7]" in message
    assert "sample 1 from s = 0 to t = 1 stopped at time 0 after 0 steps" in message
    assert "throw=False" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 5}, "stopped at time .*e-0[67] after 5 steps. Raise max_steps"),
        ({"method": Euler(), "steps": 400}, "NOT_FINITE.*check the sample"),
    ],
)
def test_the_error_says_what_to_do(options, message) -> None:
    with pytest.raises(SolveError, match=message):
        solve(lambda t, x: -1e6 * x, 0.0, 1.0, torch.ones(1, 1), **options)
    with pytest.raises(SolveError, match="1 STEP_TOO_SMALL.*singularity"):
        solve(lambda t, x: x * x, 0.0, 2.0, torch.ones(1, 1))


def test_the_error_is_one_clear_sentence_or_two(refused) -> None:
    x = torch.tensor([[0.6, 1.2], [0.3, -0.6], [1.2, 0.2]])
    found = r"2 of 3 samples failed .*samples \[0, 2\]"
    refused(lambda: solve(lambda t, x: x * x, 0.0, 1.0, x), RuntimeError, found, SolveError)


def test_the_error_stays_short_for_many_samples() -> None:
    x = torch.full((1000, 1), torch.nan)
    with pytest.raises(SolveError, match=r"samples \[0, 1, 2, 3, 4, 5, 6, 7, ... 1000 in all\]"):
        solve(lambda t, x: -x, 0.0, 1.0, x)


@pytest.mark.parametrize("in_dims", [0, 1])
def test_the_error_counts_samples_under_vmap(in_dims) -> None:
    x = torch.ones(2, 3, 1)
    x[1, 2] = torch.nan
    x = x.movedim(0, in_dims)

    def run(x: Tensor) -> Tensor:
        return solve(lambda t, x: -x, 0.0, torch.tensor([1.0, 2.0, 3.0]), x).x

    with pytest.raises(SolveError, match=r"samples \[5\]; sample 5 from s = 0 to t = 3 stopped"):
        torch.func.vmap(run, in_dims=in_dims)(x)

"""References against independent arithmetic, each other, and their own promises."""

import math

import mpmath
import pytest
import torch

import flowmaps as fm
from flowmaps.errors import SolveError
from flowmaps.problems import ExactProblem, Parameters, Problem, operations

NAMES = fm.problems.names()
EACH = pytest.mark.parametrize("name", NAMES)


def draw(problem: Problem, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return problem.domain.sample(n, generator), problem.parameter_domain.sample(n, generator)


def short(problem: Problem) -> float:
    """Return a time span short enough for series and stiff solves."""
    lower, upper = problem.times
    return 1e-3 if problem.stiff else min(0.2, (upper - lower) / 3)


@EACH
def test_references_agree_with_a_taylor_series_in_20_digits(name: str) -> None:
    problem = fm.problems.get(name)
    x, condition = draw(problem, 1)
    s = problem.times[0]
    t = s + short(problem) / (20 if name == "arenstorf_orbit" else 1)
    p = Parameters(problem.parameters, condition[0].tolist())
    with mpmath.workdps(20):
        m = operations("mpmath")
        solution = mpmath.odefun(
            lambda r, y: list(problem.formula(m, r, y, p)),
            s,
            [mpmath.mpf(v) for v in x[0].tolist()],
        )
        precise = torch.tensor([[float(value) for value in solution(t)]])
    ours = problem.reference(s, t, x, condition)
    assert (ours - precise).abs().max() < 1e-11 * (1 + precise.abs().max())


@EACH
def test_samples_are_solved_on_their_own(name: str) -> None:
    problem = fm.problems.get(name)
    x, condition = draw(problem, 3)
    s = problem.times[0] + short(problem) * torch.tensor([0.0, 0.5, 0.2])
    t = problem.times[0] + short(problem) * torch.tensor([1.0, 0.5, 0.6])
    together = problem.reference(s, t, x, condition)
    assert together.dtype == torch.float64
    for k in range(3):
        alone = problem.reference(s[k], t[k], x[k, None], condition[k, None])
        assert torch.equal(alone[0], together[k])
    assert torch.equal(together[1], x[1])  # s = t


@EACH
def test_solving_back_returns(name: str) -> None:
    problem = fm.problems.get(name)
    x, condition = draw(problem, 2)
    s = problem.times[0]
    t = s + short(problem)
    there = problem.reference(s, t, x, condition)
    assert torch.allclose(problem.reference(t, s, there, condition), x, rtol=1e-8, atol=1e-8)


def test_along_visits_times_in_any_order_on_both_sides() -> None:
    problem = fm.problems.DampedPendulum()
    x, condition = draw(problem, 2)
    times = [1.5, 0.2, 1.0, 2.0, -0.3, 1.0]
    path = problem.reference_along(1.0, times, x, condition)
    assert path.shape == (6, 2, 2)
    assert torch.equal(path[2], x)
    for k, time in enumerate(times):
        one = problem.reference(1.0, time, x, condition)
        assert torch.allclose(path[k], one, rtol=1e-11, atol=1e-11)
    own = torch.tensor(times)[:, None] + torch.tensor([0.0, 0.1])
    path = problem.reference_along(1.0, own, x, condition)
    one = problem.reference(1.0, own[0], x, condition)
    assert torch.allclose(path[0], one, rtol=1e-11, atol=1e-11)
    assert problem.reference_along(1.0, [], x).shape == (0, 2, 2)


@EACH
def test_variational_reference_agrees_with_differences_of_references(name: str) -> None:
    problem = fm.problems.get(name)
    x, condition = draw(problem, 1)
    s = problem.times[0]
    t = s + short(problem) / (20 if name == "arenstorf_orbit" else 1)
    ours = problem.variational_reference(s, t, x, condition)
    assert ours.shape == (1, problem.dim, problem.dim)
    # Fourth-order central differences: errors of step^4 and 1e-12 / step.
    step = 1e-7 if problem.stiff else 1e-5
    shifts = step * torch.eye(problem.dim)
    nodes = [
        problem.reference(s, t, x + j * shift, condition)
        for j in (-2, -1, 1, 2)
        for shift in shifts
    ]
    a, b, c, d = torch.cat(nodes).reshape(4, problem.dim, problem.dim)
    differences = ((a - 8 * b + 8 * c - d) / (12 * step)).T
    assert torch.allclose(ours[0], differences, rtol=1e-5, atol=1e-5)


def test_variational_reference_agrees_with_the_derivative_of_closed_forms() -> None:
    for name in NAMES:
        problem = fm.problems.get(name)
        if isinstance(problem, ExactProblem):
            x, condition = draw(problem, 2)
            ours = problem.variational_reference(0.1, 0.9, x, condition)
            for k in range(2):
                exact = torch.func.jacfwd(
                    lambda z, k=k, q=problem, c=condition: q.exact(0.1, 0.9, z[None], c[k, None])[0]
                )(x[k])
                assert torch.allclose(ours[k], exact, rtol=1e-10, atol=1e-10)


def test_lorenz_volumes_shrink_at_the_known_rate() -> None:
    """Liouville: log det DX = -(sigma + 1 + beta) (t - s), whatever the state."""
    problem = fm.problems.Lorenz63()
    x, condition = draw(problem, 3)
    jacobian = problem.variational_reference(0.0, 0.5, x, condition)
    rate = condition[:, 0] + 1 + condition[:, 2]
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], -0.5 * rate, rtol=1e-9)


def test_stiff_radau_agrees_with_explicit_dop853() -> None:
    """Within the absolute tolerance: the least concentration, near 1e-5, has seven digits."""

    class Explicit(Problem):
        name = "explicit_robertson"
        formula = fm.problems.Robertson.formula

    stiff = fm.problems.Robertson()
    explicit = Explicit(stiff.parameters, stiff.parameter_domain, stiff.domain, stiff.times)
    x = torch.tensor([[1.0, 0.0, 0.0], [0.5, 5e-5, 0.3]])
    a, b = stiff.reference(0.0, 0.3, x), explicit.reference(0.0, 0.3, x)
    assert (a - b).abs().max() < 1e-11
    assert ((a - b).abs() / b).max() < 1e-6


def test_references_end_gradients_and_keep_inputs() -> None:
    problem = fm.problems.DampedPendulum()
    x = torch.ones(1, 2, requires_grad=True)
    assert not problem.reference(0.0, 0.1, x).requires_grad
    assert problem.reference(0.0, 0.1, x.detach().float()).dtype == torch.float64


def test_blow_up_is_reported_with_sample_and_times() -> None:
    growth = fm.problems.LogisticGrowth()
    x = torch.tensor([[0.5], [2.0]])  # backwards from above the capacity: infinite at log 2
    with pytest.raises(SolveError, match="DOP853 failed for sample 1 at time -0.69.* from 0 to -2"):
        growth.reference(0.0, -2.0, x)


def test_a_singular_start_is_reported() -> None:
    mixture = fm.problems.TwoPointMixture()
    with pytest.raises(SolveError, match="not finite at the start of sample 0: time 1"):
        mixture.reference(1.0, 0.5, torch.zeros(1, 1))


BAD = {
    "nan state": (lambda r, x: r(0.0, 1.0, x * math.nan), "x holds values that are not finite"),
    "width": (lambda r, x: r(0.0, 1.0, torch.zeros(1, 2)), r"\(batch, 1\), got \(1, 2\)"),
    "parameters": (lambda r, x: r(0.0, 1.0, x, torch.ones(1, 2)), "one column for each of"),
    "nan condition": (lambda r, x: r(0.0, 1.0, x, torch.full((1, 3), math.nan)), "condition holds"),
    "nan time": (lambda r, x: r(0.0, torch.tensor([math.nan]), x), "finite and in"),
    "outside": (lambda r, x: r(0.0, 1.5, x), r"times of two_point_mixture .* \[0, 1\], got 1.5"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_of_references_are_refused(call, message: str) -> None:
    problem = fm.problems.TwoPointMixture()
    for reference in (problem.reference, problem.variational_reference):
        with pytest.raises(ValueError, match=message):
            call(reference, torch.zeros(1, 1))


def test_bad_times_along_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n_times,\) or \(n_times, 3\), got \(2, 2\)"):
        fm.problems.Rotation().reference_along(0.0, torch.zeros(2, 2), torch.zeros(3, 2))

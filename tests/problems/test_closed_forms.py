"""Closed forms against the equation they solve, other solvers, and the laws of flows."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowmaps as fm
from flowmaps.problems import ExactProblem, Parameters, operations

EXACT = [name for name in fm.problems.names() if isinstance(fm.problems.get(name), ExactProblem)]
EACH = pytest.mark.parametrize("name", EXACT)
NORMAL = [[0.3, -0.2, 0.1], [0.0, -0.4, 1.0], [0.5, 0.0, -0.1]]


def get(name: str) -> ExactProblem:
    problem = fm.problems.get(name)
    assert isinstance(problem, ExactProblem)
    return problem


def draw(problem: ExactProblem, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states (n, dim) and conditions (n, n_parameters)."""
    generator = torch.Generator().manual_seed(seed)
    return problem.domain.sample(n, generator), problem.parameter_domain.sample(n, generator)


def scaled(error: torch.Tensor, *states: torch.Tensor) -> float:
    return (error.norm(dim=1) / (1 + sum(x.norm(dim=1) for x in states))).max().item()


def test_these_are_the_problems_with_closed_forms() -> None:
    assert EXACT == [
        "linear_system",
        "harmonic_oscillator",
        "logistic_growth",
        "rotation",
        "scalar_separable",
        "gaussian_interpolant",
    ]


def symbolic_residuals(problem: ExactProblem) -> Callable[..., Sequence[Any]]:
    """Return both residuals and X_{s,s}(x) - x of the closed form, (s, t, x, p) -> numbers."""
    z, m = problem.symbolic(), operations("sympy")
    p = z.p
    if isinstance(problem, fm.problems.LinearSystem):  # SymPy's exponential wants numbers
        values = [sympy.nsimplify(value) for value in problem.parameters.values()]
        p = Parameters(problem.parameters, values)
    flow: Any = sympy.Matrix(problem.solution(m, z.s, z.t, z.x, p))
    lagrangian = flow.diff(z.t) - sympy.Matrix(problem.formula(m, z.t, list(flow), p))
    eulerian = flow.diff(z.s) + flow.jacobian(z.x) * sympy.Matrix(problem.formula(m, z.s, z.x, p))
    identity = flow.subs(z.t, z.s) - sympy.Matrix(z.x)
    arguments = (z.s, z.t, z.x, tuple(vars(z.p).values()))
    return sympy.lambdify(arguments, [*lagrangian, *eulerian, *identity], "mpmath")


@EACH
def test_closed_forms_satisfy_both_equations_to_30_digits(name: str) -> None:
    """Lagrangian and Eulerian relation, differentiated by SymPy and evaluated by mpmath."""
    problem = get(name)
    if name == "gaussian_interpolant":  # its axes are floats; these are exact
        problem = fm.problems.GaussianInterpolant([0.5, -1.0], [[2.0, 0.0], [0.0, 0.25]])
    residuals = symbolic_residuals(problem)
    states, conditions = draw(problem, 3)
    with mpmath.workdps(40):
        lower, upper = map(mpmath.mpf, problem.times)
        for k in range(3):
            values = [[mpmath.mpf(v) for v in rows[k].tolist()] for rows in (states, conditions)]
            early, late = lower + mpmath.mpf(k) / 7, upper - mpmath.mpf(k) / 9
            for times in ((early, late), (late, early)):
                assert max(map(abs, residuals(*times, *values))) < mpmath.mpf(10) ** -30


@EACH
def test_closed_forms_agree_with_dop853_forwards_and_backwards(name: str) -> None:
    problem = get(name)
    x, condition = draw(problem, 4)
    lower, upper = problem.times
    s = torch.linspace(lower, upper, 4)
    t = s.flip(0)
    exact = problem.exact(s, t, x, condition)
    assert scaled(exact - problem.reference(s, t, x, condition), x, exact) < 1e-10
    assert scaled(problem.exact(s, t, x) - problem.reference(s, t, x), x, exact) < 1e-10


@EACH
def test_closed_forms_agree_with_a_taylor_series_in_30_digits(name: str) -> None:
    """By mpmath's odefun, which shares no method with any solver here."""
    problem = get(name)
    x, condition = draw(problem, 1, seed=1)
    lower, upper = problem.times
    s, t = lower, lower + 0.4 * (upper - lower)
    p = Parameters(problem.parameters, condition[0].tolist())
    with mpmath.workdps(30):
        m = operations("mpmath")
        solution = mpmath.odefun(
            lambda r, y: list(problem.formula(m, r, y, p)),
            s,
            [mpmath.mpf(v) for v in x[0].tolist()],
        )
        precise = torch.tensor([[float(value) for value in solution(t)]])
    assert scaled(problem.exact(s, t, x, condition) - precise, precise) < 1e-14


@EACH
def test_numpy_mpmath_and_torch_agree_on_the_closed_form(name: str) -> None:
    problem = get(name)
    x, condition = draw(problem, 3)
    lower, upper = problem.times
    ours = problem.exact(lower, upper, x, condition)
    for k in range(3):
        p = Parameters(problem.parameters, condition[k].tolist())
        for library in ("numpy", "mpmath"):
            m = operations(library)
            other = [float(v) for v in problem.solution(m, lower, upper, x[k].tolist(), p)]
            assert scaled(ours[k, None] - torch.tensor([other]), ours[k, None]) < 1e-13


def unit() -> st.SearchStrategy[float]:
    return st.floats(0.0, 1.0)


@EACH
@given(data=st.data())
def test_closed_forms_are_flows(name: str, data: st.DataObject) -> None:
    """Identity, semigroup and inverse, at any three times in any order, for any parameters."""
    problem = get(name)
    lower, upper = problem.times
    s, u, t = (lower + (upper - lower) * data.draw(unit(), label=which) for which in "sut")
    x, condition = draw(problem, 3, seed=data.draw(st.integers(0, 2**32), label="seed"))
    flow = functools.partial(problem.exact, condition=condition)
    middle, end = flow(s, u, x), flow(s, t, x)
    assert scaled(flow(s, s, x) - x, x) < 1e-15
    assert scaled(flow(u, t, middle) - end, x, middle, end) < 1e-10
    assert scaled(flow(t, s, end) - x, x, end) < 1e-10


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_closed_forms_keep_the_state_s_dtype(name: str, dtype: torch.dtype) -> None:
    problem = get(name)
    x, condition = draw(problem, 4)
    lower, upper = problem.times
    result = problem.exact(lower, upper, x.to(dtype), condition.to(dtype))
    assert result.dtype == dtype
    exact = problem.exact(lower, upper, x, condition)
    assert scaled(result.double() - exact, exact) < (1e-4 if dtype == torch.float32 else 0.1)


def setting(problem: ExactProblem) -> tuple[torch.Tensor, ...]:
    """Return s, t, x, condition of three samples with their own times."""
    lower, upper = problem.times
    return torch.full((3,), lower), torch.linspace(lower + 0.1, upper, 3), *draw(problem, 3)


@EACH
def test_jacobians_agree_with_the_variational_equation(name: str) -> None:
    problem = get(name)
    s, t, x, condition = setting(problem)

    def one(x: torch.Tensor, s: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return problem.exact(s, t, x[None], c[None])[0]

    ours = torch.func.vmap(torch.func.jacfwd(one))(x, s, t, condition)
    reference = problem.variational_reference(s, t, x, condition)
    assert torch.allclose(ours, reference, atol=1e-9, rtol=1e-9)


@EACH
def test_time_derivatives_are_the_field_and_can_be_repeated(name: str) -> None:
    problem = get(name)
    s, t, x, condition = setting(problem)
    ones = torch.ones_like(t)

    def rate(t: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(lambda r: problem.exact(s, r, x, condition), (t,), (ones,))[1]

    state = problem.exact(s, t, x, condition)
    assert scaled(rate(t) - problem.field(t, state, condition), state) < 1e-12
    second = torch.func.jvp(rate, (t,), (ones,))[1]
    differences = (rate(t + 1e-4) - rate(t - 1e-4)) / 2e-4
    assert scaled(second - differences, second) < 1e-6


@EACH
def test_derivatives_in_the_parameters_agree_with_differences(name: str) -> None:
    problem = get(name)
    s, t, x, condition = setting(problem)

    def shifted(shift: torch.Tensor | float) -> torch.Tensor:
        return problem.exact(s, t, x, condition + shift)

    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    ours = torch.func.jvp(shifted, (zero,), (one,))[1]
    differences = (shifted(1e-4) - shifted(-1e-4)) / 2e-4
    assert scaled(ours - differences, ours) < 1e-5


@EACH
def test_closed_forms_compile_in_one_graph(name: str) -> None:
    problem = get(name)
    arguments = setting(problem)
    torch.compiler.reset()
    compiled = torch.compile(problem.exact, backend="aot_eager", fullgraph=True)
    expected = problem.exact(*arguments)
    assert scaled(compiled(*arguments) - expected, expected) < 1e-13


@pytest.mark.parametrize("size", [1, 2, 7])
def test_matrix_exponential_is_calibrated_for_every_batch_size(size: int) -> None:
    """One matrix alone would be wrong by 4e-11 at norms of .02 to .05 in some releases of torch."""
    problem = fm.problems.LinearSystem(NORMAL)
    x = torch.randn(size, 3)
    with mpmath.workdps(30):
        for span in 2.0 ** torch.arange(-12.0, 4.0):
            precise = mpmath.expm(mpmath.matrix(NORMAL) * span.item())
            matrix = torch.tensor([[float(entry) for entry in row] for row in precise.tolist()])
            ours = problem.exact(0.0, span.item(), x)
            assert scaled(ours - x @ matrix.T, ours) < 1e-14


def test_linear_systems_take_any_square_matrix_and_a_matrix_for_every_sample() -> None:
    problem = fm.problems.LinearSystem(NORMAL)
    assert problem.dim == 3
    assert list(problem.parameters)[:4] == ["a_1_1", "a_1_2", "a_1_3", "a_2_1"]
    matrices = torch.randn(4, 3, 3)
    x = torch.randn(4, 3)
    field = problem.field(0.0, x, matrices.flatten(1))
    assert torch.allclose(field, torch.einsum("bij,bj->bi", matrices, x))
    flow = problem.exact(0.0, 0.7, x, matrices.flatten(1))
    exponential = torch.linalg.matrix_exp(0.7 * matrices)
    assert torch.allclose(flow, torch.einsum("bij,bj->bi", exponential, x))
    nilpotent = fm.problems.LinearSystem([[0.0, 1.0], [0.0, 0.0]])
    assert nilpotent.exact(1.0, 4.0, torch.tensor([[1.0, 2.0]])).tolist() == [[7.0, 2.0]]


@pytest.mark.parametrize("name", EXACT)
def test_empty_batches_stay_empty(name: str) -> None:
    problem = get(name)
    assert problem.exact(0.0, 1.0, torch.zeros(0, problem.dim)).shape == (0, problem.dim)


def test_separable_solutions_stay_finite_on_the_whole_domain() -> None:
    problem = fm.problems.ScalarSeparable()
    rate, frequency = problem.parameter_domain.upper[0], problem.parameter_domain.lower[1]
    reach = torch.atan(torch.tensor(1.0)) + 2 * rate / frequency
    assert reach < torch.pi / 2

"""A formula means the same in every library, dtype and under every transformation of torch."""

import math

import mpmath
import numpy as np
import pytest
import sympy
import torch

import flowmaps as fm
from flowmaps.problems import ExactProblem, Parameters, Problem, operations

NAMES = fm.problems.names()
EACH = pytest.mark.parametrize("name", NAMES)
EXACT = [name for name in NAMES if isinstance(fm.problems.get(name), ExactProblem)]


def draw(problem: Problem, n: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return times (n,), states (n, dim) and conditions (n, n_parameters)."""
    generator = torch.Generator().manual_seed(3)
    lower, upper = problem.times
    t = lower + (upper - lower) * torch.rand(n, generator=generator)
    return t, problem.domain.sample(n, generator), problem.parameter_domain.sample(n, generator)


@EACH
def test_torch_numpy_mpmath_and_sympy_agree(name: str) -> None:
    problem = fm.problems.get(name)
    t, x, condition = draw(problem)
    ours = problem.field(t, x, condition)
    symbols = problem.symbolic()
    arguments = (symbols.t, *symbols.x, *vars(symbols.p).values())
    for k in range(len(x)):
        values = (t[k].item(), x[k].tolist(), condition[k].tolist())
        p = Parameters(problem.parameters, values[2])
        with mpmath.workdps(30):
            precise = problem.formula(operations("mpmath"), mpmath.mpf(values[0]), values[1], p)
            precise = [float(value) for value in precise]
        by_numpy = np.array(problem.formula(operations("numpy"), values[0], values[1], p))
        numbers = dict(zip(arguments, [values[0], *values[1], *values[2]], strict=True))
        by_sympy = [float(component.evalf(subs=numbers)) for component in symbols.field]
        scale = 1 + np.abs(precise).max()
        for other in (ours[k].numpy(), by_numpy, np.array(by_sympy)):
            assert np.abs(other - precise).max() < 1e-13 * scale


@EACH
def test_defaults_are_the_condition_of_the_problem_s_own_parameters(name: str) -> None:
    problem = fm.problems.get(name)
    t, x, _ = draw(problem)
    own = torch.tensor([list(problem.parameters.values())]).expand(len(x), -1)
    assert torch.allclose(problem.field(t, x), problem.field(t, x, own), rtol=1e-14, atol=1e-14)


@EACH
def test_every_sample_has_its_own_time_state_and_parameters(name: str) -> None:
    problem = fm.problems.get(name)
    t, x, condition = draw(problem)
    together = problem.field(t, x, condition)
    for k in range(len(x)):
        alone = problem.field(t[k].item(), x[k, None], condition[k, None])
        assert torch.allclose(together[k, None], alone, rtol=1e-13, atol=1e-13)
    changed = condition.clone()
    changed[0] = problem.parameter_domain.sample(1, torch.Generator().manual_seed(9))[0]
    different = problem.field(t, x, changed)
    assert torch.equal(different[1:], together[1:])
    assert not torch.equal(different[0], together[0])


@EACH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_field_keeps_the_state_s_dtype(name: str, dtype: torch.dtype) -> None:
    problem = fm.problems.get(name)
    t, x, condition = draw(problem)
    for given in (None, condition, condition.to(dtype)):
        result = problem.field(t, x.to(dtype), given)
        assert result.dtype == dtype
        assert result.shape == x.shape
    if dtype == torch.float32:
        ratio = (problem.field(t, x.float()) - problem.field(t, x)).norm() / problem.field(
            t, x
        ).norm()
        assert ratio < 1e-3


@EACH
def test_autonomous_says_whether_time_enters(name: str) -> None:
    problem = fm.problems.get(name)
    _, x, _ = draw(problem)
    lower, upper = problem.times
    early, late = problem.field(lower, x), problem.field((lower + upper) / 3, x)
    assert torch.equal(early, late) == problem.autonomous


@EACH
def test_forward_and_reverse_mode_agree_with_sympy(name: str) -> None:
    problem = fm.problems.get(name)
    t, x, condition = draw(problem, 3)
    symbols = problem.symbolic()
    arguments = (symbols.t, symbols.x, tuple(vars(symbols.p).values()))
    exact = sympy.lambdify(arguments, symbols.jacobian(), "numpy")
    for derivative in (torch.func.jacfwd, torch.func.jacrev):
        for k in range(3):
            ours = derivative(lambda z, k=k: problem.field(t[k], z[None], condition[k, None])[0])(
                x[k]
            )
            other = torch.tensor(exact(t[k].item(), x[k].tolist(), condition[k].tolist()))
            assert torch.allclose(ours, other, rtol=1e-11, atol=1e-11)


@EACH
def test_vmap_and_full_graph_compilation(name: str) -> None:
    problem = fm.problems.get(name)
    t, x, condition = draw(problem)

    def one(t: torch.Tensor, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return problem.field(t, x[None], condition[None])[0]

    expected = problem.field(t, x, condition)
    assert torch.allclose(torch.func.vmap(one)(t, x, condition), expected, rtol=1e-14, atol=1e-14)
    torch.compiler.reset()
    compiled = torch.compile(problem.field, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(t, x, condition), expected, rtol=1e-14, atol=1e-14)


BAD = {
    "width": (lambda b, x: b(0.0, x[:, :1]), ValueError, r"\(batch, 2\), got \(3, 1\)"),
    "no batch": (lambda b, x: b(0.0, x[0]), ValueError, r"\(batch, 2\), got \(2,\)"),
    "columns": (lambda b, x: b(0.0, x, torch.ones(3, 3)), ValueError, "'damping', 'gravity'"),
    "rows": (lambda b, x: b(0.0, x, torch.ones(2, 2)), ValueError, r"\(3, 2\).*got \(2, 2\)"),
    "times": (lambda b, x: b(torch.zeros(4), x), ValueError, r"t must have shape \(\) or \(3,\)"),
    "time matrix": (lambda b, x: b(torch.zeros(3, 1), x), ValueError, r"got \(3, 1\)"),
    "dictionary": (
        lambda b, x: b(0.0, x, {"damping": 1.0}),
        TypeError,
        "must be a tensor.*got dict",
    ),
    "array": (lambda b, x: b(0.0, x.numpy()), TypeError, "must be a torch tensor"),
    "integers": (lambda b, x: b(0.0, x.long()), TypeError, "floating-point dtype"),
    "text": (lambda b, x: b("now", x), TypeError, "t must be a number"),
    "nan time": (lambda b, x: b(math.nan, x), ValueError, "finite time, got nan"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_of_a_field_are_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(fm.problems.DampedPendulum().field, torch.zeros(3, 2))


def test_unknown_library_is_refused() -> None:
    with pytest.raises(ValueError, match='must be "torch", "numpy", "sympy" or "mpmath"'):
        operations("jax")


def test_a_formula_that_asks_for_an_unknown_parameter_is_told_which_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no parameter 'speed'; there are \['rate'\]"):
        _ = Parameters(["rate"], [1.0]).speed


def test_components_without_a_batch_are_expanded() -> None:
    """Numbers and the time alone are fine as components: every sample gets them."""

    class Clock(Problem):
        name = "clock"
        autonomous = False

        def formula(self, m, t, x, p):
            return 1.0, p.rate, t

    box = fm.domains.Box([0.0] * 3, [1.0] * 3)
    problem = Clock({"rate": 2.0}, fm.domains.Box(1.0, 3.0), box, (0.0, 1.0))
    x = torch.zeros(2, 3)
    assert problem.field(5.0, x).tolist() == [[1.0, 2.0, 5.0]] * 2
    assert problem.reference(0.0, 2.0, x).allclose(torch.tensor([2.0, 4.0, 2.0]))
    assert problem.conserved(0.0, x) == {}

"""torchdiffeq as a backend: per-sample times, gradients, codes, and named refusals."""

import math
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers import Result, TorchDiffEq, Tsit5, solve

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
METHODS = [
    TorchDiffEq(),
    TorchDiffEq("dopri8"),
    TorchDiffEq("bosh3"),
    TorchDiffEq("rk4", options={"step_size": 0.01}),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_sample_keeps_its_own_times(method, exact_flows) -> None:
    exact = exact_flows["swing"]
    s, t = torch.tensor([0.0, 1.2, 0.5]), torch.tensor([1.2, 0.1, 0.5])
    x = torch.tensor(exact.start)[:1].repeat(3, 1)
    solution = solve(exact.field, s, t, x, method=method, rtol=1e-9, atol=1e-9)
    assert (solution.x - exact.flow(s, t, x)).abs().max() < 1e-8
    assert solution.success.all()
    assert torch.equal(solution.final_time, t)
    assert (solution.x - solve(exact.field, s, t, x, **TIGHT).x).abs().max() < 1e-8


@pytest.mark.parametrize("adjoint", [False, True])
def test_conditions_structures_and_single_precision(adjoint) -> None:
    method = TorchDiffEq(adjoint=adjoint)
    state = {"x": torch.ones(2, 3, dtype=torch.float32)}
    rate = torch.tensor([[1.0], [2.0]], dtype=torch.float32, requires_grad=True)
    found = solve(lambda t, z, k: {"x": -k * z["x"]}, 0.0, 1.0, state, rate, method=method).x["x"]
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.exp(-rate).expand(2, 3), atol=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), rate)
    assert torch.allclose(gradient, -3 * torch.exp(-rate), atol=1e-5)


def test_the_adjoint_finds_what_the_field_has_captured() -> None:
    inner, outer = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(2.0))
    scale = inner.exp()  # no leaf, and made before the solve

    def gradients(adjoint: bool) -> tuple[Tensor, ...]:
        x = torch.ones(3, 1, requires_grad=True)
        start = x * 2
        field = lambda t, x: -scale * x + outer * t[:, None]  # noqa: E731
        end = solve(field, 0.0, 1.0, start, method=TorchDiffEq(adjoint=adjoint), **TIGHT).x
        return torch.autograd.grad(end.sum(), (x, inner, outer), retain_graph=True)

    for a, b in zip(gradients(True), gradients(False), strict=True):
        assert torch.allclose(a, b, rtol=1e-6)


def test_the_adjoint_refuses_second_derivatives() -> None:
    x = torch.ones(1, 1, requires_grad=True)
    end = solve(lambda t, x: -(x**3), 0.0, 1.0, x, method=TorchDiffEq(adjoint=True)).x
    with pytest.raises(UnsupportedTransform, match="second derivatives"):
        torch.autograd.grad(end.sum(), x, create_graph=True)
    end = solve(lambda t, x: -(x**3), 0.0, 1.0, x, method=TorchDiffEq(), **TIGHT).x
    (first,) = torch.autograd.grad(end.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.item() == pytest.approx(-6 / 3**2.5, rel=1e-5)  # of x / sqrt(1 + 2 x^2)


# ---------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("field", "start", "options", "code"),
    [
        (lambda t, x: -x, math.nan, {}, Result.BACKEND_FAILED),
        (lambda t, x: x * x, 1.0, {}, Result.BACKEND_FAILED),
        (lambda t, x: -1e6 * (x - t[:, None]), 1.0, {"max_steps": 20}, Result.MAX_STEPS),
    ],
    ids=["nan", "blow-up", "stiff"],
)
@pytest.mark.parametrize("adjoint", [False, True])
def test_its_failures_are_codes(field, start, options, code, adjoint) -> None:
    x = torch.tensor([[start], [0.5]])
    method = TorchDiffEq(adjoint=adjoint)
    solution = solve(field, 0.0, 2.0, x, method=method, throw=False, **options)
    assert solution.result.tolist() == [int(code)] * 2  # it steps the batch as one
    assert torch.isnan(solution.x).all()
    assert not solution.success.any()
    with pytest.raises(SolveError, match=f"2 {code.name}.*samples \\[0, 1\\]"):
        solve(field, 0.0, 2.0, x, method=method, **options)


def test_a_result_that_is_not_finite_is_no_success() -> None:
    method = TorchDiffEq("euler", options={"step_size": 0.5})
    x = torch.tensor([[1.0], [torch.nan]])
    solution = solve(lambda t, x: -x, 0.0, 1.0, x, method=method, throw=False)
    assert solution.result.tolist() == [int(Result.SUCCESS), int(Result.NOT_FINITE)]


def test_errors_of_the_field_pass() -> None:
    def field(t: Tensor, x: Tensor) -> Tensor:
        assert (t < 0.5).all(), "no further than a half"
        return -x

    with pytest.raises(AssertionError, match="no further than a half"):
        solve(field, 0.0, 1.0, torch.ones(1, 1), method=TorchDiffEq(), check_field=False)


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("where", ["x", "s", "condition", "captured"])
@pytest.mark.parametrize("kind", ["jvp", "dual", "grad", "vmap"])
def test_transforms_are_refused_by_name(kind, where, adjoint) -> None:
    def run(a: Tensor) -> Tensor:
        x, s, c = torch.ones(2, 1), torch.zeros(2), torch.ones(2, 1)
        given = {"x": x, "s": s, "condition": c}
        captured = a if where == "captured" else torch.ones(2, 1)
        if where != "captured":
            given[where] = a
        return solve(
            lambda t, x, c: -c * x * captured.sum(),
            given["s"],
            1.0,
            given["x"],
            given["condition"],
            method=TorchDiffEq(adjoint=adjoint),
        ).x

    a = torch.ones(2) if where == "s" else torch.ones(2, 1)
    with pytest.raises(UnsupportedTransform, match="TorchDiffEq passes neither"):
        if kind == "jvp":
            torch.func.jvp(run, (a,), (a,))
        elif kind == "grad":
            torch.func.grad(lambda a: run(a).sum())(a)
        elif kind == "vmap":
            torch.func.vmap(run)(a[None])
        else:
            with forward_ad.dual_level():
                run(forward_ad.make_dual(a, a.clone()))


def test_it_runs_between_two_graphs() -> None:
    x = torch.ones(2, 1)
    run = lambda x: solve(lambda t, x: -x, 0.0, 1.0, 2 * x, method=TorchDiffEq()).x * 3  # noqa: E731
    assert torch.equal(torch.compile(run, backend="aot_eager")(x), run(x))


def test_options_are_passed_on_and_can_be_rebuilt() -> None:
    coarse, fine = (TorchDiffEq("euler", options={"step_size": h}) for h in (0.5, 0.25))
    field, x = lambda t, x: x, torch.ones(1, 1)
    assert solve(field, 0.0, 1.0, x, method=coarse).x.item() == 1.5**2
    assert solve(field, 0.0, 1.0, x, method=fine).x.item() == pytest.approx(1.25**4)
    assert TorchDiffEq(**fine.config()).config() == fine.config()
    assert repr(fine) == "TorchDiffEq(name='euler', adjoint=False, options={'step_size': 0.25})"
    assert repr(Tsit5()) == "Tsit5()"


def test_a_field_of_time_is_solved_to_its_tolerance() -> None:
    """Steps past the end would meet the field where it is not asked."""
    s, t = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([2.0, 0.0, 0.7])
    x = torch.ones(3, 1)
    y = solve(lambda t, x: torch.cos(3 * t)[:, None] * x, s, t, x, method=TorchDiffEq()).x
    truth = torch.exp((torch.sin(3 * t) - torch.sin(3 * s)) / 3)
    assert (y[:, 0] - truth).abs().max() < 1e-5


def test_tolerances_may_differ_by_component_here_too() -> None:
    x = {"a": torch.ones(2, 1), "b": torch.ones(2, 1)}
    field = lambda t, x: {"a": -x["a"], "b": -2 * x["b"]}  # noqa: E731
    tight, loose = (
        solve(field, 0.0, 1.0, x, method=TorchDiffEq(), rtol=1e-3, atol={"a": 1e-3, "b": b})
        for b in (1e-9, 1e-3)
    )
    truth = math.exp(-2)
    assert (tight.x["b"] - truth).abs().max() <= (loose.x["b"] - truth).abs().max() < 1e-3
    assert (tight.statistics.evaluations >= loose.statistics.evaluations).all()

"""The continuous adjoint against the variational equation by DOP853, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from flowmaps.errors import SolveError, UnsupportedTransform
from flowmaps.solvers import (
    PI,
    RK4,
    Bosh3,
    ContinuousAdjoint,
    DiscreteGradient,
    Dop853,
    Rodas5P,
    TorchDiffEq,
    Tsit5,
    solve,
)

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

TIGHT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}
REINTEGRATED, RECORDED = ContinuousAdjoint(), ContinuousAdjoint(record=True)
BOTH = pytest.mark.parametrize("adjoint", [REINTEGRATED, RECORDED], ids=["again", "recorded"])
OPTIONS: dict[str, dict[str, Any]] = {
    "Tsit5": {"method": Tsit5(), **TIGHT},
    "Dop853": {"method": Dop853(), **TIGHT},
    "Bosh3": {"method": Bosh3(), **TIGHT},
    "RK4": {"method": RK4(), "steps": 100, **TIGHT},
    "shared": {"controller": PI(shared=True), **TIGHT},
    "stops": {"controller": PI(stops=(0.6, 1.1)), **TIGHT},
}


class Network(nn.Module):
    """A small field with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(torch.cat([x, t[:, None]], dim=1))))


# ---------------------------------------------------------------------------- exactness


@BOTH
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_gradients_against_the_variational_equation(options, adjoint, pendulum) -> None:
    s, t = torch.tensor([0.0, 1.4, 0.5, 0.9]), torch.tensor([1.4, 0.2, 0.5, 0.7])
    x = torch.tensor([[0.4, 0.0], [1.5, -0.6], [0.1, 0.9], [-2.0, 0.3]])
    p = torch.tensor([[1.0, 0.2], [2.0, -0.3], [0.5, 0.0], [3.0, 0.8]])
    rows = [pendulum.derivatives(float(s[i]), float(t[i]), x[i], p[i]) for i in range(4)]
    end, by_x, by_p, by_s, by_t = (torch.stack(parts) for parts in zip(*rows, strict=True))
    w = torch.randn_like(x)
    truth = [(w * by_s).sum(1), (w * by_t).sum(1)]
    truth += [(matrices.mT @ w[..., None])[..., 0] for matrices in (by_x, by_p)]
    leaves = [a.clone().requires_grad_() for a in (s, t, x, p)]
    value = solve(pendulum.field, *leaves, gradient=adjoint, **options).x
    assert (value - end).abs().max() < 1e-6
    for found, expected in zip(torch.autograd.grad((w * value).sum(), leaves), truth, strict=True):
        assert (found - expected).abs().max() < 2e-7


@pytest.mark.parametrize("which", range(4), ids=["s", "t", "x", "condition"])
def test_gradients_in_one_argument_alone(which, pendulum) -> None:
    arguments = [torch.zeros(2), torch.ones(2), torch.randn(2, 2), torch.rand(2, 2)]
    arguments[which].requires_grad_()
    found, truth = (
        torch.autograd.grad(solve(pendulum.field, *arguments, gradient=how, **TIGHT).x.sum(), leaf)
        for how in (REINTEGRATED, None)
        for leaf in [arguments[which]]
    )
    assert torch.allclose(found[0], truth[0], rtol=1e-6, atol=1e-7)


@BOTH
@pytest.mark.parametrize("options", [{}, {"controller": PI(stops=(0.7,))}], ids=["", "stops"])
def test_states_saved_along_the_way(options, adjoint, pendulum) -> None:
    """At times in any order, twice, at both ends, and different for every sample."""
    s, t = torch.tensor([0.0, 1.4]), torch.tensor([1.4, 0.2])
    part = torch.tensor([[0.5, 0.5], [0.1, 0.9], [0.0, 0.3], [1.0, 0.3], [0.1, 1.0]])
    rows = s * (1 - part) + t * part
    leaves = [a.requires_grad_() for a in (s, t, rows, torch.randn(2, 2), torch.rand(2, 2))]
    w = torch.randn(5, 2, 2)

    def saved(**how: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        s, t, rows, x, p = leaves
        # The ends move with the times that stand there.
        solution = solve(pendulum.field, s, t, x, p, save_at=rows, **TIGHT, **options, **how)
        gradients = torch.autograd.grad((w * solution.x).sum(), leaves[2:])
        return solution.x, gradients

    x, gradients = saved(gradient=adjoint)
    truth, expected = saved()
    assert (x - truth).abs().max() < 1e-6
    for found, other in zip(gradients, expected, strict=True):
        assert (found - other).abs().max() < 1e-5
    one = solve(pendulum.field, s, t, *leaves[3:], save_at=[], gradient=adjoint, **TIGHT)
    assert one.x.shape == (0, 2, 2)


def test_a_sample_that_fails_between_saved_states_is_nan() -> None:
    x = torch.tensor([[0.5], [2.0]], requires_grad=True)
    how: dict[str, Any] = {"save_at": [0.2, 0.9], "throw": False, "gradient": REINTEGRATED}
    solution = solve(lambda t, x: x**2, 0.0, 1.0, x, **how, **TIGHT)
    assert solution.success.tolist() == [True, False]
    assert solution.final_time[1].item() == pytest.approx(0.5, abs=1e-3)
    assert torch.isfinite(solution.x[:, 0]).all() and torch.isnan(solution.x[:, 1]).all()
    (found,) = torch.autograd.grad(solution.x[:, 0].sum(), x)
    assert found[0].item() == pytest.approx(1 / 0.9**2 + 1 / 0.55**2, rel=1e-5)


def test_a_stiff_field_with_recorded_states() -> None:
    x = torch.tensor([[1.0, 0.5]], requires_grad=True)
    rates = torch.tensor([[1.0, 300.0]], requires_grad=True)
    field = lambda t, x, rates: -rates * (x - torch.cos(t)[:, None])  # noqa: E731
    how: dict[str, Any] = {"method": Rodas5P(), "rtol": 1e-7, "atol": 1e-9}

    def gradients(gradient: Any) -> tuple[Tensor, ...]:
        end = solve(field, 0.0, 1.0, x, rates, gradient=gradient, **how).x
        return torch.autograd.grad(end.sum(), (x, rates))

    for found, truth in zip(gradients(RECORDED), gradients(None), strict=True):
        assert torch.allclose(found, truth, rtol=1e-4, atol=1e-7)


@BOTH
@pytest.mark.parametrize("kind", ["module", "method", "closure", "pytree", "computed", "named"])
def test_parameters_however_they_are_held(kind, adjoint) -> None:
    network, x = Network(), torch.randn(3, 2)
    parameters = list(network.parameters())
    truth = torch.autograd.grad(
        solve(network, 0.0, 1.0, x, method=RK4(), steps=40).x.square().sum(), parameters
    )
    scaled = [2 * p for p in parameters]  # tensors that are themselves computed
    names = [name for name, _ in network.named_parameters()]
    halves = {name: p / 2 for name, p in zip(names, scaled, strict=True)}
    field, start = {
        "module": (network, x),
        "method": (network.forward, x),
        "closure": (lambda t, x: network(t, x), x),
        "pytree": (lambda t, z: {"x": network(t, z["x"])}, {"x": x}),
        "computed": (lambda t, x: torch.func.functional_call(network, halves, (t, x)), x),
        "named": (network, x),
    }[kind]
    if kind == "named":
        adjoint = ContinuousAdjoint(parameters=parameters, record=adjoint.record)
    end = solve(field, 0.0, 1.0, start, gradient=adjoint, **TIGHT).x
    end = end["x"] if kind == "pytree" else end
    for a, b in zip(torch.autograd.grad(end.square().sum(), parameters), truth, strict=True):
        assert (a - b).abs().max() < 1e-6


def test_a_parameter_that_no_end_shows() -> None:
    """A module's parameters are known even where neither the first nor the last value has them."""

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(0.7))

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            active = (t > 0.25) & (t < 0.75)
            return -self.rate * x * active[:, None] if active.any() else 0 * x

    field, x = Late(), torch.ones(1, 1)
    how: dict[str, Any] = {"controller": PI(stops=(0.25, 0.75)), "check_field": False, **TIGHT}
    end = solve(field, 0.0, 1.0, x, gradient=RECORDED, **how).x
    (found,) = torch.autograd.grad(end.sum(), field.rate)
    assert found.item() == pytest.approx(-0.5 * torch.exp(-0.5 * field.rate).item(), rel=1e-6)


@BOTH
def test_the_scale_of_the_loss_does_not_matter(adjoint, pendulum) -> None:
    x, p = torch.randn(3, 2, requires_grad=True), torch.rand(3, 2, requires_grad=True)
    end = solve(pendulum.field, 0.0, 1.5, x, p, gradient=adjoint, rtol=1e-5, atol=1e-5).x
    whole = torch.autograd.grad(end.sum(), (x, p), retain_graph=True)
    # A sample without a gradient of its own costs nothing and gets zeros.
    tiny = torch.autograd.grad(2.0**-60 * end[1:].sum(), (x, p))
    for a, b in zip(whole, tiny, strict=True):
        assert torch.equal(a[1:] * 2.0**-60, b[1:])
        assert torch.equal(b[0], torch.zeros_like(b[0]))


def test_tolerances_of_its_own(pendulum) -> None:
    x, p = torch.randn(3, 2, requires_grad=True), torch.rand(3, 2)
    (truth,) = torch.autograd.grad(solve(pendulum.field, 0.0, 1.5, x, p, **TIGHT).x.sum(), x)

    def error(rtol: float) -> float:
        adjoint = ContinuousAdjoint(rtol=rtol, atol=rtol)
        end = solve(pendulum.field, 0.0, 1.5, x, p, gradient=adjoint, **TIGHT).x
        return float((torch.autograd.grad(end.sum(), x)[0] - truth).abs().max())

    assert error(1e-8) < 1e-7 < error(1e-3) < 1e-1


@BOTH
def test_states_of_every_shape(adjoint, default_dtype) -> None:
    for event in ((), (2, 3), (0,)):
        for batch in (0, 2):
            x = torch.rand(batch, *event, requires_grad=True)
            end = solve(lambda t, x: -x, 0.0, 1.0, x, gradient=adjoint).x
            (found,) = torch.autograd.grad(end.sum(), x)
            assert found.dtype == default_dtype
            assert torch.allclose(found, torch.full_like(x, 0.36787944), atol=1e-4)


# ---------------------------------------------------------------------------- failures


def contracting(t: Tensor, x: Tensor) -> Tensor:
    return -20 * (x - torch.sin(t)[:, None])


def test_a_state_that_is_lost_backwards_is_no_gradient() -> None:
    x = torch.tensor([[0.3], [-0.4]], requires_grad=True)
    start, end = torch.tensor([0.0, 0.0]), torch.tensor([0.1, 3.0])
    how: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    value = solve(contracting, start, end, x, gradient=REINTEGRATED, **how).x
    with pytest.raises(SolveError, match=r"1 of 2 samples was lost, samples \[1\].*record=True"):
        value.sum().backward()
    value = solve(contracting, start, end, x, gradient=REINTEGRATED, throw=False, **how).x
    (found,) = torch.autograd.grad(value.sum(), x)
    assert found[0].item() == pytest.approx(torch.exp(torch.tensor(-2.0)).item(), rel=1e-3)
    assert torch.isnan(found[1])
    value = solve(contracting, start, end, x, gradient=RECORDED, **how).x
    (found,) = torch.autograd.grad(value.sum(), x)
    assert torch.allclose(found[:, 0], torch.exp(-20 * end), rtol=1e-3, atol=1e-5)


@BOTH
def test_a_sample_that_fails_spoils_no_other(adjoint) -> None:
    x = torch.tensor([[0.5], [2.0]], requires_grad=True)
    blow_up = lambda t, x: x**2  # noqa: E731
    solution = solve(blow_up, 0.0, 1.0, x, gradient=adjoint, throw=False, **TIGHT)
    (whole,) = torch.autograd.grad(solution.x.sum(), x, retain_graph=True)
    assert torch.isnan(whole[1])
    (left,) = torch.autograd.grad(solution.final_state[solution.success].sum(), x)
    assert left[:, 0].tolist() == pytest.approx([4.0, 0.0], rel=1e-5)  # 1 / (1 - x)^2


@BOTH
def test_gradients_of_conditions_stay_with_their_samples(adjoint) -> None:
    x, rate = torch.tensor([[0.5], [0.5]]), torch.tensor([[1.0], [2.5]], requires_grad=True)
    scale = torch.ones((), requires_grad=True)
    field = lambda t, x, rate: scale * rate * x**2  # noqa: E731
    solution = solve(field, 0.0, 1.0, x, rate, gradient=adjoint, throw=False, **TIGHT)
    assert solution.success.tolist() == [True, False]
    own, shared = torch.autograd.grad(solution.x.sum(), (rate, scale))
    assert own[0].item() == pytest.approx(0.25 / 0.5**2, rel=1e-5)  # of x / (1 - rate x)
    assert torch.isnan(own[1]) and torch.isnan(shared)


def test_adjoint_without_gradients_is_a_plain_solve(pendulum) -> None:
    x, p = torch.randn(3, 2), torch.rand(3, 2)
    plain = solve(pendulum.field, 0.0, 1.0, x, p)
    leaf = x.clone().requires_grad_()
    with torch.no_grad():
        silent = solve(pendulum.field, 0.0, 1.0, leaf, p, gradient=RECORDED)
    for solution in (solve(pendulum.field, 0.0, 1.0, x, p, gradient=REINTEGRATED), silent):
        assert torch.equal(solution.x, plain.x) and not solution.x.requires_grad
    mapped = torch.func.vmap(
        lambda x: solve(pendulum.field, 0.0, 1.0, x[None], p[:1], gradient=REINTEGRATED).x[0]
    )(x[:1])
    assert torch.allclose(mapped, plain.x[:1])


# ---------------------------------------------------------------------------- refusals


def refusals() -> dict[str, Callable[[], Any]]:
    x, field = torch.ones(2, 1), lambda t, x: -x
    run = lambda x: solve(field, 0.0, 1.0, x, gradient=REINTEGRATED).x  # noqa: E731

    def dual() -> None:
        with forward_ad.dual_level():
            run(forward_ad.make_dual(x, x))

    def twice() -> None:
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(run(leaf).sum(), leaf, create_graph=True)
        assert torch.allclose(first, torch.exp(-torch.ones(())), atol=1e-5)
        first.sum().backward()

    return {
        "jvp": lambda: jvp(run, (x,), (x,)),
        "forward mode": dual,
        "a tangent that the field holds": lambda: jvp(
            lambda k: solve(lambda t, x: -k * x, 0.0, 1.0, x, gradient=REINTEGRATED).x,
            (torch.ones(()),),
            (torch.ones(()),),
        ),
        "vjp": lambda: torch.func.vjp(run, x),
        "jacrev": lambda: torch.func.jacrev(run)(x),
        "vmap of grad": lambda: torch.func.vmap(torch.func.grad(lambda x: run(x[None]).sum()))(x),
        "second derivatives": twice,
    }


@pytest.mark.parametrize("which", list(refusals()))
def test_derivatives_that_would_be_lost_are_refused(which, refused) -> None:
    message, kind = "ContinuousAdjoint .* DiscreteGradient", UnsupportedTransform
    refused(refusals()[which], kind, message, kind)


def test_a_tensor_that_would_get_no_gradient_is_refused(refused) -> None:
    network, x = Network(), torch.randn(3, 2)
    some = ContinuousAdjoint(parameters=[network.inner.weight, network.inner.bias])
    run = lambda adjoint: solve(network, 0.0, 1.0, x, gradient=adjoint)  # noqa: E731
    refused(lambda: run(some), ValueError, "not among parameters, so it would get none")
    network.outer.requires_grad_(False)
    assert run(some).x.requires_grad


def test_options_that_cannot_be_meant(refused) -> None:
    x, field = torch.ones(1, 1), lambda t, x: -x

    def run(gradient: Any, **options: Any) -> Callable[[], Any]:
        return lambda: solve(field, 0.0, 1.0, x, gradient=gradient, **options)

    through = DiscreteGradient(step_sizes=True)
    refused(run("adjoint"), TypeError, "gradient must be flowmaps.solvers.DiscreteGradient")
    refused(run(REINTEGRATED, dense=True), ValueError, "give the times as save_at")
    fixed: dict[str, Any] = {"method": RK4(), "steps": 3}
    refused(run(REINTEGRATED, save_at=[0.5], **fixed), ValueError, "where steps= has no meaning")
    refused(run(through, method=RK4(), steps=3), ValueError, "steps= switches off")
    refused(run(REINTEGRATED, method=TorchDiffEq()), ValueError, "leave gradient out")
    refused(run(through, method=TorchDiffEq()), ValueError, "leave gradient out")
    refused(lambda: ContinuousAdjoint(rtol=0.0), ValueError, "rtol must be a positive")
    refused(lambda: ContinuousAdjoint(parameters=x), TypeError, "a list of tensors")  # type: ignore
    refused(lambda: ContinuousAdjoint(parameters=[x]), TypeError, "require gradients")
    refused(lambda: ContinuousAdjoint(record=1), TypeError, "record must be")  # type: ignore
    refused(lambda: DiscreteGradient(checkpoint=1), TypeError, "True or False")  # type: ignore
    refused(lambda: DiscreteGradient(True, True), ValueError, "choose one")
    assert solve(field, 0.0, 1.0, x, method=TorchDiffEq(), gradient=DiscreteGradient()).success


def test_compiled_code_leaves_the_adjoint_out() -> None:
    x = torch.randn(2, 1, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        how: dict[str, Any] = {"method": RK4(), "steps": 5, "gradient": REINTEGRATED}
        return solve(lambda t, x: -x, 0.0, 1.0, x, **how).x.square().sum()

    compiled = torch.compile(loss, backend="eager")
    (found,), (truth,) = (torch.autograd.grad(run(x), x) for run in (compiled, loss))
    assert torch.allclose(found, truth)
    with pytest.raises(Exception, match="as do those of ContinuousAdjoint"):
        torch.compile(lambda x: loss(x), backend="eager", fullgraph=True)(x)

"""Derivatives in states, times and conditions against the variational equation by DOP853."""

from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from flowmaps.solvers import RK4, Dopri5, TorchDiffEq, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds
vjp: Any = torch.func.vjp

TIGHT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}
OPTIONS: dict[str, dict[str, Any]] = {
    "tsit5": {"method": Tsit5(), **TIGHT},
    "dopri5": {"method": Dopri5(), **TIGHT},
    "rk4": {"method": RK4(), "steps": 40},
}
OURS = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
BOTH = pytest.mark.parametrize(
    "options", [OPTIONS["tsit5"], OPTIONS["rk4"]], ids=["adaptive", "fixed"]
)
TORCHDIFFEQ: dict[str, dict[str, Any]] = {
    "torchdiffeq": {"method": TorchDiffEq("dopri5"), "rtol": 1e-8, "atol": 1e-8},
    "adjoint": {"method": TorchDiffEq("dopri5", adjoint=True), "rtol": 1e-8, "atol": 1e-8},
}
ALL = pytest.mark.parametrize(
    "options", [*OPTIONS.values(), *TORCHDIFFEQ.values()], ids=[*OPTIONS, *TORCHDIFFEQ]
)
ACCURACY = 1e-6


@pytest.fixture
def case(pendulum):
    """Times both ways, states and conditions, with all derivatives stacked over the samples."""
    s, t = torch.tensor([0.0, 1.4, 0.5, 0.9]), torch.tensor([1.4, 0.2, 0.5, 0.7])
    x = torch.tensor([[0.4, 0.0], [1.5, -0.6], [0.1, 0.9], [-2.0, 0.3]])
    p = torch.tensor([[1.0, 0.2], [2.0, -0.3], [0.5, 0.0], [3.0, 0.8]])
    rows = [
        pendulum.derivatives(float(a), float(b), y, q)
        for a, b, y, q in zip(s, t, x, p, strict=True)
    ]
    return (s, t, x, p), [torch.stack(parts) for parts in zip(*rows, strict=True)]


def flow(pendulum, options):
    def run(s: Tensor, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        return solve(pendulum.field, s, t, x, p, **options).x

    return run


def directions(case) -> list[tuple[tuple[Tensor, ...], Tensor]]:
    """Tangents of (s, t, x, p) and the derivative along each."""
    (s, t, x, p), (_, by_x, by_p, by_s, by_t) = case
    zeros = torch.zeros_like(s), torch.zeros_like(t), torch.zeros_like(x), torch.zeros_like(p)
    found = []
    for i, matrices in ((0, by_s), (1, by_t), (2, by_x), (3, by_p)):
        tangent = torch.randn_like(zeros[i])
        image = (
            tangent[:, None] * matrices
            if matrices.ndim == 2
            else (matrices @ tangent[..., None])[..., 0]
        )
        found.append(((*zeros[:i], tangent, *zeros[i + 1 :]), image))
    columns = zip(*(tangents for tangents, _ in found), strict=True)
    together = tuple(torch.stack(column).sum(0) for column in columns)
    return [*found, (together, torch.stack([image for _, image in found]).sum(0))]


@OURS
def test_jvp(options, pendulum, case) -> None:
    primals, (truth, *_) = case
    every = directions(case)
    for tangents, image in every if isinstance(options["method"], Tsit5) else every[-1:]:
        value, tangent = jvp(flow(pendulum, options), primals, tangents)
        assert (value - truth).abs().max() < ACCURACY
        assert (tangent - image).abs().max() < ACCURACY


@BOTH
def test_forward_mode_without_functions(options, pendulum, case) -> None:
    primals, (truth, *_) = case
    tangents, image = directions(case)[-1]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(a, b) for a, b in zip(primals, tangents, strict=True)]
        value, tangent = forward_ad.unpack_dual(flow(pendulum, options)(*duals))
    assert tangent is not None
    assert (value - truth).abs().max() < ACCURACY
    assert (tangent - image).abs().max() < ACCURACY


def pulled_back(case, w: Tensor) -> list[Tensor]:
    """Gradients of sum(w X) in s, t, x, p."""
    _, (_, by_x, by_p, by_s, by_t) = case
    in_times = [(w * rates).sum(1) for rates in (by_s, by_t)]
    return [*in_times, *((matrices.mT @ w[..., None])[..., 0] for matrices in (by_x, by_p))]


@ALL
def test_backward(options, pendulum, case) -> None:
    primals, (truth, *_) = case
    leaves = [a.clone().requires_grad_() for a in primals]
    value = flow(pendulum, options)(*leaves)
    assert (value - truth).abs().max() < ACCURACY
    w = torch.randn_like(value)
    gradients = torch.autograd.grad((w * value).sum(), leaves)
    for found, expected in zip(gradients, pulled_back(case, w), strict=True):
        assert (found - expected).abs().max() < ACCURACY


@pytest.mark.parametrize(
    "options",
    [OPTIONS["tsit5"], OPTIONS["rk4"], TORCHDIFFEQ["adjoint"]],
    ids=["adaptive", "fixed", "adjoint"],
)
@pytest.mark.parametrize("which", range(4), ids=["s", "t", "x", "condition"])
def test_backward_in_one_argument_alone(options, which, pendulum, case) -> None:
    arguments = [a.clone().requires_grad_(i == which) for i, a in enumerate(case[0])]
    value = flow(pendulum, options)(*arguments)
    w = torch.randn_like(value)
    (found,) = torch.autograd.grad((w * value).sum(), arguments[which])
    assert (found - pulled_back(case, w)[which]).abs().max() < ACCURACY


@OURS
def test_vjp_and_grad(options, pendulum, case) -> None:
    primals, (truth, *_) = case
    value, pull = vjp(flow(pendulum, options), *primals)
    assert (value - truth).abs().max() < ACCURACY
    w = torch.randn_like(value)
    expected = pulled_back(case, w)
    for found, image in zip(pull(w), expected, strict=True):
        assert (found - image).abs().max() < ACCURACY

    def weighed(*arguments: Tensor) -> Tensor:
        return (w * flow(pendulum, options)(*arguments)).sum()

    for found, image in zip(
        torch.func.grad(weighed, (0, 1, 2, 3))(*primals), expected, strict=True
    ):
        assert (found - image).abs().max() < ACCURACY


@pytest.mark.parametrize("kind", [torch.func.jacrev, torch.func.jacfwd])
@BOTH
def test_jacobians(options, kind, pendulum, case) -> None:
    primals, (_, by_x, by_p, by_s, by_t) = case
    found = kind(flow(pendulum, options), argnums=(0, 1, 2, 3))(*primals)
    for jacobian, expected in zip(found, (by_s, by_t, by_x, by_p), strict=True):
        for i in range(4):
            for j in range(4):  # samples do not depend on one another
                block = jacobian[i, :, j]
                assert (block - expected[i] * (i == j)).abs().max() < ACCURACY


@pytest.mark.parametrize("kind", [torch.func.jacrev, torch.func.jacfwd])
def test_vmap_of_jacobians(kind, pendulum, case) -> None:
    primals, (_, by_x, by_p, by_s, by_t) = case

    def single(s: Tensor, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        return solve(pendulum.field, s, t, x[None], p[None], **TIGHT).x[0]

    found = torch.func.vmap(kind(single, argnums=(0, 1, 2, 3)))(*primals)
    for jacobian, expected in zip(found, (by_s, by_t, by_x, by_p), strict=True):
        assert (jacobian - expected).abs().max() < ACCURACY


@pytest.mark.parametrize("mapped", [(0, 0, 0, 0), (None, None, 0, None), (None, None, None, 0)])
@BOTH
def test_vmap(options, mapped, pendulum) -> None:
    g = torch.Generator().manual_seed(0)
    arguments = [
        torch.rand(*([3] if axis == 0 else []), *shape, generator=g)
        for axis, shape in zip(mapped, [(2,), (2,), (2, 2), (2, 2)], strict=True)
    ]
    run = flow(pendulum, options)
    whole = torch.func.vmap(run, in_dims=mapped)(*arguments)
    for i in range(3):
        one = run(*(a if axis is None else a[i] for a, axis in zip(arguments, mapped, strict=True)))
        assert torch.allclose(whole[i], one, rtol=1e-12, atol=1e-13)


# ---------------------------------------------------------------------------- second derivatives


def test_jvp_of_jvp(pendulum, central) -> None:
    x, p = torch.tensor([[0.4, 0.1]]), torch.tensor([[2.0, 0.3]])
    v, w = torch.randn(2, 1, 2)

    def run(x: Tensor) -> Tensor:
        return solve(pendulum.field, 0.0, 1.2, x, p, **TIGHT).x

    def along_v(x: Tensor) -> Tensor:
        return jvp(run, (x,), (v,))[1]

    def by_oracle(x: Tensor) -> Tensor:
        return (pendulum.derivatives(0.0, 1.2, x[0], p[0])[1] @ v[0])[None]

    truth = central(by_oracle, x, w)
    _, found = jvp(along_v, (x,), (w,))
    assert (found - truth).abs().max() < 1e-5
    back = vjp(along_v, x)[1](torch.tensor([[1.0, -2.0]]))[0]
    assert (back @ w[0]).item() == pytest.approx(
        (truth @ torch.tensor([1.0, -2.0])).item(), abs=1e-5
    )


@pytest.mark.parametrize("how", ["hessian", "reverse over reverse", "plain", "jacfwd of jacfwd"])
def test_hessians(how, pendulum, central) -> None:
    x, p = torch.tensor([0.4, 0.1]), torch.tensor([[2.0, 0.3]])

    def energy(x: Tensor) -> Tensor:
        return solve(pendulum.field, 0.0, 1.2, x[None], p, rtol=1e-6, atol=1e-6).x.square().sum()

    def slope(x: Tensor) -> Tensor:
        end, by_x, *_ = pendulum.derivatives(0.0, 1.2, x, p[0])
        return 2 * by_x.mT @ end

    truth = torch.stack([central(slope, x, v) for v in torch.eye(2)])
    if how == "hessian":
        found = torch.func.hessian(energy)(x)
    elif how == "reverse over reverse":
        found = torch.func.jacrev(torch.func.jacrev(energy))(x)
    elif how == "jacfwd of jacfwd":
        found = torch.func.jacfwd(torch.func.jacfwd(energy))(x)
    else:
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(energy(leaf), leaf, create_graph=True)
        found = torch.stack([torch.autograd.grad(a, leaf, retain_graph=True)[0] for a in first])
    assert (found - truth).abs().max() < 1e-4


def test_mixed_derivatives_in_time_and_state(pendulum) -> None:
    """d/dt of the Jacobian is Db(t, X) times the Jacobian."""
    s, t, p = torch.zeros(1), torch.tensor([1.1]), torch.tensor([[2.0, 0.3]])
    x, v = torch.tensor([[0.4, 0.1]]), torch.tensor([[1.0, -1.0]])

    def along_v(t: Tensor) -> Tensor:
        run = lambda x: solve(pendulum.field, s, t, x, p, **TIGHT).x  # noqa: E731
        return jvp(run, (x,), (v,))[1]

    _, found = jvp(along_v, (t,), (torch.ones(1),))
    end, by_x, *_ = pendulum.derivatives(0.0, 1.1, x[0], p[0])
    _, truth = jvp(lambda y: pendulum.field(t, y, p), (end[None],), ((by_x @ v[0])[None],))
    assert (found - truth).abs().max() < 1e-6


# ---------------------------------------------------------------------------- contexts


@ALL
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradients_give_values(context, options, pendulum, case) -> None:
    primals, (truth, *_) = case
    leaves = [a.clone().requires_grad_() for a in primals]
    with context():
        value = flow(pendulum, options)(*leaves)
        fresh = flow(pendulum, options)(*[a.clone() for a in primals])
    assert not value.requires_grad
    assert (value - truth).abs().max() < ACCURACY
    assert torch.equal(fresh, value)


def test_detached_arguments_have_no_derivative(pendulum, case) -> None:
    (s, t, x, p), _ = case

    def run(x: Tensor, p: Tensor) -> Tensor:
        return solve(pendulum.field, s, t, x.detach(), p, **TIGHT).x

    value, tangent = jvp(run, (x, p), (torch.ones_like(x), torch.zeros_like(p)))
    assert torch.equal(tangent, torch.zeros_like(value))


def test_forward_mode_works_without_gradients(pendulum, case) -> None:
    primals, _ = case
    tangents, image = directions(case)[-1]
    with torch.no_grad():
        _, tangent = jvp(flow(pendulum, OPTIONS["tsit5"]), primals, tangents)
    assert (tangent - image).abs().max() < ACCURACY


def test_the_grid_is_frozen_for_derivatives_of_parameters_too() -> None:
    """A tangent in the field must not reach the step sizes: forward and reverse mode agree."""
    x = torch.tensor([[1.0]])

    def run(k: Tensor) -> Tensor:
        return solve(lambda t, x: -k * x**3, 0.0, 3.0, x, rtol=1e-2, atol=1e-2).x.sum()

    k = torch.tensor(3.0)
    _, tangent = jvp(run, (k,), (torch.tensor(1.0),))
    assert tangent.item() == pytest.approx(torch.func.grad(run)(k).item(), rel=1e-13)


def test_a_field_may_differentiate_itself(pendulum) -> None:
    """A field made of derivatives, as of a log-density, under an outer derivative."""

    def field(t: Tensor, z: Tensor) -> Tensor:
        x = z[:, :1]
        value, slope = jvp(torch.sin, (x,), (torch.ones_like(x),))
        return torch.cat([value, slope], dim=1)

    z = torch.tensor([[0.5, 0.0], [1.0, 0.2]])
    run = lambda z: solve(field, 0.0, 1.0, z, **TIGHT).x  # noqa: E731
    end, tangent = jvp(run, (z,), (torch.tensor([[1.0, 0.0]]).expand(2, 2),))
    # log dX/dx is the integral of the divergence, cos x.
    assert torch.allclose(tangent[:, 0], torch.exp(end[:, 1] - z[:, 1]), rtol=1e-8)
    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run(leaf)[:, 0].sum(), leaf)
    assert torch.allclose(gradient[:, 0], tangent[:, 0], rtol=1e-9)

"""Derivatives that pass through the step sizes: those of the program, as differences see them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowmaps.solvers import PI, PID, Bosh3, DiscreteGradient, Dop853, I, Rodas5P, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

THROUGH = DiscreteGradient(step_sizes=True)
COARSE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-2}
OPTIONS: dict[str, dict[str, Any]] = {
    "Tsit5": {"method": Tsit5()},
    "Bosh3": {"method": Bosh3(), "controller": PID()},
    "Dop853": {"method": Dop853(), "controller": I()},
    "Rodas5P": {"method": Rodas5P()},
    "shared": {"controller": PI(shared=True)},
    "stops": {"controller": PI(stops=(1.1,))},
    "first step": {"controller": PI(first_step=0.4)},
}
EVERY = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


def field(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
    k, w = condition[:, :1], condition[:, 1:]
    return -k * x**3 + torch.sin(w * t[:, None]) * x.flip(1)


ARGUMENTS = tuple(  # made before the default is float64
    torch.tensor(values, dtype=torch.float64)
    for values in (
        [0.0, 2.5, 0.3],
        [3.0, 1.0, 2.0],
        [[1.0, 0.4], [0.3, -0.2], [0.0, 0.9]],
        [[3.0, 1.0], [0.4, 2.0], [5.0, 3.0]],
    )
)


def slope(run: Any, direction: tuple[Tensor, ...], h: float = 1e-5) -> Tensor:
    """The derivative by central differences of order 4."""

    def at(k: int) -> Tensor:
        moved = (a + k * h * v for a, v in zip(ARGUMENTS, direction, strict=True))
        return run(*moved)

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)


@EVERY
@pytest.mark.parametrize("which", range(4), ids=["s", "t", "x", "condition"])
def test_both_modes_against_differences_of_the_solve_itself(which, options) -> None:
    def run(*arguments: Tensor) -> Tensor:
        return solve(field, *arguments, gradient=THROUGH, **COARSE, **options).x

    direction = tuple(
        torch.randn_like(a) if i == which else torch.zeros_like(a) for i, a in enumerate(ARGUMENTS)
    )
    truth = slope(run, direction)
    _, forward = jvp(run, ARGUMENTS, direction)
    assert (forward - truth).abs().max() < 1e-6
    leaves = [a.clone().requires_grad_() for a in ARGUMENTS]
    w = torch.randn_like(truth)
    gradients = torch.autograd.grad((w * run(*leaves)).sum(), leaves)
    pulled = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True))
    assert abs(pulled - (w * forward).sum()) < 1e-10


@pytest.mark.parametrize("kind", [Tsit5(), Bosh3()], ids=["Tsit5", "Bosh3"])
def test_the_two_kinds_differ_by_what_the_step_sizes_add(kind) -> None:
    s, t, x, condition = ARGUMENTS

    def run(x: Tensor, gradient: DiscreteGradient) -> Tensor:
        return solve(field, s, t, x, condition, method=kind, gradient=gradient, **COARSE).x

    v = torch.ones_like(x)
    frozen = jvp(lambda x: run(x, DiscreteGradient()), (x,), (v,))[1]
    through = jvp(lambda x: run(x, THROUGH), (x,), (v,))[1]
    truth = slope(lambda s, t, x, c: run(x, DiscreteGradient()), (s * 0, t * 0, v, condition * 0))
    assert (through - truth).abs().max() < 1e-6
    assert 1e-5 < (frozen - truth).abs().max() < 0.1


def test_values_and_dense_output_stay_as_they_are() -> None:
    leaves = [a.clone().requires_grad_() for a in ARGUMENTS]
    plain = solve(field, *ARGUMENTS, dense=True, **COARSE)
    through = solve(field, *leaves, gradient=THROUGH, dense=True, **COARSE)
    torch.testing.assert_close(plain.x, through.x.detach(), rtol=1e-12, atol=1e-14)
    assert torch.equal(plain.result, through.result)
    times = torch.stack([0.9 * a + 0.1 * b for a, b in zip(*ARGUMENTS[:2], strict=True)])[None]
    torch.testing.assert_close(plain(times), through(times).detach(), rtol=1e-12, atol=1e-14)

    def row(x: Tensor) -> Tensor:
        arguments = (*ARGUMENTS[:2], x, ARGUMENTS[3])
        return solve(field, *arguments, gradient=THROUGH, save_at=times, **COARSE).x[0]

    v = torch.ones_like(ARGUMENTS[2])
    nothing = [torch.zeros_like(a) for a in ARGUMENTS]
    truth = slope(lambda s, t, x, c: row(x), (nothing[0], nothing[1], v, nothing[3]))
    assert (jvp(row, (ARGUMENTS[2],), (v,))[1] - truth).abs().max() < 1e-5


def test_errors_of_zero_spans_of_zero_and_lost_attempts_give_no_nan() -> None:
    """A constant field, a sample at rest, and a long first step into where a logarithm ends."""

    def rates(t: Tensor, x: Tensor, k: Tensor) -> Tensor:
        constant = torch.stack([torch.ones_like(t), 0 * t], dim=1)
        falling = torch.stack([-k[:, 0] - 0 * torch.log(x[:, 0]), torch.log(x[:, 0])], dim=1)
        return torch.where(k > 0, falling, constant)

    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    t, k = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([[0.0], [1.0], [1.9]])
    x = torch.where(k > 0, x, x + 1)
    leaves = [a.clone().requires_grad_() for a in (torch.zeros(3), t, x, k)]
    how: dict[str, Any] = {"controller": PI(first_step=2.0), "gradient": THROUGH, "rtol": 1e-4}
    # Attempts beyond the zero of x[0] are not finite.
    solution = solve(rates, *leaves, **how)
    assert solution.success.all()
    for gradient in torch.autograd.grad(solution.x.sum(), leaves):
        assert torch.isfinite(gradient).all()
    for which in range(4):
        tangents = tuple(torch.ones_like(a) * (i == which) for i, a in enumerate(leaves))
        primals = tuple(a.detach() for a in leaves)
        _, tangent = jvp(lambda *a: solve(rates, *a, **how).x, primals, tangents)
        assert torch.isfinite(tangent).all()


def test_nested_transforms() -> None:
    """vmap of jvp, and second derivatives, of the program against differences of first ones."""
    s, t, x, condition = (a[:1] for a in ARGUMENTS)

    def run(x: Tensor) -> Tensor:
        return solve(field, s, t, x, condition, gradient=THROUGH, **COARSE).x

    directions = torch.randn(3, *x.shape)
    mapped = torch.func.vmap(lambda v: jvp(run, (x,), (v,))[1])(directions)
    for v, found in zip(directions, mapped, strict=True):
        assert torch.allclose(found, jvp(run, (x,), (v,))[1], rtol=1e-10, atol=1e-12)
    v, w = directions[:2]
    along = lambda x: jvp(run, (x,), (v,))[1]  # noqa: E731
    truth = (along(x + 1e-5 * w) - along(x - 1e-5 * w)) / 2e-5
    assert (jvp(along, (x,), (w,))[1] - truth).abs().max() < 1e-4


@pytest.mark.parametrize("method", [Tsit5(), Dop853(), Rodas5P()])
def test_second_derivatives_in_the_times_of_a_sample_at_rest(method) -> None:
    """Of X_{s,t}(x) = x exp(sin t - sin s) at s = t, beside a sample that moves."""
    x, end = torch.tensor([[1.5], [-1.0]]), torch.tensor([0.5, 1.0])

    def moved(s: Tensor, t: Tensor) -> Tensor:
        field = lambda t, x: torch.cos(t)[:, None] * x  # noqa: E731
        return solve(field, s, t, x, method=method, gradient=THROUGH).x[0, 0]

    start = torch.tensor([0.5, 0.0])
    (ss, st), (ts, tt) = torch.func.hessian(moved, argnums=(0, 1))(start, end)
    sine, cosine = torch.sin(end[0]), torch.cos(end[0])
    expected = [sine + cosine**2, -(cosine**2), -(cosine**2), cosine**2 - sine]
    for found, factor in zip((ss, st, ts, tt), expected, strict=True):
        assert (found[0, 0] - 1.5 * factor).abs() < 1e-10

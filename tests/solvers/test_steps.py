"""One step of every method: pure, in either precision, under transforms, in one graph.

A new method is found here by itself; its orders are measured and proven elsewhere.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import flowmaps as fm
from flowmaps.solvers import Stepper

METHODS: dict[str, Stepper] = {
    name: entry()
    for name, entry in ((name, getattr(fm.solvers, name)) for name in fm.solvers.__all__)
    if isinstance(entry, type)
    and issubclass(entry, Stepper)
    and not inspect.isabstract(entry)
    and entry not in (fm.solvers.ExplicitRungeKutta, fm.solvers.Symplectic, fm.solvers.Rosenbrock)
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
jvp: Any = torch.func.jvp  # whose result has a type of two kinds


@pytest.fixture
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def field(t: Tensor, x: Tensor) -> Tensor:
    """A pendulum in a potential that moves, which every method takes."""
    q, p = x.chunk(2, dim=-1)
    return torch.cat([p, torch.cos(t).to(x)[:, None] - torch.sin(q)], dim=-1)


def arguments() -> tuple[Tensor, ...]:
    t, h = torch.tensor([0.0, 0.4, 1.0]).double(), torch.tensor([0.1, -0.2, 0.0]).double()
    return t, h, torch.tensor([[0.3, 0.1], [-1.0, 0.5], [2.0, -0.7]])


def outcome(method: Stepper, t: Tensor, h: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """The state, the interpolant and whatever estimates there are."""
    step = method.step(field, t, h, x)
    last = field(t + h, step.x) if step.last is None else step.last
    slopes = method.slopes(field, t, h, x, step, last)
    estimates = (step.error, step.coarse_error)
    return step.x, slopes, *(estimate for estimate in estimates if estimate is not None)


def test_all_methods_are_here() -> None:
    assert {"Ralston", "SSPRK3", "Bosh3", "Dop853"} <= set(METHODS)
    assert {"SemiImplicitEuler", "StormerVerlet", "Yoshida4"} <= set(METHODS)


@every_method
def test_single_precision_is_double_precision_rounded(method) -> None:
    t, h, x = arguments()
    double = outcome(method, t, h, x)
    single = outcome(method, t, h, x.float())
    for a, b in zip(single, double, strict=True):
        assert a.dtype == torch.float32 and b.dtype == torch.float64
    # Linear systems and their large coefficients cost a Rosenbrock method some digits.
    worse = 10 if isinstance(method, fm.solvers.Rosenbrock) else 1
    assert torch.allclose(single[0].double(), double[0], rtol=0, atol=worse * 1e-6)
    # The interpolant where it is used: its rises inside the step.
    powers = torch.linspace(0, 1, 9)[:, None] ** torch.arange(1.0, len(double[1]) + 1)
    rises = [torch.einsum("nk,k...->n...", powers, found[1].double()) for found in (single, double)]
    assert torch.allclose(*rises, rtol=0, atol=worse * 2e-5)


@every_method
def test_the_interpolant_leads_from_state_to_state(method) -> None:
    t, h, x = arguments()
    end, slopes, *_ = outcome(method, t, h, x)
    assert torch.allclose(x + h[:, None] * slopes.sum(0), end, rtol=0, atol=1e-13)
    if isinstance(method, fm.solvers.Rosenbrock):  # whose interpolant leaves with another slope
        return
    assert torch.equal(slopes[0][2], field(t, x)[2])  # of a step of length zero
    assert torch.allclose(slopes[0], field(t, x), rtol=0, atol=1e-13)
    factors = torch.arange(1.0, len(slopes) + 1)[:, None, None]
    assert torch.allclose((factors * slopes).sum(0), field(t + h, end), rtol=0, atol=2e-12)
    assert torch.equal(end[2], x[2])


@every_method
def test_a_known_first_value_changes_nothing(method) -> None:
    t, h, x = arguments()
    whole, known = method.step(field, t, h, x), method.step(field, t, h, x, field(t, x))
    assert torch.equal(whole.x, known.x)


@every_method
def test_samples_are_alone(method) -> None:
    t, h, x = arguments()
    whole = outcome(method, t, h, x)
    for i in range(3):
        one = outcome(method, t[i : i + 1], h[i : i + 1], x[i : i + 1])
        assert torch.allclose(one[0][0], whole[0][i], rtol=1e-15, atol=1e-15)
        assert torch.allclose(one[1][:, 0], whole[1][:, i], rtol=1e-12, atol=1e-12)


@every_method
def test_it_passes_vmap(method) -> None:
    t, h, x = arguments()
    stacked = torch.stack([x, 2 * x])
    mapped = torch.func.vmap(lambda y: outcome(method, t, h, y))(stacked)
    for i in range(2):
        for a, b in zip(mapped, outcome(method, t, h, stacked[i]), strict=True):
            assert torch.allclose(a[i], b, rtol=1e-13, atol=1e-13)


@every_method
def test_forward_and_reverse_mode_agree_with_differences(method, central) -> None:
    t, h, x = arguments()
    v, w = torch.randn_like(x), torch.randn_like(x)
    directions = torch.randn_like(t), torch.randn_like(h), v

    def run(*given: Tensor) -> Tensor:
        return method.step(field, *given).x

    def along(a: Tensor) -> Tensor:
        return run(t + a * directions[0], h + a * directions[1], x + a * v)

    _, tangent = jvp(run, (t, h, x), directions)
    truth = central(along, torch.tensor(0.0), torch.tensor(1.0))
    assert torch.allclose(tangent, truth, rtol=0, atol=1e-11)
    _, pull = torch.func.vjp(run, t, h, x)
    gradients = zip(pull(w), directions, strict=True)
    assert sum((g * d).sum() for g, d in gradients).item() == pytest.approx(
        (w * truth).sum().item(), abs=1e-10
    )
    _, second = jvp(lambda a: jvp(run, (t, h, a), directions)[1], (x,), (w,))
    _, swapped = jvp(
        lambda *a: jvp(lambda y: run(*a[:2], y), (a[2],), (w,))[1], (t, h, x), directions
    )
    assert torch.allclose(second, swapped, rtol=0, atol=1e-12)


@every_method
def test_it_is_one_graph(method, fresh) -> None:
    compiled = torch.compile(outcome, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(method, *arguments()), outcome(method, *arguments()), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["Bosh3", "StormerVerlet"])
def test_its_tangent_is_one_graph(name, fresh) -> None:
    t, h, x = arguments()

    def run(x: Tensor) -> tuple[Tensor, ...]:
        step = lambda y: METHODS[name].step(field, t, h, y).x  # noqa: E731
        return jvp(step, (x,), (torch.ones_like(x),))

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(x), run(x), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)

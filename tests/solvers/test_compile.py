"""Fixed steps compile into one graph; adaptive ones run between two, or are refused by name."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.exc import Unsupported

from flowmaps.solvers import RK4, Dopri5, Euler, Heun, Tsit5, solve


def field(t: Tensor, x: Tensor, c: Tensor) -> Tensor:
    return torch.stack([x[:, 1], -c * torch.sin(x[:, 0]) - t * x[:, 1]], dim=1)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Graphs:
    """A backend that counts what it compiles."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *arguments: Any, **options: Any):
        self.count += 1
        return aot_eager(*arguments, **options)


def arguments() -> tuple[Tensor, ...]:
    s, t = torch.tensor([0.0, 0.0, 0.7]), torch.tensor([1.0, -1.0, 0.7])
    return s, t, torch.randn(3, 2), torch.rand(3)


@pytest.mark.parametrize("method", [Euler(), Heun(), RK4(), Tsit5()], ids=repr)
def test_fixed_steps_are_one_graph(method) -> None:
    def run(s: Tensor, t: Tensor, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        solution = solve(field, s, t, x, c, method=method, steps=1)
        return solution.x, solution.result, solution.statistics.evaluations, solution.final_time

    graphs, given = Graphs(), arguments()
    found = torch.compile(run, fullgraph=True, backend=graphs)(*given)
    for a, b in zip(found, run(*given), strict=True):
        assert torch.allclose(a, b, rtol=1e-13)
    assert graphs.count == 1


@pytest.mark.parametrize("kind", ["save_at", "dense", "pytree", "numbers", "module", "float32"])
def test_every_feature_of_fixed_steps_is_one_graph(kind) -> None:
    network = nn.Linear(2, 2)
    options: dict[str, Any] = {"method": Heun(), "steps": 1}

    def run(s: Tensor, t: Tensor, x: Tensor, c: Tensor) -> Tensor:
        if kind == "save_at":
            return solve(field, 0.0, 1.0, x, c, save_at=[0.2, 0.4], **options).x
        if kind == "dense":
            return solve(field, 0.0, 1.0, x, c, dense=True, **options)(0.5)
        if kind == "pytree":
            spring = lambda t, z: {"v": -z["x"], "x": z["v"]}  # noqa: E731
            return solve(spring, s, t, {"x": x, "v": x}, **options).x["x"]
        if kind == "numbers":
            return solve(field, 0, 1.5, x, c, **options).x
        if kind == "module":
            return solve(lambda t, x: network(x), s, t, x, **options).x
        return solve(field, s.float(), t.float(), x.float(), c.float(), **options).x

    graphs, given = Graphs(), arguments()
    with torch.no_grad():
        found = torch.compile(run, fullgraph=True, backend=graphs)(*given)
        assert torch.allclose(found, run(*given), rtol=1e-6)
    assert graphs.count == 1


@pytest.mark.parametrize("kind", ["jvp", "vmap", "grad", "grad of jvp"])
def test_transforms_of_fixed_steps_are_one_graph(kind) -> None:
    s, t, x, c = arguments()
    v = torch.randn_like(x)

    def run(x: Tensor) -> Tensor:
        return solve(field, s, t, x, c, method=Heun(), steps=1).x

    def along(x: Tensor) -> Tensor:
        return torch.func.jvp(run, (x,), (v,))[1]

    transformed = {
        "jvp": along,
        "vmap": lambda x: torch.func.vmap(run)(torch.stack([x, 2 * x])),
        "grad": torch.func.grad(lambda x: run(x).square().sum()),
        "grad of jvp": torch.func.grad(lambda x: along(x).square().sum()),
    }[kind]
    graphs = Graphs()
    found = torch.compile(lambda x: transformed(x), fullgraph=True, backend=graphs)(x)
    assert torch.allclose(found, transformed(x), rtol=1e-12)
    assert graphs.count == 1


def test_backward_through_a_compiled_solve() -> None:
    network, (s, t, x, _) = nn.Linear(2, 2), arguments()

    def loss() -> Tensor:
        return solve(network_field, s, t, x, method=Heun(), steps=1).x.square().sum()

    def network_field(t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(network(x)) * t[:, None]

    graphs = Graphs()
    found = torch.autograd.grad(
        torch.compile(loss, fullgraph=True, backend=graphs)(), list(network.parameters())
    )
    for a, b in zip(found, torch.autograd.grad(loss(), list(network.parameters())), strict=True):
        assert torch.allclose(a, b, rtol=1e-12)
    assert graphs.count == 1


def test_another_batch_and_other_times_need_no_graph_of_their_own() -> None:
    graphs = Graphs()

    def run(s: Tensor, t: Tensor, x: Tensor, c: Tensor) -> Tensor:
        return solve(field, s, t, x, c, method=Euler(), steps=2).x

    compiled = torch.compile(run, fullgraph=True, backend=graphs, dynamic=True)
    counts = []
    for n in (3, 5, 8):
        given = torch.rand(n), torch.rand(n), torch.randn(n, 2), torch.rand(n)
        assert torch.allclose(compiled(*given), run(*given), rtol=1e-12)
        counts.append(graphs.count)
    assert counts == [counts[0]] * 3


def test_a_compiled_solve_does_not_raise_but_reads_nan() -> None:
    s, t, x, c = arguments()
    x[1] = torch.nan
    compiled = torch.compile(
        lambda x: solve(field, s, t, x, c, method=RK4(), steps=2),
        backend="aot_eager",
        fullgraph=True,
    )
    solution = compiled(x)
    assert solution.result.tolist() == [0, 1, 0]
    assert torch.isnan(solution.x).all(1).tolist() == [False, True, False]


# Dynamo looks at .grad of all that goes into a frame with *args, such as the run-time checks have.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("options", [{}, {"rtol": 1e-4, "method": Dopri5()}], ids=repr)
def test_adaptive_steps_run_between_two_graphs(options) -> None:
    s, t, x, c = arguments()

    def run(x: Tensor) -> Tensor:
        return torch.sin(solve(field, s, t, torch.cos(x), c, **options).x) * 2

    graphs = Graphs()
    found = torch.compile(run, backend=graphs)(x)
    assert torch.equal(found, run(x))
    assert graphs.count == 2
    leaf = x.clone().requires_grad_()
    (a,) = torch.autograd.grad(torch.compile(run, backend="aot_eager")(leaf).sum(), leaf)
    (b,) = torch.autograd.grad(run(leaf).sum(), leaf)
    assert torch.allclose(a, b, rtol=1e-12)


def test_adaptive_steps_in_one_graph_are_refused_by_name() -> None:
    s, t, x, c = arguments()
    compiled = torch.compile(
        lambda x: solve(field, s, t, x, c).x, fullgraph=True, backend="aot_eager"
    )
    with pytest.raises(Unsupported, match="flowmaps.solvers: adaptive steps"):
        compiled(x)


def test_a_compiled_field_serves_an_eager_solve() -> None:
    s, t, x, c = arguments()
    compiled = torch.compile(field, backend="aot_eager", dynamic=True)
    assert torch.allclose(solve(compiled, s, t, x, c).x, solve(field, s, t, x, c).x, rtol=1e-12)

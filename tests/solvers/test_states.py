"""States of every shape, structure and precision."""

import math
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from flowmaps.solvers import RK4, Heun, TorchDiffEq, Tsit5, solve

jvp: Any = torch.func.jvp  # whose result has a type of two kinds

OPTIONS = [{}, {"method": RK4(), "steps": 20}]
each_way = pytest.mark.parametrize("options", OPTIONS, ids=["adaptive", "fixed"])
Pair = namedtuple("Pair", ["position", "velocity"])


@each_way
@pytest.mark.parametrize("event", [(), (1,), (2,), (3, 8, 8), (0,), (2, 0)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_shapes(options, event, batch, default_dtype) -> None:
    x = torch.randn(batch, *event)
    t = torch.linspace(-1, 1, batch)
    solution = solve(lambda t, x: -x, 0.0, t, x, dense=True, **options)
    truth = x * torch.exp(-t).reshape(-1, *[1] * len(event))
    assert solution.x.shape == x.shape
    assert solution.x.dtype == default_dtype
    assert torch.allclose(solution.x, truth, atol=1e-5)
    assert solution.result.shape == solution.final_time.shape == (batch,)
    assert solution.final_time.dtype == torch.float64
    assert solution(0.0).shape == x.shape
    assert solution([0.0, 0.0]).shape == (2, *x.shape)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(solve(lambda t, x: -x, 0.0, t, leaf, **options).x.sum(), leaf)
    assert gradient.shape == x.shape


def spring(t: Tensor, state):
    """x' = v, v' = -x in any structure of two parts."""
    (x, v), structure = pytree.tree_flatten(state)
    return pytree.tree_unflatten([v, -x], structure)


STRUCTURES = {
    "dict": lambda x, v: {"x": x, "v": v},
    "ordered": lambda x, v: OrderedDict(x=x, v=v),
    "tuple": lambda x, v: (x, v),
    "list": lambda x, v: [x, v],
    "named": Pair,
    "nested": lambda x, v: {"all": [(x,), {"v": v}]},
}


@each_way
@pytest.mark.parametrize("kind", STRUCTURES)
def test_structures(kind, options) -> None:
    x, v = torch.randn(2, 3, 2, 2)
    state = STRUCTURES[kind](x, v)
    solution = solve(spring, 0.0, 1.0, state, dense=True, **options)
    c, s = math.cos(1), math.sin(1)
    truth = STRUCTURES[kind](c * x + s * v, c * v - s * x)
    assert pytree.tree_structure(solution.x) == pytree.tree_structure(state)
    assert pytree.tree_structure(solution.final_state) == pytree.tree_structure(state)
    for found, expected in zip(*map(pytree.tree_leaves, (solution.x, truth)), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
    many = solution([0.0, 0.5, 1.0])
    saved = solve(spring, 0.0, 1.0, state, save_at=[0.0, 0.5, 1.0], **options).x
    for path, same, end in zip(*map(pytree.tree_leaves, (many, saved, solution.x)), strict=True):
        assert path.shape == (3, 3, 2, 2)
        assert torch.equal(path, same)
        assert torch.allclose(path[-1], end)


def test_leaves_may_differ_in_shape() -> None:
    state = {"image": torch.randn(4, 3, 5), "mass": torch.rand(4), "none": torch.zeros(4, 0)}
    found = solve(lambda t, z: {k: -v for k, v in z.items()}, 0.0, 1.0, state).x
    for name, leaf in state.items():
        assert found[name].shape == leaf.shape
        assert torch.allclose(found[name], leaf * math.exp(-1), atol=1e-5)


def test_a_structure_is_solved_like_one_tensor() -> None:
    x, v = torch.randn(2, 3, 2)
    whole = solve(lambda t, z: torch.cat([z[:, 2:], -z[:, :2]], dim=1), 0, 1, torch.cat([x, v], 1))
    parts = solve(lambda t, z: {"x": z["v"], "v": -z["x"]}, 0.0, 1.0, {"x": x, "v": v})
    assert torch.equal(torch.cat([parts.x["x"], parts.x["v"]], dim=1), whole.x)


def test_the_order_of_keys_does_not_matter() -> None:
    state = {"x": torch.ones(2, 1), "v": torch.zeros(2, 1)}
    field = lambda t, z: {"v": -z["x"], "x": z["v"]}  # the other way round  # noqa: E731
    found = solve(field, 0.0, 1.0, state).x
    assert list(found) == ["x", "v"]
    assert found["x"].flatten().tolist() == pytest.approx([math.cos(1)] * 2, abs=1e-5)


def test_structures_pass_derivatives() -> None:
    x, v = torch.randn(2, 3, 2)

    def run(x: Tensor, v: Tensor) -> Tensor:
        return solve(spring, 0.0, 1.0, {"x": x, "v": v}, rtol=1e-9, atol=1e-9).x["x"]

    _, tangent = jvp(run, (x, v), (torch.ones_like(x), torch.zeros_like(v)))
    assert torch.allclose(tangent, torch.full_like(x, math.cos(1)))
    gradients = torch.func.grad(lambda x, v: run(x, v).sum(), (0, 1))(x, v)
    assert torch.allclose(gradients[1], torch.full_like(x, math.sin(1)))


@each_way
def test_conditions_may_have_any_structure(options) -> None:
    condition = {"rate": torch.rand(3, 1), "more": [torch.arange(3), None, torch.ones(3, 2) > 0]}

    def field(t: Tensor, x: Tensor, c) -> Tensor:
        assert c["more"][1] is None
        assert c["more"][2].all()
        return -c["rate"] * x + c["more"][0][:, None]

    solution = solve(field, 0.0, 1.0, torch.ones(3, 2), condition, **options)
    k = condition["rate"]
    steady = torch.arange(3)[:, None] / k
    assert torch.allclose(solution.x, steady + (1 - steady) * torch.exp(-k), atol=1e-5)


# ---------------------------------------------------------------------------- precision


def test_times_reach_the_field_in_the_dtype_of_the_state(default_dtype) -> None:
    seen = set()

    def field(t: Tensor, x: Tensor) -> Tensor:
        seen.add((t.dtype, tuple(t.shape)))
        return t[:, None] * x

    solve(field, torch.zeros(3, dtype=torch.float64), 1.0, torch.ones(3, 2), check_field=False)
    assert seen == {(default_dtype, (3,))}


@pytest.mark.parametrize("method", [Tsit5(), Heun(), TorchDiffEq()], ids=repr)
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-12])
def test_single_precision_takes_any_tolerance(method, rtol) -> None:
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float32)
    if isinstance(method, Heun):
        rtol = max(rtol, 1e-4)
    solution = solve(
        lambda t, x: torch.stack([-x[:, 1], x[:, 0]], dim=1),
        0.0,
        3.0,
        x,
        method=method,
        rtol=max(rtol, 1e-6) if isinstance(method, TorchDiffEq) else rtol,
        atol=1e-7,
    )
    assert solution.x.dtype == torch.float32
    truth = [math.cos(3), math.sin(3)]
    assert solution.x[0].tolist() == pytest.approx(truth, abs=max(10 * rtol, 1e-5))
    assert solution.statistics.steps.item() < 2000


def test_single_precision_keeps_to_clocks_in_double_precision() -> None:
    s = torch.tensor([1e6, 1e6 + 1e-4], dtype=torch.float64)  # one number in single precision
    x = torch.zeros(2, 1, dtype=torch.float32)
    solution = solve(lambda t, x: torch.ones_like(x), s, 1e6 + 2e-4, x)
    assert solution.x.flatten().tolist() == pytest.approx([2e-4, 1e-4], rel=1e-4)


def test_the_tolerance_has_a_floor_of_ten_roundings() -> None:
    x = torch.ones(1, 1, dtype=torch.float32)
    floor = 10 * torch.finfo(torch.float32).eps
    a, b = (solve(lambda t, x: -x, 0.0, 1.0, x, rtol=r, atol=0.0) for r in (1e-30, floor))
    assert torch.equal(a.x, b.x)
    assert a.statistics.steps == b.statistics.steps


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_states_of_any_size(scale) -> None:
    solution = solve(lambda t, x: -x, 0.0, 1.0, torch.full((1, 2), scale), atol=0.0)
    assert solution.x[0].tolist() == pytest.approx([scale * math.exp(-1)] * 2, rel=1e-5)


def test_strides_do_not_matter() -> None:
    x = torch.randn(2, 8, 8, 3)
    field = lambda t, x: -x + torch.sin(x)  # noqa: E731
    a = solve(field, 0.0, 1.0, x.permute(0, 3, 1, 2)).x
    b = solve(field, 0.0, 1.0, x.permute(0, 3, 1, 2).contiguous()).x
    assert torch.allclose(a, b, rtol=1e-12)
    one = torch.randn(1, 3)
    assert torch.equal(
        solve(field, 0.0, 1.0, one.expand(4, 3)).x, solve(field, 0.0, 1.0, one.repeat(4, 1)).x
    )


def test_what_was_handed_in_is_left_alone() -> None:
    x, s, t, c = torch.randn(3, 2), torch.zeros(3), torch.ones(3), torch.rand(3, 2)
    before = [a.clone() for a in (x, s, t, c)]
    solution = solve(lambda t, x, c: -c * x, s, t, x, c, dense=True)
    solution(0.5)
    for a, b in zip((x, s, t, c), before, strict=True):
        assert torch.equal(a, b)
    again = solve(lambda t, x: x, 0.5, 0.5, x)  # nothing to do, and still not the same memory
    again.x.zero_()
    assert torch.equal(x, before[0])


OUTPUTS: list[dict[str, Any]] = [
    {},
    {"dense": True},
    {"save_at": [0.0, 0.5]},
    {"global_error": True},
]


@pytest.mark.parametrize("steps", [{}, {"method": RK4(), "steps": 3}], ids=["adaptive", "fixed"])
@pytest.mark.parametrize("options", OUTPUTS, ids=repr)
def test_the_meta_device_tells_shapes(options, steps) -> None:
    x = torch.ones(3, 2)
    shapes = []
    for state in (x, x.to("meta")):
        found = solve(lambda t, x: -x, 0.0, 1.0, state, **options, **steps)
        read = found([0.1, 0.9]) if found.dense is not None else found.x
        assert found.x.device == state.device
        shapes.append((found.x.shape, read.shape, found.final_state.shape))
    assert shapes[0] == shapes[1]

"""``compile=``: the march as one loop outside Python gives what the loop in Python gives."""

import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import flowmaps as fm
from flowmaps.solvers import (
    PI,
    PID,
    Controller,
    DiscreteGradient,
    Dopri5,
    Heun,
    I,
    Result,
    Solution,
    Step,
    solve,
)
from flowmaps.solvers._columns import TakenApart, apart, together

FEW: dict[str, Any] = {"method": Heun(), "rtol": 1e-2, "atol": 1e-3, "compile": "eager"}
"""Few operations to trace and few steps to run."""


def van_der_pol(t: Tensor, x: Tensor, mu: Tensor) -> Tensor:
    return torch.stack([x[:, 1], mu * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], dim=1)


def lorenz(t: Tensor, x: Tensor) -> Tensor:
    a, b, c = x.unbind(-1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=-1)


def swing(t: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x[:, 1:], -torch.sin(x[:, :1]) + 0.1 * torch.cos(t)[:, None]], dim=1)


def shear(t: Tensor, x: Tensor) -> Tensor:
    return x.flip(1) @ torch.tensor([[0.0, 1.0], [-1.0, 0.3]], dtype=x.dtype)


def mean_field(t: Tensor, x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True) - x * x.square().sum(-1, keepdim=True).sqrt()


def scalar(t: Tensor, x: Tensor) -> Tensor:
    return torch.where(x > 0, -x, -torch.sin(x)) + torch.sin(t)


def image(t: Tensor, x: Tensor) -> Tensor:
    return -x * torch.arange(1.0, 7.0, dtype=x.dtype).reshape(2, 3) * (1 + t)[:, None, None]


torch.manual_seed(0)
NETWORK = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double().requires_grad_(False)


def network(t: Tensor, x: Tensor) -> Tensor:
    return NETWORK(torch.cat([x, t[:, None]], dim=1))


SHIFT = torch.tensor([0.5], dtype=torch.float64)


def counting(t: Tensor, x: Tensor) -> Tensor:
    shift = SHIFT.unsqueeze(1).expand(len(x), 1)
    few = torch.frexp(x)[0] * (x > 0).sum(1, keepdim=True) * x.any(1, keepdim=True)
    return torch.cat([few[:, 1:], shift - x[:, :1] * (x > 0).to(torch.int8)[:, :1]], 1)


def wide(t: Tensor, x: Tensor) -> Tensor:
    return torch.roll(x, 1, 1) - x


FIELDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "lorenz": (lorenz, (3,)),
    "shear": (shear, (2,)),
    "mean field": (mean_field, (4,)),
    "scalar": (scalar, ()),
    "image": (image, (2, 3)),
    "network": (network, (2,)),
    "wide": (wide, (20,)),
    "counting": (counting, (2,)),
}


def same(a: Solution, b: Solution, tolerance: float = 1e-6) -> None:
    """Equal but for rounding, which may move a step's length by a little."""
    assert torch.equal(a.result, b.result)
    assert torch.allclose(a.statistics.steps.double(), b.statistics.steps.double(), 0.2, 2.0)
    assert torch.allclose(a.x, b.x, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", FIELDS)
def test_every_kind_of_state_and_field(name: str) -> None:
    field, event = FIELDS[name]
    x = torch.rand(5, *event)
    s, t = torch.linspace(-1, 0.5, 5), torch.tensor([0.5, 1.0, 0.75, 0.125, 0.5])
    same(solve(field, s, t, x, **FEW), solve(field, s, t, x, **FEW | {"compile": False}))


@pytest.mark.parametrize("controller", [I(), PI(), PID(), PI(shared=True), PI(stops=(0.5, 1.5))])
def test_every_controller(controller: Any) -> None:
    x = torch.randn(4, 2)
    options = FEW | {"controller": controller}
    same(
        solve(swing, 0.0, 2.0, x, **options),
        solve(swing, 0.0, 2.0, x, **options | {"compile": False}),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 70])
def test_batches_shrink_as_samples_finish(batch: int, dtype: torch.dtype) -> None:
    mu = torch.logspace(-1, 0.7, batch, dtype=dtype)
    x = torch.tensor([2.0, 0.0], dtype=dtype).expand(batch, 2)
    options = FEW
    found = solve(van_der_pol, 0.0, 2.0, x, mu, **options)
    assert found.x.dtype == dtype and found.success.all()
    same(found, solve(van_der_pol, 0.0, 2.0, x, mu, **options | {"compile": False}), 1e-3)


def test_one_compilation_serves_all_larger_batches_and_tolerances() -> None:
    def field(t: Tensor, x: Tensor) -> Tensor:
        return -x

    counter = torch._dynamo.utils.counters
    solve(field, 0.0, 1.0, torch.ones(3, 2), **FEW)
    before = counter["stats"]["unique_graphs"]
    for batch in (2, 7, 100, 513):
        for tolerance in (1e-1, 1e-2):
            x = torch.ones(batch, 2)
            found = solve(field, 0.0, 1.0, x, **FEW | {"rtol": tolerance})
            assert found.x[0, 0].item() == pytest.approx(math.exp(-1), rel=10 * tolerance)
    assert counter["stats"]["unique_graphs"] == before


def test_many_fields_do_not_exhaust_the_compiler() -> None:
    for rate in range(9):  # torch's limit for one piece of code is 8
        found = solve(lambda t, x, rate=rate: -rate * x, 0.0, 0.1, torch.ones(2, 1), **FEW)
        assert found.x[0, 0].item() == pytest.approx(math.exp(-0.1 * rate), rel=1e-2)


def test_what_a_field_holds_is_seen_when_it_changes() -> None:
    class Field:
        rate = 1.0
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, t: Tensor, x: Tensor) -> Tensor:
            return -self.rate * x

    field = Field()
    for rate in (1.0, 2.0, 0.5):
        field.rate = rate
        found = solve(field, 0.0, 0.1, torch.ones(2, 1), **FEW)
        assert found.x[0, 0].item() == pytest.approx(math.exp(-0.1 * rate), rel=1e-2)


class Decay:
    """A field that is equal to all of its kind."""

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return -self.rate * x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decay)

    def __hash__(self) -> int:
        return 1


class Wary(Heun):
    """A method with an argument that it does not tell."""

    def __init__(self, factor: float):
        self.factor = factor

    def step(self, field: Any, t: Tensor, h: Tensor, x: Tensor, first: Any = None) -> Step:
        step = super().step(field, t, h, x, first)
        assert step.error is not None
        return replace(step, error=self.factor * step.error)


class Bold(Controller):
    """A controller with an argument that is no field of a dataclass."""

    def __init__(self, power: float):
        super().__init__()
        object.__setattr__(self, "power", power)

    def raw_factor(self, ratio: Tensor, previous: Tensor, earlier: Tensor, order: int) -> Tensor:
        return torch.exp(-self.power * torch.log(ratio) / order)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("field", lambda k: Decay(10.0 * k)),
        ("method", lambda k: Wary(100.0**k)),
        ("controller", lambda k: Bold(0.1 + 0.9 * k)),
    ],
)
def test_what_is_equal_or_of_one_type_may_differ(name: str, make: Any) -> None:
    x = torch.ones(2, 1)
    for which in (make(0), make(1)):
        runs = []
        for compile in ("eager", False):
            options = FEW | {"compile": compile, "save_at": [0.5], "field": Decay(3.0)}
            runs.append(solve(s=0.0, t=1.0, x=x, **options | {name: which}))
        same(*runs)


def test_fields_are_freed() -> None:
    net = nn.Linear(2, 2).requires_grad_(False)
    known = weakref.ref(net)
    solve(lambda t, x: net(x), 0.0, 0.1, torch.ones(2, 2), **FEW)
    del net
    gc.collect()
    assert known() is None


def test_more_values_than_torch_compiles_for() -> None:
    class Staged(nn.Module):
        stage = 0

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return -[1.0, 2.0, 3.0, 4.0][self.stage] * x

    field, x = Staged(), torch.ones(2, 1)

    def check(stage: int) -> None:
        field.stage = stage
        end = solve(field, 0.0, 0.1, x, **FEW).x[0, 0].item()
        assert end == pytest.approx(math.exp(-0.1 * (stage + 1)), rel=1e-2)

    with torch._dynamo.config.patch(recompile_limit=2):
        check(0)
        check(1)
        with pytest.warns(UserWarning, match="more values than torch compiles for"):
            check(2)
        for stage in (3, 0, 2, 1):  # without another warning
            check(stage)


def test_what_cannot_be_taken_apart_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no columns")

    monkeypatch.setattr(TakenApart, "run_node", fail)
    x = torch.randn(3, 2)
    found = solve(lambda t, x: swing(t, x), 0.0, 2.0, x, **FEW)
    same(found, solve(swing, 0.0, 2.0, x, **FEW | {"compile": False}))


def test_conditions_of_any_structure_and_pytree_states() -> None:
    condition = {"rate": torch.tensor([1.0, 2.0, 3.0]), "none": None}
    x = {"a": torch.ones(3, 2), "b": torch.ones(3)}

    def field(t: Tensor, x: dict[str, Tensor], condition: dict[str, Any]) -> dict[str, Tensor]:
        return {"a": -condition["rate"][:, None] * x["a"], "b": x["b"]}

    found = solve(field, 0.0, 1.0, x, condition, **FEW)
    assert torch.allclose(found.x["a"][:, 0], torch.exp(-condition["rate"]), rtol=0.1)
    assert torch.allclose(found.x["b"], torch.full((3,), math.e), rtol=0.1)


def test_one_field_serves_conditions_of_several_structures() -> None:
    def field(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        rate = torch.ones_like(t) if condition is None else sum(condition.values())
        return -rate[:, None] * x

    x, one = torch.ones(2, 1), torch.ones(2)
    for condition, rate in ((None, 1), ({"a": one}, 1), ({"a": one, "b": one}, 2)):
        found = solve(field, 0.0, 0.1, x, condition, **FEW)
        assert found.x[0, 0].item() == pytest.approx(math.exp(-0.1 * rate), rel=1e-3)


def test_tangents_of_what_a_field_holds_are_not_lost() -> None:
    with torch.autograd.forward_ad.dual_level():
        k = torch.autograd.forward_ad.make_dual(torch.tensor(2.0), torch.tensor(1.0))
        end = solve(lambda t, x: -k * x, 0.0, 1.0, torch.ones(1, 1), compile="eager").x
        tangent = torch.autograd.forward_ad.unpack_dual(end).tangent
    assert tangent.item() == pytest.approx(-math.exp(-2), rel=1e-4)


def test_inside_compiled_code_a_solve_is_compiled_apart() -> None:
    def end(x: Tensor) -> Tensor:
        return 2 * solve(lambda t, x: -x, 0.0, 1.0, x, **FEW).x

    found = torch.compile(end, backend="eager")(torch.ones(2, 1))
    assert found[0].item() == pytest.approx(2 * math.exp(-1), rel=1e-2)


def test_failures_stay_alone() -> None:
    x = torch.tensor([[1.0], [-1.0], [math.nan]])
    found = solve(lambda t, x: x**2, 0.0, 2.0, x, **FEW, throw=False)
    first, *others = found.result.tolist()  # rounding tells which way a pole is met
    assert first in (Result.STEP_TOO_SMALL, Result.NOT_FINITE)
    assert others == [Result.SUCCESS, Result.NOT_FINITE]
    assert found.x[1].item() == pytest.approx(-1 / 3, rel=1e-2)


def test_recorded_and_differentiated_solves_are_as_without() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    times = [0.0, 0.3, 2.0]
    found, plain = (
        solve(swing, 0.0, 2.0, x, **FEW | {"compile": compile}, save_at=times)
        for compile in ("eager", False)
    )
    assert torch.allclose(found.x, plain.x, rtol=1e-8)
    (a,), (b,) = (torch.autograd.grad(run.x[-1].sum(), x) for run in (found, plain))
    assert torch.allclose(a, b, rtol=1e-6)
    point, along = (x.detach(),), (torch.ones_like(x),)
    _, a = torch.func.jvp(lambda y: solve(swing, 0.0, 2.0, y, **FEW).x, point, along)
    plain = FEW | {"compile": False}
    _, b = torch.func.jvp(lambda y: solve(swing, 0.0, 2.0, y, **plain).x, point, along)
    assert torch.equal(a, b)


def test_derivatives_through_step_sizes_are_as_without() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    options = FEW | {"gradient": DiscreteGradient(step_sizes=True)}
    ends = [solve(swing, 0.0, 1.0, x, **options | {"compile": c}).x for c in ("eager", False)]
    a, b = (torch.autograd.grad(end.sum(), x)[0] for end in ends)
    assert torch.equal(a, b)


def test_a_solver_map_takes_it_too() -> None:
    x = torch.randn(4, 2)
    flow_map = fm.maps.SolverFlowMap(swing, **FEW)
    plain = fm.maps.SolverFlowMap(swing, **FEW | {"compile": False})
    assert torch.allclose(flow_map(0.0, 1.0, x), plain(0.0, 1.0, x), rtol=1e-9)
    assert "compile" in flow_map.config()


@pytest.mark.parametrize("compile", [3, None, "no such backend", ""])
def test_what_is_no_backend_is_refused(compile: Any, refused: Any) -> None:
    x = torch.ones(1, 1)
    error = ValueError if isinstance(compile, str) else TypeError
    refused(lambda: solve(lambda t, x: -x, 0.0, 1.0, x, compile=compile), error, "compile must be")


def test_inductor_gives_the_same() -> None:
    mu = torch.logspace(-1, 1, 100)
    x = torch.tensor([2.0, 0.0]).expand(100, 2)
    options = FEW | {"compile": True, "method": Dopri5()}
    plain = solve(van_der_pol, 0.0, 2.0, x, mu, **options | {"compile": False})
    same(solve(van_der_pol, 0.0, 2.0, x, mu, **options), plain, 1e-7)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_columns_are_what_the_whole_is(batch: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, t = torch.randn(batch, width, generator=generator), torch.randn(batch, generator=generator)

    def function(x: Tensor, t: Tensor) -> list[Tensor]:
        first, *_ = x.unbind(1)
        h = t.reshape(-1, 1)
        inside = torch.where(x > 0, x * h, x / (1 + h.abs()))
        both = torch.cat([inside, x[:, :1], x[..., -1:].expand(batch, 2)], dim=-1)
        row = torch.arange(float(both.shape[1]))
        return [
            inside,
            both * row + row[None],
            torch.stack([first, t], dim=-1),
            x.flatten(1).square().mean(1).sqrt(),
            torch.isfinite(x).all(1) | (x > 1).any(-1),
            x @ x.mT,
            (x.sum(1, keepdim=True) + t[:, None]).squeeze(1),
        ]

    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(function)(x, t)
    found = [together(part) for part in TakenApart(graph).run(apart(x), t)]
    for a, b in zip(found, function(x, t), strict=True):
        assert a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-12)

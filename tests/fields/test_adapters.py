"""Adapters and combinators of fields: laws, conditions, derivatives."""

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.testing import assert_close

import flowmaps as fm

fields, maps, calculus = fm.fields, fm.maps, fm.calculus
Field = Callable[..., Tensor]

# ---------------------------------------------------------------------------- a field with its flow
# dx/dt = rate * c'(t) (1 - x^2) with c(t) = t + t^2 / 2: nonlinear, in time and condition.


def growth(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    return rate(condition) * (1 + t[:, None]) * (1 - x**2)


def rate(condition: Any) -> Any:
    return 0.5 if condition is None else condition["rate"]


def grown(s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    clock = (t + t**2 / 2 - s - s**2 / 2)[:, None]
    return torch.tanh(torch.atanh(x) + rate(condition) * clock)


def one_growth(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    """The same for one sample, t () and x (dim,)."""
    assert t.ndim == 0 and x.shape == (2,)
    return rate(condition) * (1 + t) * (1 - x**2)


def growth_at_one_time(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    """The same for a batch at one time."""
    assert t.ndim == 0 and x.ndim == 2
    return rate(condition) * (1 + t) * (1 - x**2)


def mixing(t: Tensor, x: Tensor) -> Tensor:
    """A field that couples the components."""
    return torch.stack([torch.sin(x[:, 1]) * t, x[:, 0] * x[:, 1] - t], dim=1)


numbers = st.floats(-2.0, 2.0).map(lambda a: round(a, 3))
units = st.floats(0.1, 3.0).map(lambda a: round(a, 3))
signed = st.tuples(units, st.sampled_from([-1.0, 1.0])).map(math.prod)


@st.composite
def points(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Draw times s and t (batch,), states (batch, 2) in (-1, 1) and a condition or None."""
    batch = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    s, t = 2 * torch.rand(2, batch, generator=generator) - 1
    x = 1.6 * torch.rand(batch, 2, generator=generator) - 0.8
    condition = {"rate": 0.2 + torch.rand(batch, 1, generator=generator), "unused": None}
    return s, t, x, draw(st.sampled_from([None, condition]))


def value(field: Field, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    return field(t, x) if condition is None else field(t, x, condition)


def solve(field: Field, s: Tensor, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
    return maps.SolverFlowMap(field, rtol=1e-9, atol=1e-10)(s, t, x, condition)


def close(a: Tensor, b: Tensor) -> None:
    assert_close(a, b, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------------------- adapters

ADAPTED = {
    "per_sample": fields.per_sample(one_growth),
    "scalar_time": fields.scalar_time(growth_at_one_time),
}


@pytest.mark.parametrize("name", ADAPTED)
@given(points())
def test_an_adapted_field_is_the_field(name: str, drawn: tuple) -> None:
    _, t, x, condition = drawn
    close(value(ADAPTED[name], t, x, condition), value(growth, t, x, condition))


def test_a_field_for_one_time_may_have_a_tree_for_its_state() -> None:
    def turning(t: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return t * x[1], -t * x[0].sum(1, keepdim=True)

    field, t = fields.scalar_time(turning), torch.tensor([1.0, 2.0, 3.0])
    q, p = torch.randn(3, 1), torch.randn(3, 1)
    found = field(t, (q, p))
    close(found[0], t[:, None] * p)
    close(found[1], -t[:, None] * q)
    assert [part.shape for part in field(t[:0], (q[:0], p[:0]))] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("name", ADAPTED)
@given(points())
def test_derivatives_pass_an_adapter(name: str, drawn: tuple) -> None:
    _, t, x, condition = drawn
    adapted = ADAPTED[name]
    for ours, theirs in zip(
        derivatives(adapted, t, x, condition),
        derivatives(growth, t, x, condition),
        strict=True,
    ):
        close(ours, theirs)
    jacobian = calculus.field_jacobian(adapted, t, x, condition)
    close(jacobian, calculus.field_jacobian(growth, t, x, condition))
    # Second derivatives, forward over reverse.
    second = torch.func.jacfwd(torch.func.jacrev(lambda x: value(adapted, t, x, condition).sum()))
    expected = torch.func.hessian(lambda x: value(growth, t, x, condition).sum())
    close(second(x), expected(x))


def derivatives(field: Field, t: Tensor, x: Tensor, condition: Any) -> list[Tensor]:
    """Tangents in time, state and condition, and gradients in state and time."""
    dx = torch.cos(torch.arange(float(x.numel()))).reshape(x.shape)
    dt = torch.linspace(-1.0, 1.0, len(t))

    def jvp(function: Callable, primals: tuple, tangents: tuple) -> Tensor:
        return torch.func.jvp(function, primals, tangents)[1]

    found = [
        jvp(lambda t: value(field, t, x, condition), (t,), (dt,)),
        jvp(lambda x: value(field, t, x, condition), (x,), (dx,)),
    ]
    if condition is not None:
        spread = condition["rate"]
        found.append(
            jvp(lambda r: value(field, t, x, {**condition, "rate": r}), (spread,), (spread,))
        )
    live = t.clone().requires_grad_(), x.clone().requires_grad_()
    found += torch.autograd.grad((value(field, *live, condition) * dx).sum(), live)
    return found


@pytest.mark.parametrize("name", ADAPTED)
def test_an_adapted_field_is_solved_at_each_samples_own_time(name: str) -> None:
    s, t = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, -0.5, 1.0])
    x = torch.tensor([[0.1, -0.3], [0.4, 0.2], [-0.5, 0.0]])
    condition = {"rate": torch.tensor([[0.3], [0.6], [0.9]]), "unused": None}
    y = solve(ADAPTED[name], s, t, x, condition)
    assert_close(y, grown(s, t, x, condition), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ADAPTED)
def test_an_adapter_takes_no_samples_and_other_dtypes(name: str) -> None:
    adapted = ADAPTED[name]
    assert adapted(torch.zeros(0), torch.zeros(0, 2)).shape == (0, 2)
    for dtype in (torch.float32, torch.bfloat16):
        assert adapted(torch.zeros(3, dtype=dtype), torch.zeros(3, 2, dtype=dtype)).dtype == dtype


def test_an_adapter_takes_labels_and_pytrees() -> None:
    def steered(t: Tensor, x: Tensor, condition: Any) -> Tensor:
        table, (label, scale) = torch.tensor([-1.0, 2.0]), condition
        return table[label] * scale * x

    x, label, scale = torch.ones(2, 1), torch.tensor([1, 0]), torch.tensor([3.0, 5.0])
    field = fields.per_sample(steered)
    assert field(torch.zeros(2), x, (label, scale)).tolist() == [[6.0], [-5.0]]


def test_an_adapter_is_mapped_over() -> None:
    t, x = torch.tensor([0.0, 0.5, 1.0]), torch.rand(4, 3, 2)
    for adapted in ADAPTED.values():
        close(
            torch.func.vmap(lambda x, f=adapted: f(t, x))(x),
            torch.stack([growth(t, one) for one in x]),
        )


# ---------------------------------------------------------------------------- time reversed


@given(points(), numbers)
def test_reversing_twice_is_the_field(drawn: tuple, about: float) -> None:
    _, t, x, condition = drawn
    twice = fields.reversed_time(fields.reversed_time(growth, about), about)
    close(value(twice, t, x, condition), value(growth, t, x, condition))


@given(points(), numbers, numbers)
def test_reversing_about_two_times_shifts(drawn: tuple, a: float, b: float) -> None:
    _, t, x, condition = drawn
    shifted = fields.reversed_time(fields.reversed_time(growth, a), b)
    close(value(shifted, t, x, condition), value(growth, t + 2 * (a - b), x, condition))


@settings(max_examples=8)
@given(points(), st.sampled_from([-0.25, 0.0, 0.4]))
def test_the_reversed_flow_goes_back(drawn: tuple, about: float) -> None:
    s, t, x, condition = drawn
    y = solve(fields.reversed_time(growth, about), s, t, x, condition)
    expected = grown(2 * about - s, 2 * about - t, x, condition)
    assert_close(y, expected, rtol=1e-6, atol=1e-7)


@given(points(), numbers)
def test_the_reversed_closed_form_has_the_reversed_field(drawn: tuple, about: float) -> None:
    s, t, x, condition = drawn
    back = maps.ExactFlowMap(lambda s, t, *rest: grown(2 * about - s, 2 * about - t, *rest))
    field = fields.reversed_time(growth, about)
    zero = torch.zeros_like(x)
    close(fm.residuals.lagrangian(back, field, s, t, x, condition), zero)
    close(fm.residuals.eulerian(back, field, s, t, x, condition), zero)


@given(points(), numbers)
def test_derivatives_of_a_reversed_field(drawn: tuple, about: float) -> None:
    _, t, x, condition = drawn
    ours = derivatives(fields.reversed_time(growth, about), t, x, condition)
    theirs = derivatives(growth, 2 * about - t, x, condition)
    signs = [1, -1] + [-1] * (condition is not None) + [1, -1]
    for own, other, sign in zip(ours, theirs, signs, strict=True):
        close(own, sign * other)


# ---------------------------------------------------------------------------- other units


@given(points(), signed, units)
def test_scaling_back_is_the_field(drawn: tuple, state: float, time: float) -> None:
    _, t, x, condition = drawn
    back = fields.scaled(fields.scaled(growth, state, time), 1 / state, 1 / time)
    close(value(back, t, x, condition), value(growth, t, x, condition))


@given(points(), signed, signed, units, units)
def test_scaling_twice_multiplies_the_units(
    drawn: tuple, a: float, b: float, c: float, d: float
) -> None:
    _, t, x, condition = drawn
    twice = fields.scaled(fields.scaled(growth, a, c), b, d)
    close(
        value(twice, t, x, condition), value(fields.scaled(growth, a * b, c * d), t, x, condition)
    )


@settings(max_examples=8)
@given(points(), st.tuples(signed, signed), units)
def test_the_scaled_flow_is_the_conjugated_flow(
    drawn: tuple, state: tuple[float, float], time: float
) -> None:
    s, t, x, condition = drawn
    unit = torch.tensor(state)
    y = x / unit  # the same state in other units
    flow = maps.Conjugated(maps.ExactFlowMap(grown), maps.Affine(0.0, 1 / unit))
    for given_unit in (unit, list(state)):
        scaled = fields.scaled(growth, given_unit, time)
        reached = solve(scaled, s / time, t / time, y, condition)
        assert_close(reached, flow(s, t, y, condition), rtol=1e-6, atol=1e-7)


@given(points(), st.tuples(signed, signed), units)
def test_the_conjugated_closed_form_has_the_scaled_field(
    drawn: tuple, state: tuple[float, float], time: float
) -> None:
    s, t, x, condition = drawn
    unit = torch.tensor(state)
    slowed = maps.ExactFlowMap(lambda s, t, *rest: grown(time * s, time * t, *rest))
    flow = maps.Conjugated(slowed, maps.Affine(0.0, 1 / unit))
    field = fields.scaled(growth, unit, time)
    r, q, y = s / time, t / time, x / unit
    for residual in (fm.residuals.lagrangian, fm.residuals.eulerian):
        size = 1 + value(field, r, y, condition).abs().amax()
        close(residual(flow, field, r, q, y, condition) / size, torch.zeros_like(y))
    close(flow.velocity(r, y, condition), value(field, r, y, condition))


@given(points(), st.tuples(signed, signed), units)
def test_the_jacobian_of_a_scaled_field(drawn: tuple, state: tuple, time: float) -> None:
    _, t, x, _ = drawn
    unit = torch.tensor(state)
    ours = calculus.field_jacobian(fields.scaled(mixing, unit, time), t, x)
    theirs = calculus.field_jacobian(mixing, time * t, unit * x)
    close(ours, time * theirs * unit / unit[:, None])
    close(
        calculus.divergence(fields.scaled(mixing, unit, time), t, x),
        time * calculus.divergence(mixing, time * t, unit * x),
    )


@given(points(), signed, units)
def test_derivatives_of_a_scaled_field(drawn: tuple, state: float, time: float) -> None:
    _, t, x, condition = drawn
    ours = derivatives(fields.scaled(growth, state, time), t, x, condition)
    theirs = derivatives(growth, time * t, state * x, condition)
    in_time, in_state, in_condition = time * time / state, time, time / state
    factors = [in_time, in_state] + [in_condition] * (condition is not None) + [in_time, in_state]
    for own, other, factor in zip(ours, theirs, factors, strict=True):
        close(own, factor * other)


def test_a_unit_is_differentiated() -> None:
    t, x = torch.rand(3), torch.rand(3, 2)
    unit = torch.tensor([2.0, 0.5])
    slope = torch.func.jvp(lambda a: growth(t, a * x) / a, (unit,), (torch.ones(2),))[1]
    live = unit.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fields.scaled(growth, live)(t, x).sum(), live)
    close(gradient, slope.sum(0))


def test_units_follow_the_states_dtype_and_event() -> None:
    t, x = torch.zeros(2, dtype=torch.float32), torch.ones(2, 3, 2, dtype=torch.float32)
    for unit in (2.0, [2.0, 2.0], torch.full((3, 1), 2), torch.full((3, 2), 2.0)):
        y = fields.scaled(lambda t, x: x, unit, 3.0)(t, x)
        assert y.dtype == torch.float32
        assert torch.equal(y, 3 * x)


@given(points(), numbers, signed, units)
def test_reversing_and_scaling_commute(
    drawn: tuple, about: float, state: float, time: float
) -> None:
    _, t, x, condition = drawn
    one = fields.scaled(fields.reversed_time(growth, about), state, time)
    other = fields.reversed_time(fields.scaled(growth, state, time), about / time)
    close(value(one, t, x, condition), value(other, t, x, condition))


# ---------------------------------------------------------------------------- bad input

X = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
BAD = {
    "per sample": (lambda: fields.per_sample(3), TypeError, "a field is a callable"),
    "scalar time": (lambda: fields.scalar_time("a"), TypeError, "a field is a callable"),
    "reversed time: field": (lambda: fields.reversed_time(None), TypeError, "a field is a call"),
    "reversed time: about": (
        lambda: fields.reversed_time(growth, math.nan),
        ValueError,
        "finite time",
    ),
    "scaled: field": (lambda: fields.scaled(3), TypeError, "a field is a callable"),
    "scaled: state zero": (lambda: fields.scaled(growth, 0.0), ValueError, "not zero"),
    "scaled: state NaN": (
        lambda: fields.scaled(growth, X * math.nan),
        ValueError,
        "must be finite",
    ),
    "scaled: state as text": (lambda: fields.scaled(growth, "a"), TypeError, "a real number"),
    "scaled: complex state": (lambda: fields.scaled(growth, 1j * X), TypeError, "a real number"),
    "scaled: along the batch": (
        lambda: fields.scaled(growth, X[:, :1])(X[:, 0], X),
        ValueError,
        r"one sample's shape \(2,\)",
    ),
    "scaled: time zero": (lambda: fields.scaled(growth, time=0.0), ValueError, "unit of time"),
    "scaled: time as text": (lambda: fields.scaled(growth, time="a"), ValueError, "positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str, refused: Callable[..., None]) -> None:
    refused(*BAD[name])
